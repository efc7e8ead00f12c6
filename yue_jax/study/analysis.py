"""Everything that is said of a study, aspect by aspect, and as JSON."""

from collections.abc import Mapping
import dataclasses
import json
import math
import pathlib
from typing import Any

import numpy as np

from yue_jax.evaluation.estimates import DRAWS, LEVEL
from yue_jax.progress import Progress
from yue_jax.study import correlation, preference
from yue_jax.study.agreement import Agreement, agreement
from yue_jax.study.correlation import Correlation
from yue_jax.study.metrics import Metric
from yue_jax.study.preference import Bounded, Tally
from yue_jax.study.results import Judgements

AVERAGE = "average"  # of all aspects: the paper's "average human preference"
_FORMAT = "yue_jax study analysis 1"


@dataclasses.dataclass(frozen=True)
class AspectAnalysis:
  """One aspect, or the average of all.

  Attributes:
    tallies: of every two systems; none for the average.
    shares: (systems, systems) comparisons that row won of column; NaN where
      there were none.
    preference: share won, averaged over opponents, by system.
    strength: Bradley-Terry, log-odds, by system.
    agreement: of the raters; None for the average.
    correlations: by metric.
  """

  tallies: list[Tally]
  shares: np.ndarray
  preference: dict[str, Bounded]
  strength: dict[str, Bounded]
  agreement: Agreement | None
  correlations: dict[str, Correlation]


@dataclasses.dataclass(frozen=True)
class Analysis:
  """A study.

  Attributes:
    study: its identity.
    systems, raters: their names.
    judgements: how many comparisons were judged, by all raters together.
    left: share of answers for the song on the left, of those that are no tie;
      far from a half, raters did not listen. None if all are ties.
    heard: by rater, the median of the seconds that they heard of a clip.
    aspects: by name, then AVERAGE.
  """

  study: str
  systems: tuple[str, ...]
  raters: tuple[str, ...]
  judgements: int
  left: float | None
  heard: dict[str, float]
  aspects: dict[str, AspectAnalysis]


def analyse(
  judged: Judgements,
  metrics: Mapping[str, Metric],
  *,
  seed: int = 0,
  draws: int = DRAWS,
) -> Analysis:
  """Analyses a study.

  Args:
    judged: all answers.
    metrics: automatic ones, by name; may be empty.
    seed: of intervals.
    draws: for each interval.

  Raises:
    ValueError: a system that nobody has judged.
  """
  names, systems = judged.key.aspects, judged.key.systems
  seen = set(np.unique(judged.systems))
  if unseen := [s for i, s in enumerate(systems) if i not in seen]:
    raise ValueError(
      f"nobody has judged {', '.join(unseen)}; more raters must answer"
    )
  columns = {name: judged.scores[:, i] for i, name in enumerate(names)}
  columns[AVERAGE] = judged.scores.mean(1)
  found = {}
  with Progress(len(columns), "aspects", "analysing") as progress:
    for name, scores in columns.items():
      found[name] = _aspect(
        judged, scores, metrics, name == AVERAGE, seed, draws
      )
      progress.advance()
  decided = judged.scores != 0.5
  left = np.where(judged.first_left[:, None], judged.scores, 1 - judged.scores)
  return Analysis(
    study=judged.key.study,
    systems=systems,
    raters=judged.raters,
    judgements=len(judged.rater),
    left=float(left[decided].mean()) if decided.any() else None,
    heard={
      name: float(np.median(judged.heard[judged.rater == number]))
      for number, name in enumerate(judged.raters)
    },
    aspects=found,
  )


def write_json(found: Analysis, path: pathlib.Path) -> None:
  """Writes everything; what is not defined is null."""
  described = {"format": _FORMAT, "level": LEVEL} | dataclasses.asdict(found)
  text = json.dumps(_plain(described), indent=1, ensure_ascii=False)
  path.write_text(text + "\n", encoding="utf-8")


def _aspect(
  judged: Judgements,
  scores: np.ndarray,
  metrics: Mapping[str, Metric],
  average: bool,
  seed: int,
  draws: int,
) -> AspectAnalysis:
  won = preference.wins(judged, scores)
  preferred, strong = (
    dict(
      zip(
        judged.key.systems,
        preference.with_intervals(won, statistic, seed=seed, draws=draws),
        strict=True,
      )
    )
    for statistic in (preference.preference, preference.strengths)
  )
  values = np.array([its.value for its in preferred.values()])
  return AspectAnalysis(
    tallies=[] if average else preference.tallies(judged, scores),
    shares=preference.shares(won.sum(0)),
    preference=preferred,
    strength=strong,
    agreement=None if average else agreement(judged, scores),
    correlations={
      name: Correlation(
        systems=correlation.over_systems(metric, values, judged),
        songs=correlation.within_songs(metric, scores, judged, draws=draws),
      )
      for name, metric in metrics.items()
    },
  )


def _plain(value: Any) -> Any:
  if isinstance(value, np.ndarray):
    value = value.tolist()
  if isinstance(value, dict):
    return {name: _plain(item) for name, item in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(item) for item in value]
  if isinstance(value, float) and math.isnan(value):
    return None
  return value
