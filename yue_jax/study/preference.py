"""Who is preferred: wins, ties and losses, shares, and strengths.

A tie is half a win for both. Raters differ more than their answers do, so
intervals come from drawing raters, with replacement; only the shares of wins,
ties and losses have Wilson's, which are those of independent answers.
"""

from collections.abc import Callable
import dataclasses
import math

import choix
import numpy as np
import scipy.stats

from yue_jax.evaluation.estimates import DRAWS, LEVEL
from yue_jax.study.results import Judgements

# Wins that each of two systems gets for nothing: who won every time would
# otherwise be infinitely strong (Haldane's correction of a logit).
PRIOR_WINS = 0.5


@dataclasses.dataclass(frozen=True)
class Bounded:
  """A value and the bounds of its interval; None where none can be had."""

  value: float
  low: float | None = None
  high: float | None = None


@dataclasses.dataclass(frozen=True)
class Tally:
  """How often a system was better than another, in one aspect.

  Attributes:
    first, second: the systems.
    count: of judgements.
    wins, ties, losses: shares of the first, with Wilson's intervals.
    p_value: of the sign test of wins against losses; None if all are ties.
  """

  first: str
  second: str
  count: int
  wins: Bounded
  ties: Bounded
  losses: Bounded
  p_value: float | None


def tallies(judged: Judgements, scores: np.ndarray) -> list[Tally]:
  """Wins, ties and losses of every two systems that were compared.

  Args:
    judged: who judged what.
    scores: (judgements,) of the first clip, 0, 0.5 or 1; of one aspect.
  """
  systems, found = judged.key.systems, []
  firsts, seconds = judged.systems.T
  for i in range(len(systems)):
    for j in range(i + 1, len(systems)):
      here = np.concatenate(
        [
          scores[(firsts == i) & (seconds == j)],
          1 - scores[(firsts == j) & (seconds == i)],
        ]
      )
      if len(here):
        found.append(_tally(systems[i], systems[j], here))
  return found


def wins(judged: Judgements, scores: np.ndarray) -> np.ndarray:
  """(raters, systems, systems) wins of row over column, ties half of one."""
  number = len(judged.key.systems)
  won = np.zeros((len(judged.raters), number, number))
  first, second = judged.systems.T
  np.add.at(won, (judged.rater, first, second), scores)
  np.add.at(won, (judged.rater, second, first), 1 - scores)
  return won


def shares(won: np.ndarray) -> np.ndarray:
  """(systems, systems) share of comparisons that the row won of the column.

  NaN where there were none, and on the diagonal.
  """
  total = won + won.T
  with np.errstate(invalid="ignore"):
    return np.where(total > 0, won / np.where(total > 0, total, 1), np.nan)


def preference(won: np.ndarray) -> np.ndarray:
  """(systems,) share won, averaged over opponents (paper, figure 6).

  NaN for a system that had none.
  """
  share = shares(won)
  compared = ~np.isnan(share)
  with np.errstate(invalid="ignore"):
    return np.where(compared, share, 0).sum(1) / compared.sum(1)


def strengths(won: np.ndarray) -> np.ndarray:
  """(systems,) Bradley-Terry strengths, log-odds, of mean 0.

  The model: i beats j with log-odds strength[i] - strength[j]. Of two systems,
  the difference is log((wins + 1/2) / (losses + 1/2)).
  """
  prior = PRIOR_WINS * (1 - np.eye(len(won)))
  return choix.ilsr_pairwise_dense(won + prior, max_iter=1000)


def with_intervals(
  won: np.ndarray,
  statistic: Callable[[np.ndarray], np.ndarray],
  *,
  seed: int = 0,
  draws: int = DRAWS,
) -> list[Bounded]:
  """A statistic of wins, with intervals from drawing raters.

  Args:
    won: (raters, systems, systems).
    statistic: of wins (systems, systems), (systems,).
    seed: of the draws.
    draws: how many.

  Returns:
    One for every system; without an interval if there is one rater only.
  """
  values = statistic(won.sum(0))
  raters = len(won)
  if raters < 2:
    return [Bounded(float(value)) for value in values]
  rng = np.random.default_rng(seed)
  times = rng.multinomial(raters, [1 / raters] * raters, size=draws)
  drawn = np.array([statistic(np.tensordot(t, won, 1)) for t in times])
  # A draw of raters who were given other systems says nothing of this one.
  tail = expanded_tail(raters)
  low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
  return [
    Bounded(float(v), float(a), float(b))
    for v, a, b in zip(values, low, high, strict=True)
  ]


def expanded_tail(raters: int) -> float:
  """Share of draws to leave out on each side of an interval.

  Percentiles of few draws are too narrow: a mean of n would get the normal's
  interval with the variance that divides by n. The tail that a t-interval
  would have instead (Hesterberg, The American Statistician 69(4), 2015).
  """
  t = scipy.stats.t.ppf((1 + LEVEL) / 2, raters - 1)
  return float(scipy.stats.norm.sf(t * math.sqrt(raters / (raters - 1))))


def _tally(first: str, second: str, scores: np.ndarray) -> Tally:
  won, lost = int((scores == 1).sum()), int((scores == 0).sum())
  return Tally(
    first=first,
    second=second,
    count=len(scores),
    wins=_wilson(won, len(scores)),
    ties=_wilson(len(scores) - won - lost, len(scores)),
    losses=_wilson(lost, len(scores)),
    p_value=(
      float(scipy.stats.binomtest(won, won + lost).pvalue)
      if won + lost
      else None
    ),
  )


def _wilson(hits: int, count: int) -> Bounded:
  test = scipy.stats.binomtest(hits, count)
  low, high = test.proportion_ci(LEVEL, method="wilson")
  return Bounded(hits / count, float(low), float(high))
