"""What became of a run, by rule, from what it has left in its directory.

  missing     it was not begun
  unfinished  it was stopped or killed, or is at work: it can go on
  failed      its process ended by itself, with an error
  diverged    it gave up, since its updates were not finite; or it took its
              last step, and
                a training loss among the last tenth of its records, or a
                loss of its last evaluation, is not finite; or
                the mean of these training losses is above its first record
  done        it took its last step, and the checkpoint of it is whole

Only what is done belongs into a law. Whoever ran the process writes down how
it ended (`Attempt`); of a run on a cluster, where nobody does, the reason says
where it stands, and whether its loss is finite there.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import math
import os
import signal
from typing import Any

from etils import epath

from yue_jax import config
from yue_jax.checkpoint import finished_steps
from yue_jax.config import RunConfig
from yue_jax.continuation import LAYOUT, differences
from yue_jax.json_lines import Record, read_lines

GAVE_UP = "FloatingPointError"  # as the trainer ends when it diverges
_LAST = 0.1  # of the records
_ATTEMPT = "attempt.json"
# How the work is laid out, and how it is kept.
_MAY_CHANGE = (
  *LAYOUT,
  "train.checkpoint_every",
  "train.checkpoint_minutes",
  "train.keep_*",
  "train.watchdog_minutes",
  "train.profile_steps*",
)


@dataclasses.dataclass(frozen=True)
class Outcome:
  """Status (see the module), and in words why, where it is not plain."""

  status: str
  reason: str = ""

  @property
  def final(self) -> bool:
    """Whether starting it again would change nothing."""
    return self.status in ("done", "diverged")

  def __str__(self) -> str:
    return f"{self.status} ({self.reason})" if self.reason else self.status


@dataclasses.dataclass(frozen=True)
class Attempt:
  """How the last process of a run ended.

  Attributes:
    exit_code: of the process; negative for a signal.
    said: its error, in a line.
  """

  exit_code: int
  said: str

  def write(self, run_dir: epath.PathLike) -> None:
    text = json.dumps(dataclasses.asdict(self)) + "\n"
    (epath.Path(run_dir) / _ATTEMPT).write_text(text)

  def outcome(self) -> Outcome | None:
    """What it says by itself; None if it says nothing."""
    if self.exit_code < 0:
      name = signal.Signals(-self.exit_code).name
      return Outcome("unfinished", f"killed by {name}")
    if self.exit_code in (0, os.EX_TEMPFAIL):
      return None
    if self.said.startswith(GAVE_UP):
      return Outcome("diverged", self.said)
    return Outcome("failed", self.said or f"exit code {self.exit_code}")


def forget_attempt(run_dir: epath.PathLike) -> None:
  """Call before another one."""
  (epath.Path(run_dir) / _ATTEMPT).unlink(missing_ok=True)


def outcome_of(cfg: RunConfig, run_dir: epath.PathLike) -> Outcome:
  """What became of the run of this config in `run_dir`, disk or bucket.

  Raises:
    ValueError: the directory holds a run of another config; says what differs.
  """
  run_dir = epath.Path(run_dir)
  begun, records = run_dir / "config.json", []
  if begun.exists():
    _check_same(cfg, json.loads(begun.read_text()), run_dir)
    records = read_lines(run_dir / "metrics.jsonl")
    if cfg.last_step in finished_steps(run_dir):
      return judge(records, cfg.last_step)
  last = run_dir / _ATTEMPT
  if last.exists():
    ended = Attempt(**json.loads(last.read_text())).outcome()
    if ended is not None:
      return ended
  if not begun.exists():
    return Outcome("missing")
  return Outcome("unfinished", _where(records, cfg.last_step))


def _where(records: Sequence[Record], last_step: int) -> str:
  """How far a run is that may be at work on another machine."""
  train = [record for record in records if record["kind"] == "train"]
  if not train:
    return f"at the first of {last_step} steps"
  where = f"at step {train[-1]['step']} of {last_step}"
  lost = train[-1]["loss"] is None
  return f"{where}, where its loss is not finite" if lost else where


def judge(records: Sequence[Record], last_step: int) -> Outcome:
  """Done or diverged: the outcome of a run that took its last step.

  Args:
    records: of its metrics.jsonl.
    last_step: of the run.
  """
  for record in records:
    if record["step"] == last_step and record["kind"] != "train":
      for name, value in record.items():
        if value is None and name.startswith("loss"):
          return Outcome("diverged", f"{record['kind']} {name} is not finite")
  losses = [r["loss"] for r in records if r["kind"] == "train"]
  mean = final_loss(losses)
  if not math.isfinite(mean):
    return Outcome("diverged", "the training loss is not finite in the end")
  if losses[0] is not None and mean > losses[0]:
    return Outcome(
      "diverged",
      f"the training loss ends at {mean:.4g}, above {losses[0]:.4g} where it"
      " began",
    )
  return Outcome("done")


def final_loss(losses: Sequence[float | None]) -> float:
  """Mean of the last tenth of recorded losses, at least one; NaN if not finite.

  Example: of 20 records the last two.
  """
  last = losses[-max(1, round(_LAST * len(losses))) :]
  if not last or None in last:
    return math.nan
  return math.fsum(last) / len(last)


def outcomes_of(
  configs: Mapping[str, RunConfig], out: epath.PathLike
) -> dict[str, Outcome]:
  """The outcomes of all runs, by name, each in the directory OUT/NAME.

  Raises:
    ValueError: lists every run that has another config, with what differs.
  """
  outcomes, wrong = {}, []
  for name, cfg in configs.items():
    try:
      outcomes[name] = outcome_of(cfg, epath.Path(out) / name)
    except ValueError as error:
      wrong.append(str(error))
  if wrong:
    raise ValueError("\n".join(wrong))
  return outcomes


def _check_same(
  cfg: RunConfig, saved: Mapping[str, Any], run_dir: epath.Path
) -> None:
  trees = (config.to_json(c) for c in (config.from_config_dict(saved), cfg))
  wrong = differences(*trees, may_change=_MAY_CHANGE)
  if wrong:
    raise ValueError(
      f"{run_dir} holds a run of another config:\n  "
      + "\n  ".join(wrong)
      + "\nSet these fields back, or use another directory."
    )
