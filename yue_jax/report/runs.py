"""What a run has left in its directory, to be shown.

  config.json    what it was to do; must be there
  metrics.jsonl  losses, rates, norms, by step
  goodput.jsonl  where the time went
  scores.json    beside the directory, as tools/score_world.py writes it:
                 what a perfect model would reach, by name of the run

What is not there is left out, and said.
"""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any

from yue_jax import config
from yue_jax.config import RunConfig
from yue_jax.json_lines import Record, read_lines
from yue_jax.phases import places
from yue_jax.train.goodput import Summary, summarise

Bounds = Mapping[str, Mapping[str, float]]  # "floor", "baseline" by stream


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """One run, finished or not.

  Attributes:
    name: short, and unlike those of the other runs of a report.
    path: its directory.
    train: records of training, by rising step.
    evaluations: records by name of the held-out set.
    rehearsals: records of songs that were sung meanwhile.
    time: where it went; None if that was not written down.
    bounds: nats per token by stream: of a perfect model ("floor"), and of one
      that knows less ("baseline"); empty where they are not known.
  """

  name: str
  path: pathlib.Path
  config: RunConfig
  train: list[Record]
  evaluations: dict[str, list[Record]]
  rehearsals: list[Record]
  time: Summary | None
  bounds: Bounds

  @property
  def step(self) -> int:
    """The last one that is written down."""
    return self.train[-1]["step"] if self.train else 0

  @property
  def missing(self) -> tuple[str, ...]:
    """What its directory does not hold, in words."""
    there = {
      "steps": self.train,
      "evaluations": self.evaluations,
      "goodput.jsonl": self.time,
      "floors": self.bounds,
    }
    return tuple(what for what, found in there.items() if not found)

  def tokens(self, step: int) -> int:
    """Places in samples of the first steps."""
    return places(self.config.phases, step)


def read_runs(
  paths: list[pathlib.Path], scores: pathlib.Path | None = None
) -> list[Run]:
  """Reads run directories, in their order.

  Args:
    paths: of the directories.
    scores: of a scores.json that is not beside them; None looks there.

  Raises:
    FileNotFoundError: a directory, or `scores`, does not exist.
    ValueError: a directory holds no run, or a file of it is damaged; or no
      run has taken a step.
  """
  names = _names([path.resolve() for path in paths])
  runs = [
    _read(path, name, scores) for path, name in zip(paths, names, strict=True)
  ]
  if not any(run.train for run in runs):
    raise ValueError(
      f"{', '.join(map(str, paths))}: no step is in metrics.jsonl yet; wait"
      " for train.log_every steps"
    )
  return runs


def _read(path: pathlib.Path, name: str, scores: pathlib.Path | None) -> Run:
  if not path.is_dir():
    raise FileNotFoundError(
      f"{path} is no directory on this machine; expected that of a run (copy"
      " one in a bucket with `gcloud storage rsync`, checkpoints left out)"
    )
  if not (path / "config.json").is_file():
    raise ValueError(
      f"{path} holds no config.json; expected the directory of a run, the"
      " --run_dir of yue_jax.main"
    )
  records = read_lines(path / "metrics.jsonl")
  spent = read_lines(path / "goodput.jsonl")
  train = [r for r in records if r["kind"] == "train"]
  evaluations: dict[str, list[Record]] = {}
  for record in records:
    if record["kind"].startswith("eval/"):
      held_out = record["kind"].removeprefix("eval/")
      evaluations.setdefault(held_out, []).append(record)
  return Run(
    name=name,
    path=path,
    config=config.from_config_dict(_json(path / "config.json")),
    train=train,
    evaluations=evaluations,
    rehearsals=[r for r in records if r["kind"] == "songs"],
    time=summarise(spent) if spent else None,
    bounds=_bounds(path, scores),
  )


def _bounds(path: pathlib.Path, scores: pathlib.Path | None) -> Bounds:
  """The entry of the run in a scores.json; empty if there is none."""
  file = scores or path.resolve().parent / "scores.json"
  if scores is None and not file.is_file():
    return {}
  table = _json(file).get(path.resolve().name, {})
  return {n: table[n] for n in ("floor", "baseline") if n in table}


def _json(path: pathlib.Path) -> dict[str, Any]:
  try:
    found = json.loads(path.read_text("utf-8"))
  except ValueError as error:
    raise ValueError(f"{path} is damaged: {error}") from error
  if not isinstance(found, dict):
    raise ValueError(f"{path} holds {type(found).__name__}, expected a table")
  return found


def _names(paths: list[pathlib.Path]) -> list[str]:
  """The shortest ends of paths that tell them apart.

  Example: /a/x/s1, /a/y/s1 -> "x/s1", "y/s1".
  """
  if len(set(paths)) < len(paths):
    raise ValueError(f"a run is given twice: {', '.join(map(str, paths))}")
  for parts in range(1, max(len(path.parts) for path in paths)):
    names = ["/".join(path.parts[-parts:]) for path in paths]
    if len(set(names)) == len(names):
      return names
  return [str(path) for path in paths]
