"""Trains several runs here, as processes side by side; stops and continues.

    OUT/NAME/               the run directory
    OUT/NAME/given.json     the config that it is started with
    OUT/NAME/log.txt        what its processes said
    OUT/NAME/attempt.json   how the last one ended
    OUT/NAME/lock           held by the process that is at work on it
    OUT/compiled            programs, shared by runs of one shape

The same call goes on after any interruption: what is done is not started
again, what was stopped or killed continues from its checkpoint. A lock is
inherited by the process of the run and released when that ends. So when only
the caller is killed, the next call waits for runs that are still at work, and
two calls, on one machine or on a shared disk, divide the work.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import fcntl
import json
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Self

from yue_jax import config
from yue_jax.config import RunConfig
from yue_jax.json_lines import read_lines
from yue_jax.processes import cpu_environment
from yue_jax.progress import Progress
from yue_jax.sweeps import saved
from yue_jax.sweeps.outcomes import (
  Attempt,
  Outcome,
  forget_attempt,
  outcome_of,
  outcomes_of,
)

# From the file of a config and a run directory: what trains it.
Command = Callable[[pathlib.Path, pathlib.Path], Sequence[str]]
_POLL = 0.1  # seconds
_LOOK = 5.0  # seconds between two looks at how far the runs are
_ERROR = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b.*")


def run_all(
  configs: Mapping[str, RunConfig],
  out: pathlib.Path,
  *,
  parallel: int,
  command: Command | None = None,
  ended: Callable[[str, Outcome], None] = lambda name, outcome: None,
) -> dict[str, Outcome]:
  """Trains every run that is missing, unfinished or failed; each once.

  Call in the main thread. SIGINT or SIGTERM stops all processes, which save
  what they have; a second one kills them.

  Args:
    configs: by name of the run.
    out: directory of the run directories.
    parallel: most processes at a time.
    command: that trains one; default: `yue_jax.main`, with paths of the config
      relative to the current directory.
    ended: called with the name of every run whose process has ended here, and
      with what became of it, while others go on. What it raises stops them.

  Returns:
    What became of every run, by name; see `outcomes`.

  Raises:
    ValueError: a run directory holds a run of another config; nothing was
      started.
    KeyboardInterrupt: it was stopped, and all processes have ended.
  """
  if parallel < 1:
    raise ValueError(f"parallel={parallel}, expected at least 1")
  outcomes = outcomes_of(configs, out)
  crew = _Crew(configs, pathlib.Path(out), command or training)
  waiting = deque(name for name in configs if not outcomes[name].final)
  news: deque[tuple[str, Outcome]] = deque()
  with _Requests() as requests, crew, _Shown(configs, out) as shown:
    while (waiting or crew.active or news) and not requests.count:
      for _ in range(len(waiting)):
        if len(crew.active) == parallel:
          break
        name = waiting.popleft()
        if not crew.start(name):
          waiting.append(name)
      for name in crew.ended():
        outcome = outcome_of(configs[name], crew.out / name)
        shown.ended(name, outcome)
        news.append((name, outcome))
      shown.look(list(crew.active))
      # One at a time: it may take long, and processes are to be started.
      if news:
        ended(*news.popleft())
      else:
        time.sleep(_POLL)
    crew.stop(lambda: requests.count > 1)
  if requests.count:
    raise KeyboardInterrupt("the runs were stopped")
  return outcomes_of(configs, out)


def training(given: pathlib.Path, run_dir: pathlib.Path) -> list[str]:
  """The command that trains a saved config."""
  return [
    sys.executable,
    "-m",
    "yue_jax.main",
    f"--config={saved.__file__}:{given}",
    f"--run_dir={run_dir}",
  ]


def environment(cfg: RunConfig, out: pathlib.Path) -> dict[str, str]:
  """Variables of a process: this one's, and devices as the mesh wants them.

  The devices are made of the cores of this machine, unless JAX_PLATFORMS names
  another platform.
  """
  cache = {"JAX_COMPILATION_CACHE_DIR": str(out.absolute() / "compiled")}
  variables = cache | os.environ
  if variables.get("JAX_PLATFORMS", "cpu") != "cpu":
    return variables
  return cpu_environment(math.prod(cfg.mesh.shape), variables)


@dataclasses.dataclass
class _Member:
  """A process at work, and where its words begin in the log."""

  process: subprocess.Popen
  log: pathlib.Path
  begins: int

  def write_down(self) -> None:
    with self.log.open(errors="replace") as file:
      file.seek(self.begins)
      lines = [line.strip() for line in file if line.strip()]
    errors = [line for line in lines if _ERROR.fullmatch(line)]
    said = (errors or lines or [""])[-1]
    Attempt(self.process.returncode, said).write(self.log.parent)


class _Crew:
  """The processes at work; none is left behind."""

  def __init__(
    self, configs: Mapping[str, RunConfig], out: pathlib.Path, command: Command
  ):
    self.out, self.active = out, {}
    self._configs, self._command = configs, command

  def start(self, name: str) -> bool:
    """Starts a run, or finds it finished; False if another process has it."""
    run_dir = self.out / name
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "lock").open("w") as lock:
      try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        return False
      cfg = self._configs[name]
      if not outcome_of(cfg, run_dir).final:
        self.active[name] = self._spawn(cfg, run_dir, lock.fileno())
    return True

  def _spawn(self, cfg: RunConfig, run_dir: pathlib.Path, lock: int) -> _Member:
    given, path = run_dir / "given.json", run_dir / "log.txt"
    given.write_text(json.dumps(config.to_json(cfg), indent=2) + "\n")
    forget_attempt(run_dir)
    with path.open("ab") as log:
      begins = log.tell()
      process = subprocess.Popen(
        self._command(given, run_dir),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment(cfg, self.out),
        pass_fds=(lock,),
        start_new_session=True,  # Ctrl-C is for us, who tell it
      )
      return _Member(process, path, begins)

  def ended(self) -> list[str]:
    """Names of runs whose process has ended since the last call."""
    names = [n for n, m in self.active.items() if m.process.poll() is not None]
    for name in names:
      self.active.pop(name).write_down()
    return names

  def stop(self, impatient: Callable[[], bool]) -> None:
    """Ends all processes, which save first, unless one is impatient."""
    for member in self.active.values():
      member.process.terminate()
    while self.active:
      if impatient():
        for member in self.active.values():
          member.process.kill()
      self.ended()
      time.sleep(_POLL)

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_) -> None:
    self.stop(lambda: False)


class _Requests:
  """Counts SIGINT and SIGTERM, instead of being ended by them."""

  def __init__(self):
    self.count, self._before = 0, {}

  def __enter__(self) -> Self:
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGINT, signal.SIGTERM):
        self._before[number] = signal.signal(number, self._note)
    return self

  def __exit__(self, *_) -> None:
    for number, before in self._before.items():
      signal.signal(number, before)

  def _note(self, *_) -> None:
    self.count += 1
    words = "killing" if self.count > 1 else "stopping"
    print(f"{words} the runs at work", file=sys.stderr, flush=True)


class _Shown:
  """How far all runs are, in steps."""

  def __init__(self, configs: Mapping[str, RunConfig], out: pathlib.Path):
    self._out, self._looked = pathlib.Path(out), time.monotonic()
    self._steps = {name: self._step(name) for name in configs}
    self._progress = Progress(
      sum(cfg.last_step for cfg in configs.values()),
      "steps",
      f"{len(configs)} runs",
      start=sum(self._steps.values()),
    )

  def look(self, names: Sequence[str]) -> None:
    """Now and then, at the runs of these names."""
    if time.monotonic() - self._looked < _LOOK:
      return
    self._looked = time.monotonic()
    self._advance(names, f"{len(names)} at work")

  def _advance(self, names: Sequence[str], note: str) -> None:
    before = sum(self._steps.values())
    self._steps |= {name: self._step(name) for name in names}
    self._progress.advance(sum(self._steps.values()) - before, note=note)

  def ended(self, name: str, outcome: Outcome) -> None:
    print(f"{name}: {outcome}", flush=True)
    self._advance([name], "")

  def _step(self, name: str) -> int:
    records = read_lines(self._out / name / "metrics.jsonl")
    return records[-1]["step"] if records else 0

  def __enter__(self) -> Self:
    self._progress.__enter__()
    return self

  def __exit__(self, *error) -> None:
    self._progress.__exit__(*error)
