"""Kills a small run again and again, and compares it with one left alone.

  python tools/bench_faults.py --kills=100 --out=benchmarks/faults.json

Two processes of two fake devices each train a toy model on songs of the small
world. At moments drawn at random, some of them while a checkpoint is being
written, one process or both get SIGKILL or SIGTERM; when all have ended, the
same command starts them again, until the run is done. Then every record of
metrics.jsonl and every byte of weights and optimiser state must be those of
the undisturbed run; the loss of every step stands for the samples it read. A
run that ends before all kills were dealt out is compared and begun anew.

Prints what it does; the report has every fault, the machine and versions.
"""

import argparse
from collections.abc import Iterator
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import orbax.checkpoint as ocp

from yue_jax.checkpoint import find_checkpoint
from yue_jax.checkpoint_arrays import array_handler
from yue_jax.json_lines import Record, read_lines
from yue_jax.vocab import Vocab

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROCESSES, DEVICES = 2, 2  # of each
HEARTBEAT = 10  # seconds until survivors notice
LONGEST = 240  # seconds that any wait may take
CLOCK = ("tokens_per_second", "mfu", "mfu_full")
WHEN = ("start", "step", "saving")


@dataclasses.dataclass(frozen=True)
class Fault:
  """What is done to an attempt.

  Attributes:
    when: "start" before its first step, "step" after some steps, "saving"
      while a checkpoint is being written.
    delay: seconds after that moment.
    steps: how many of the attempt's steps to wait for.
    kill: the signal.
    whom: numbers of the processes that get it.
  """

  when: str
  delay: float
  steps: int
  kill: signal.Signals
  whom: tuple[int, ...]


def draw(rng: random.Random) -> Fault:
  when = rng.choices(WHEN, (1, 4, 5))[0]
  longest = {"start": 8.0, "step": 0.5, "saving": 0.1}[when]
  return Fault(
    when,
    rng.uniform(0.0, longest),
    rng.randint(1, 8),
    rng.choice((signal.SIGKILL, signal.SIGTERM)),
    rng.choice(((0,), (1,), (0, 1))),
  )


class Trial:
  """One run in `run_dir`, started as often as it takes."""

  def __init__(self, experiment: pathlib.Path, run_dir: pathlib.Path):
    self._experiment, self.run_dir = experiment, run_dir

  def records(self) -> list[Record]:
    """All that was measured, without what depends on the clock."""
    return [
      {k: v for k, v in record.items() if k not in CLOCK}
      for record in read_lines(self.run_dir / "metrics.jsonl")
    ]

  def last_step(self) -> int:
    return max((r["step"] for r in self.records()), default=0)

  def state(self) -> dict[str, np.ndarray]:
    """Every saved array of the last checkpoint, by name."""
    step_dir = find_checkpoint(self.run_dir)
    found, whole = {}, ocp.RestoreArgs(restore_type=np.ndarray)
    for item in ("params", "optimizer"):
      tree = array_handler().metadata(step_dir / item).tree
      with ocp.Checkpointer(array_handler()) as checkpointer:
        arrays = checkpointer.restore(
          step_dir / item,
          args=ocp.args.PyTreeRestore(
            restore_args=jax.tree.map(lambda _: whole, tree)
          ),
        )
      leaves, _ = jax.tree_util.tree_flatten_with_path(arrays)
      for path, array in leaves:
        found[f"{item}{jax.tree_util.keystr(path)}"] = array
    return found

  @contextlib.contextmanager
  def attempt(self, processes: int = PROCESSES) -> Iterator["Attempt"]:
    """Starts the processes; none of them is left when the block ends."""
    started = Attempt(self, self._command(processes), processes)
    try:
      yield started
    finally:
      for process in started.processes:
        process.kill()
        process.wait()

  def finish(self, processes: int = PROCESSES) -> None:
    """Lets the run come to its end."""
    with self.attempt(processes) as attempt:
      codes = attempt.wait()
    if any(codes):
      raise AssertionError(f"the run ended with {codes}; see {self.run_dir}")

  def _command(self, processes: int) -> list[str]:
    command = [
      sys.executable,
      "-m",
      "yue_jax.main",
      f"--config={self._experiment}",
      f"--run_dir={self.run_dir}",
    ]
    if processes == 1:
      return command
    with socket.socket() as probe:
      probe.bind(("localhost", 0))
      port = probe.getsockname()[1]
    return [
      *command,
      f"--coordinator=localhost:{port}",
      f"--num_processes={processes}",
      f"--heartbeat_seconds={HEARTBEAT}",
      "--wait_seconds=60",
    ]


class Attempt:
  """The processes of one start."""

  def __init__(self, trial: Trial, command: list[str], processes: int):
    self._trial, self._first_step = trial, trial.last_step()
    self._began = time.time()
    devices = PROCESSES * DEVICES // processes
    environment = {
      **os.environ,
      "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"
      " --xla_backend_optimization_level=0",
      "PJRT_NPROC": "16",  # see tests/conftest.py
      "PYTHONPATH": str(ROOT),
    }
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    self.processes = []
    trial.run_dir.mkdir(parents=True, exist_ok=True)
    for number in range(processes):
      mine = [f"--process_id={number}"] if processes > 1 else []
      with open(trial.run_dir / f"stderr-{number}.txt", "a") as log:
        self.processes.append(
          subprocess.Popen(
            [*command, *mine], cwd=ROOT, env=environment, stderr=log
          )
        )

  def meet(self, fault: Fault) -> Record:
    """Waits for the moment, sends the signals, and waits for all to end."""
    reached = self._until(fault)
    time.sleep(fault.delay)
    saving = self._saving()
    for number in fault.whom:
      self.processes[number].send_signal(fault.kill)
    began = time.monotonic()
    codes = self.wait()
    return {
      "when": fault.when,
      "signal": fault.kill.name,
      "whom": fault.whom,
      "reached": reached,
      "while_saving": saving,
      "exit_codes": codes,
      "seconds_to_end": round(time.monotonic() - began, 2),
    }

  def wait(self) -> list[int]:
    """Exit codes; AssertionError if a process does not end by itself."""
    deadline = time.monotonic() + LONGEST
    for process in self.processes:
      try:
        process.wait(deadline - time.monotonic())
      except subprocess.TimeoutExpired as error:
        raise AssertionError(
          f"a process did not end within {LONGEST} s; see {self._trial.run_dir}"
        ) from error
    return [process.returncode for process in self.processes]

  def _until(self, fault: Fault) -> bool:
    """Whether the moment came before a process ended."""
    if fault.when == "start":
      return True
    deadline = time.monotonic() + LONGEST
    while all(process.poll() is None for process in self.processes):
      enough = self._trial.last_step() >= self._first_step + fault.steps
      if enough and (fault.when == "step" or self._saving()):
        return True
      assert time.monotonic() < deadline, f"stuck; see {self._trial.run_dir}"
      time.sleep(0.002)
    return False

  def _saving(self) -> bool:
    """Whether this attempt is writing; earlier ones may have left rests."""
    root = self._trial.run_dir / "checkpoints"
    try:
      return any(
        path.stat().st_mtime > self._began
        for path in root.glob("*.orbax-checkpoint-tmp*")
      )
    except FileNotFoundError:  # it got its name in this moment
      return False


def differences(trial: Trial, undisturbed: Trial) -> list[str]:
  """What of a finished run is not as it is without faults."""
  wrong = []
  ours, theirs = trial.records(), undisturbed.records()
  if [r["step"] for r in ours] != [r["step"] for r in theirs]:
    wrong.append("the steps that were recorded")
  elif ours != theirs:
    wrong.append("losses")
  ours, theirs = trial.state(), undisturbed.state()
  if ours.keys() != theirs.keys():
    wrong.append("names of arrays")
  else:
    wrong += [
      name for name in ours if ours[name].tobytes() != theirs[name].tobytes()
    ]
  return wrong


def write_experiment(path: pathlib.Path, data: pathlib.Path) -> None:
  """A run of forty steps over a prepared data set."""
  vocab = json.loads((data / "dataset.json").read_text())["vocab"]
  context, samples, steps = 64, 4, 40
  tokens = context * samples
  run = {
    "seed": 0,
    "vocab": vocab,
    "model": {
      "vocab_size": Vocab.from_json(vocab).padded_size(128),
      "width": 32,
      "mlp_width": 64,
      "layers": 2,
      "heads": 4,
      "kv_heads": 2,
      "max_positions": context,
      "dtype": "float32",
      "remat": "none",
    },
    "mesh": {"fsdp": PROCESSES, "tensor": DEVICES},
    "data": {"heldout": 0.2},
    "phases": [
      {
        "name": name,
        "tokens": steps // 2 * tokens,
        "context": context,
        "samples": samples,
        "rate": {"peak": 1e-2, "warmup_tokens": 4 * tokens},
        "mixture": {
          "cot": {"data": str(data), "kind": "cot", "weight": 2.0},
          "icl": {"data": str(data), "kind": "icl", "weight": 1.0},
        },
      }
      for name in ("first", "second")
    ],
    "optimizer": {},
    "loss": {"weights": {"vocal": 1.0, "backing": 1.0}},
    "train": {
      "log_every": 1,
      "eval_every": 15,
      "eval_samples": 4,
      "checkpoint_every": 3,
      "checkpoint_minutes": 0.02,  # as the clock of process 0 has it
    },
  }
  path.write_text(
    "import json, ml_collections\n"
    "def get_config():\n"
    f"  return ml_collections.ConfigDict(json.loads({json.dumps(run)!r}))\n"
  )


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--kills", type=int, default=100)
  parser.add_argument("--seed", type=int, default=0, help="of the moments")
  parser.add_argument("--out", type=pathlib.Path, help="JSON; default: stdout")
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    report = measure(pathlib.Path(folder), args.kills, args.seed)
  text = _one_fault_a_line(report)
  if args.out is None:
    print(text)
  else:
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text)
  if report["differences"]:
    sys.exit(f"bench_faults: {report['differences']} differ; nothing may")


def measure(root: pathlib.Path, kills: int, seed: int) -> Record:
  """Deals out all faults; the whole report."""
  began, rng = time.time(), random.Random(seed)
  experiment = root / "experiment.py"
  write_experiment(experiment, _prepare(root))
  undisturbed = Trial(experiment, root / "undisturbed")
  undisturbed.finish()
  _say(f"undisturbed: {undisturbed.last_step()} steps")
  faults, wrong, runs = [], [], 0
  while len(faults) < kills:
    runs += 1
    trial = Trial(experiment, root / f"run-{runs}")
    wrong += run_with_faults(trial, undisturbed, rng, faults, kills)
    shutil.rmtree(trial.run_dir)
  return {
    "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
    "versions": {
      name: importlib.metadata.version(name)
      for name in ("jax", "jaxlib", "orbax-checkpoint", "grain", "numpy")
    },
    "command": f"python tools/bench_faults.py --kills={kills} --seed={seed}",
    "processes": PROCESSES,
    "devices_of_each": DEVICES,
    "steps": undisturbed.last_step(),
    "minutes": round((time.time() - began) / 60, 1),
    "runs": runs,
    "kills": len(faults),
    "kills_while_saving": sum(f["while_saving"] for f in faults),
    "slowest_to_end_seconds": max(f["seconds_to_end"] for f in faults),
    "differences": wrong,
    "faults": faults,
  }


def run_with_faults(
  trial: Trial,
  undisturbed: Trial,
  rng: random.Random,
  faults: list[Record],
  most: int,
) -> list[str]:
  """One run to its end; what differs. Adds to `faults` until there are `most`.

  An attempt that ended before its fault came is no fault.
  """
  done = False
  while not done and len(faults) < most:
    fault = draw(rng)
    with trial.attempt() as attempt:
      met = attempt.meet(fault)
    done = not any(met["exit_codes"])
    if met["reached"] and not done:
      faults.append(met | {"step": trial.last_step()})
      _say(f"{len(faults)}: {faults[-1]}")
  if not done:
    trial.finish()
  wrong = differences(trial, undisturbed)
  _say(f"{trial.run_dir.name} is done; differences: {wrong}")
  return wrong


def _prepare(root: pathlib.Path) -> pathlib.Path:
  """Songs of the small world, prepared."""

  def tool(name: str, *arguments) -> None:
    command = [sys.executable, f"tools/{name}.py", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)

  world, data = root / "world", root / "data"
  tool("make_world", world, "--train-songs=60", "--heldout-songs=1")
  tool(
    "prepare_songs",
    world / "train/songs.jsonl",
    f"--tokenizer={world}/tokenizer.model",
    f"--out={data}",
    "--small-vocab",
    "--codes=160",
    "--window=25",
    "--min-section-seconds=0.1",
  )
  return data


def _one_fault_a_line(report: Record) -> str:
  head = json.dumps({**report, "faults": []}, indent=1).removesuffix("]\n}")
  faults = ",\n".join(f"  {json.dumps(fault)}" for fault in report["faults"])
  return f"{head}\n{faults}\n ]\n}}\n"


def _say(message: str) -> None:
  print(time.strftime("%H:%M:%S"), message, file=sys.stderr, flush=True)


if __name__ == "__main__":
  main()
