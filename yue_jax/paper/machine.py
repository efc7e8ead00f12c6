"""Does what is missing of some claims: corpora, trainings, measures, lines.

    cases without a line ─► their runs ─► corpora, one after the other
                                └ trainings, side by side, as processes
                                    └ measures, here, as soon as one is done
                                        └ a line of the claim's results

Killed at any moment, it goes on when called again: a line is written when its
case has been measured, trainings have checkpoints, corpora are whole or not
there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
import dataclasses
import pathlib
import time
from typing import Any

from yue_jax.paper import corpora
from yue_jax.paper.cases import Case, Claim, Run
from yue_jax.paper.results import Results
from yue_jax.paper.trained import Trained
from yue_jax.paper.training import Trainer
from yue_jax.progress import Progress


@dataclasses.dataclass(frozen=True)
class Places:
  """Where things lie.

  Attributes:
    work: corpora and runs; may be removed, and are made again.
    results: a file CLAIM.jsonl each, and figures.
  """

  work: pathlib.Path
  results: pathlib.Path

  def lines(self, claim: Claim) -> pathlib.Path:
    return self.results / f"{claim.name}.jsonl"


class Missing:
  """The cases of claims that have no line yet, by run."""

  def __init__(self, claims: Sequence[Claim], form: str, places: Places):
    self._files: dict[str, Results] = {}
    self.cases: dict[str, list[tuple[str, Case]]] = {}
    self.runs: dict[str, Run] = {}
    self.done = self.dropped = 0
    for claim in claims:
      cases = claim.cases(form)
      check_cases(claim.name, cases)
      file = Results(places.lines(claim), cases)
      self._files[claim.name] = file
      self.done += len(file.done)
      self.dropped += file.dropped
      for case in cases:
        if case.name not in file.done:
          self.runs[case.run.name] = case.run
          self.cases.setdefault(case.run.name, []).append((claim.name, case))

  def __len__(self) -> int:
    return sum(map(len, self.cases.values()))

  def measure(self, run: Run, trained: Trained) -> Iterator[str]:
    """Measures the cases of a run, a line for each; yields what they say."""
    values: dict[str, tuple[dict[str, Any], float]] = {}
    for claim, case in self.cases[run.name]:
      if case.name not in values:  # two claims may share a case
        began = time.monotonic()
        measured = case.measure(trained)
        values[case.name] = measured, time.monotonic() - began
      self._files[claim].add(case, *values[case.name])
      yield f"{claim} {case.arm} {case.x:g} seed {case.seed}"

  def close(self) -> None:
    for file in self._files.values():
      file.close()


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
  workers: int,
  trainer: Callable[[pathlib.Path], Any] = Trainer,
  trained: Callable[..., Any] = Trained,
  make: Callable[..., None] = corpora.make,
) -> Mapping[str, int]:
  """Trains and measures all that is missing.

  Args:
    claims: in the order in which they are done.
    form: "full" or "quick".
    places: where results and work lie.
    workers: trainings side by side, of a thread each.
    trainer, trained, make: what trains, what is measured, and what makes a
      corpus.

  Returns:
    Counts of cases: "done" before, "dropped" since their settings have
    changed, and "measured" now.
  """
  missing = Missing(claims, form, places)
  total = missing.done + len(missing)
  training = trainer(places.work)
  pool = futures.ThreadPoolExecutor(workers, "training")
  measured = 0
  try:
    with Progress(total, "cases", "paper", start=missing.done) as progress:
      for run in _in_turn(missing.runs.values(), training, pool, make):
        folder, corpus = training.folder(run), training.corpus(run)
        for note in missing.measure(run, trained(run, folder, corpus)):
          progress.advance(note=note)
          measured += 1
  finally:
    training.close()
    pool.shutdown(cancel_futures=True)
    missing.close()
  return {
    "done": missing.done,
    "dropped": missing.dropped,
    "measured": measured,
  }


def _in_turn(runs, training, pool, make) -> Iterator[Run]:
  """Runs as they are done; corpora are made before the first is trained."""
  waiting = {}
  for run in runs:
    make(run.corpus, training.corpus(run))
    waiting[pool.submit(training.train, run)] = run
  for future in futures.as_completed(waiting):
    future.result()
    yield waiting[future]
