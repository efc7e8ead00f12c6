"""Does what is missing of some claims: corpora, trainings, measures, lines.

    cases without a line ─► their runs ─► corpora, one after the other
                                └ trainings, side by side (`sweeps.running`)
                                    └ measures, here, as soon as one is done
                                        └ a line of the claim's results

Killed at any moment, it goes on when called again: a line is written when its
case has been measured, trainings have checkpoints, corpora are whole or not
there. A run that has diverged has lines that say so, and no values.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import pathlib
import time
from typing import Any

from yue_jax.paper import corpora, training
from yue_jax.paper.cases import Case, Claim, Run
from yue_jax.paper.results import Results
from yue_jax.paper.trained import Trained
from yue_jax.sweeps import running
from yue_jax.sweeps.outcomes import Outcome, outcomes_of


class FailedRuns(RuntimeError):
  """Processes of training ended with errors, or were killed."""


@dataclasses.dataclass(frozen=True)
class Places:
  """Where things lie.

  Attributes:
    work: corpora and runs; may be removed, and are made again.
    results: a file CLAIM.jsonl each, and figures.
  """

  work: pathlib.Path
  results: pathlib.Path

  @property
  def runs(self) -> pathlib.Path:
    return self.work / "runs"

  def corpus(self, run: Run) -> pathlib.Path:
    return self.work / "corpora" / run.corpus.name

  def lines(self, claim: Claim) -> pathlib.Path:
    return self.results / f"{claim.name}.jsonl"


class Missing:
  """The cases of claims that have no line yet, by run.

  Attributes:
    runs: that have such cases, by name.
    done: cases that have a line.
    dropped: lines of other settings, which are gone.
    total: cases that had no line.
    measured: those of them that were given one since.
  """

  def __init__(self, claims: Sequence[Claim], form: str, places: Places):
    self.runs: dict[str, Run] = {}
    self.done = self.dropped = self.measured = 0
    self._files: dict[str, Results] = {}
    self._cases: dict[str, list[tuple[str, Case]]] = {}
    for claim in claims:
      cases = claim.cases(form)
      check_cases(claim.name, cases)
      file = Results(places.lines(claim), cases)
      self._files[claim.name] = file
      self.done += len(file.done)
      self.dropped += file.dropped
      for name, case in {case.name: case for case in cases}.items():
        if name not in file.done:
          self.runs[case.run.name] = case.run
          self._cases.setdefault(case.run.name, []).append((claim.name, case))
    self.total = sum(map(len, self._cases.values()))

  def measure(self, name: str, trained: Any) -> None:
    """Measures the cases of a run that is done; each has its line at once."""
    known: dict[str, tuple[dict[str, Any], float]] = {}
    for claim, case in self._cases.pop(name, ()):
      if case.name not in known:  # two claims may share a case
        began = time.monotonic()
        values = case.measure(trained)
        known[case.name] = values, time.monotonic() - began
      values, seconds = known[case.name]
      self._add(claim, case, values, seconds=seconds)

  def write_off(self, name: str, outcome: Outcome) -> None:
    """Writes of the cases of a run that it has no values, and why."""
    for claim, case in self._cases.pop(name, ()):
      self._add(claim, case, {}, outcome=str(outcome))

  def close(self) -> None:
    for file in self._files.values():
      file.close()

  def _add(self, claim: str, case: Case, values: dict, **more) -> None:
    self._files[claim].add(case, values, **more)
    self.measured += 1
    where = f"{claim}: {case.arm}, x {case.x:g}, seed {case.seed}"
    print(f"{self.measured} of {self.total}, {where}", flush=True)


def check_cases(name: str, cases: Sequence[Case]) -> None:
  """Refuses two cases at one place of the table."""
  places = [(case.arm, case.x, case.seed) for case in cases]
  if twice := [place for place in places if places.count(place) > 1]:
    raise ValueError(
      f"claim {name}: two cases have (arm, x, seed) = {twice[0]}; each line of"
      " a table needs a place of its own"
    )


def complete(
  claims: Sequence[Claim],
  form: str,
  places: Places,
  *,
  parallel: int,
  train: Callable[..., Mapping[str, Outcome]] = running.run_all,
  look: Callable[..., Any] = Trained,
) -> Missing:
  """Trains and measures all that is missing.

  Args:
    claims: in the order in which they are done.
    form: "full" or "quick".
    places: where results and work lie.
    parallel: trainings side by side.
    train: as `sweeps.running.run_all`.
    look: as `trained.Trained`.

  Returns:
    What was missing, and how much of it was done.

  Raises:
    FailedRuns: some trainings failed; all others are measured.
    KeyboardInterrupt: it was asked to stop.
  """
  missing, failed = Missing(claims, form, places), []

  def ended(name: str, outcome: Outcome) -> None:
    run = missing.runs[name]
    if outcome.status == "done":
      folder = places.runs / name
      missing.measure(name, look(run, folder, places.corpus(run)))
    elif outcome.status == "diverged":
      missing.write_off(name, outcome)
    else:
      failed.append(f"{name}: {outcome}")

  try:
    configs = {}
    for name, run in missing.runs.items():
      corpora.make(run.corpus, places.corpus(run))
      configs[name] = training.run_config(run, places.corpus(run))
    for name, outcome in outcomes_of(configs, places.runs).items():
      if outcome.final:  # trained by another call
        ended(name, outcome)
    outcomes = train(configs, places.runs, parallel=parallel, ended=ended)
    for name, outcome in outcomes.items():
      if outcome.final:  # by another call, meanwhile
        ended(name, outcome)
  finally:
    missing.close()
  if failed:
    raise FailedRuns(
      f"{len(failed)} trainings in {places.runs} failed: {'; '.join(failed)};"
      " their log.txt say more, and the same command starts them again"
    )
  return missing
