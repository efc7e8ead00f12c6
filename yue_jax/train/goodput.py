"""Where the time of a run goes: goodput.jsonl and its summary.

Every line says what the seconds since the line before were spent on, and up
to which step it goes. Nothing is left out, so that the seconds of an attempt
add up to its wall-clock time; what lies between two attempts is `down`.

  {"time": 1795549648.2, "step": 120, "seconds": {"data": 0.1, "step": 9.6}}

  start       opening the data, making or restoring the state
  compile     of the steps of a phase
  data        the host waited for a batch
  step        dispatching steps and waiting for them
  evaluation  on held-out songs
  checkpoint  as far as steps waited for it
"""

from collections.abc import Callable, Sequence
import dataclasses
import logging
import time

from etils import epath
import jax

from yue_jax.json_lines import JsonLines, Record, read_lines

_log = logging.getLogger(__name__)
KINDS = ("start", "compile", "data", "step", "evaluation", "checkpoint")


class Goodput:
  """A stopwatch whose laps are named; process 0 writes them down."""

  def __init__(self, *, clock: Callable[[], float] = time.time):
    self._clock, self._since = clock, clock()
    self._seconds = dict.fromkeys(KINDS, 0.0)
    self._file, self._path, self._resumed_at = None, None, None

  def open(self, run_dir: epath.PathLike, *, resumed_at: int) -> None:
    """Begins an attempt that goes on at step `resumed_at`."""
    self._resumed_at = resumed_at
    if jax.process_index() == 0:
      self._path = epath.Path(run_dir) / "goodput.jsonl"
      self._file = JsonLines(self._path, keep=lambda _: True)

  def lap(self, kind: str) -> None:
    """The time since the lap before was spent on `kind`."""
    now = self._clock()
    self._seconds[kind] += now - self._since
    self._since = now

  def write(self, step: int) -> None:
    """One line up to and with `step`."""
    spent = {k: round(s, 3) for k, s in self._seconds.items() if s}
    self._seconds = dict.fromkeys(KINDS, 0.0)
    record = {"time": round(self._since, 3), "step": step, "seconds": spent}
    if self._resumed_at is not None:
      record["resumed_at"] = self._resumed_at
      self._resumed_at = None
    if self._file is not None:
      self._file.write(record)

  def flush(self) -> None:
    if self._file is not None:
      self._file.flush()

  def close(self) -> None:
    """Closes the file and says what is in it, earlier attempts included."""
    if self._file is not None:
      self._file.close()
      _log.info("time spent:\n%s", summarise(read_lines(self._path)).table())


@dataclasses.dataclass(frozen=True)
class Summary:
  """Seconds of a whole run.

  Attributes:
    attempts: how often it was started.
    lost_steps: steps that were taken and not saved before an attempt ended.
    seconds: by kind, with `lost` for the time of such steps and `down` for
      the time from the last line of an attempt to the start of the next.
  """

  attempts: int
  lost_steps: int
  seconds: dict[str, float]

  @property
  def total(self) -> float:
    return sum(self.seconds.values())

  @property
  def goodput(self) -> float:
    """Share of the time that went into steps that count."""
    return self.seconds["step"] / self.total if self.total else 0.0

  def table(self) -> str:
    """Lines of kind, hours and share."""
    rows = [
      f"{kind:<12}{seconds / 3600:>10.3f} h{seconds / self.total:>8.1%}"
      for kind, seconds in self.seconds.items()
    ]
    return "\n".join(
      [
        *rows,
        f"{'in all':<12}{self.total / 3600:>10.3f} h",
        f"goodput {self.goodput:.1%}, {self.attempts} attempts,"
        f" {self.lost_steps} steps taken again",
      ]
    )


def summarise(lines: Sequence[Record]) -> Summary:
  """Adds up the lines of a goodput.jsonl.

  Example: 10 s of steps 1 to 5, then a kill, and a start 30 s later from step
  3 on: the line of steps 4 and 5 is lost, and 30 s were down.
  """
  seconds = dict.fromkeys((*KINDS, "lost", "down"), 0.0)
  attempts = attempts_of(lines)
  lost_steps = 0
  for number, attempt in enumerate(attempts):
    later = attempts[number + 1 :]
    kept = min((a[0]["resumed_at"] for a in later), default=None)
    for line in attempt:
      lost = kept is not None and line["step"] > kept
      for kind, spent in line["seconds"].items():
        seconds["lost" if lost and kind == "step" else kind] += spent
    if later:
      first_lost = max(kept, attempt[0]["resumed_at"])
      lost_steps += max(0, attempt[-1]["step"] - first_lost)
      first = later[0][0]
      began = first["time"] - sum(first["seconds"].values())
      seconds["down"] += began - attempt[-1]["time"]
  return Summary(len(attempts), lost_steps, seconds)


def attempts_of(lines: Sequence[Record]) -> list[list[Record]]:
  """The lines of every start of a run."""
  attempts = []
  for line in lines:
    if "resumed_at" in line:
      attempts.append([])
    attempts[-1].append(line)
  return attempts
