"""Results of a claim: a line of JSON a case, written when it has been measured.

  {"case": "0c4b…", "arm": "cot", "x": 4, "seed": 0, "run": "91ab…",
   "outcome": "done", "values": {"error": 0.25, "by_section": [0.1, 0.4]},
   "seconds": 12.5}

A line counts while the claim still has its case. Lines of cases whose settings
have changed are dropped when the file is opened to be written.
"""

from collections.abc import Iterable, Mapping, Sequence
import pathlib
from typing import Any

from yue_jax.json_lines import JsonLines, Record, read_lines
from yue_jax.paper.cases import Case


class Results:
  """The results file of a claim, opened to go on."""

  def __init__(self, path: pathlib.Path, cases: Sequence[Case]):
    self._names = {case.name for case in cases}
    path.parent.mkdir(parents=True, exist_ok=True)
    before = read_lines(path)
    self._file = JsonLines(path, keep=self._counts)
    kept = [record for record in before if self._counts(record)]
    self.dropped = len(before) - len(kept)
    self.done = {record["case"]: record for record in kept}

  def add(
    self,
    case: Case,
    values: dict[str, Any],
    *,
    seconds: float = 0.0,
    outcome: str = "done",
  ) -> None:
    """Writes a line; it is on disk when this returns.

    Args:
      case: what was measured.
      values: by name; none of a run that diverged.
      seconds: that it took to measure.
      outcome: of the run.
    """
    record = {
      "case": case.name,
      "arm": case.arm,
      "x": case.x,
      "seed": case.seed,
      "run": case.run.name,
      "outcome": outcome,
      "values": values,
      "seconds": round(seconds, 1),
    }
    self._file.write(record)
    self.done[case.name] = record

  def close(self) -> None:
    self._file.close()

  def _counts(self, record: Record) -> bool:
    return record["case"] in self._names


class Table:
  """What has been measured of some cases, looked up by arm, x and seed."""

  def __init__(self, cases: Sequence[Case], records: Iterable[Record]):
    by_case = {record["case"]: record for record in records}
    self.expected = len(cases)
    self._values = {
      (case.arm, case.x, case.seed): by_case[case.name]["values"]
      for case in cases
      if case.name in by_case
    }
    self.arms = list(dict.fromkeys(case.arm for case in cases))
    self.seeds = sorted({case.seed for case in cases})
    self._xs = {
      arm: sorted({case.x for case in cases if case.arm == arm})
      for arm in self.arms
    }

  @classmethod
  def read(cls, path: pathlib.Path, cases: Sequence[Case]) -> "Table":
    return cls(cases, read_lines(path))

  def __len__(self) -> int:
    """Cases that have a result."""
    return len(self._values)

  def xs(self, arm: str) -> list[float]:
    """Where on the axis an arm is measured, ascending."""
    return self._xs[arm]

  def by_seed(
    self, name: str, arm: str, x: float | None = None
  ) -> dict[int, Any]:
    """A value of an arm at `x` (its largest, if left out) by seed.

    Empty for what is not measured, in this form or so far.
    """
    if x is None:
      x = max(self._xs.get(arm, [0.0]))
    return {
      seed: self._values[arm, x, seed][name]
      for seed in self.seeds
      if name in self._values.get((arm, x, seed), ())
    }

  def differences(
    self, name: str, *, of: str, minus: str, x: float | None = None
  ) -> list[float]:
    """A value of one arm less that of another, for seeds that have both."""
    return paired(self.by_seed(name, of, x), self.by_seed(name, minus, x))


def paired(
  first: Mapping[int, float], second: Mapping[int, float]
) -> list[float]:
  """The first less the second, for the seeds that both have."""
  return [first[seed] - second[seed] for seed in first if seed in second]
