"""How far automatic metrics say what raters say (paper, section 6.2.4)."""

import dataclasses

import numpy as np
import scipy.stats

from yue_jax.evaluation import estimates
from yue_jax.study.metrics import Metric
from yue_jax.study.preference import Bounded
from yue_jax.study.results import Judgements

_LEAST_SYSTEMS = 3  # any two points lie on a line


@dataclasses.dataclass(frozen=True)
class Correlation:
  """Of one metric with preference in one aspect.

  Attributes:
    systems: Pearson's r over systems, as in the paper's tables, with Fisher's
      interval (which four systems are needed for); None for fewer than three,
      or where one of the two does not vary.
    songs: the same within songs, with an interval from drawing songs; None
      without values for every song, or where one of the two does not vary.
  """

  systems: Bounded | None
  songs: Bounded | None


def over_systems(metric: Metric, preferred: np.ndarray, judged: Judgements):
  """Pearson's r of a metric and preferences (systems,); see `Correlation`."""
  values = np.array([metric.by_system[s] for s in judged.key.systems])
  constant = np.ptp(values) == 0 or np.ptp(preferred) == 0
  if len(values) < _LEAST_SYSTEMS or constant:
    return None
  test = scipy.stats.pearsonr(values, preferred)
  if len(values) == _LEAST_SYSTEMS:
    return Bounded(float(test.statistic))
  low, high = test.confidence_interval(estimates.LEVEL)
  return Bounded(float(test.statistic), float(low), float(high))


def within_songs(
  metric: Metric, scores: np.ndarray, judged: Judgements, *, draws: int
) -> Bounded | None:
  """Does the preferred one of two clips have the larger value, and how much?

  Correlates differences of the metric with preferences less 1/2, averaged over
  raters, of all comparisons; each counts both ways round, hence neither has a
  mean to subtract. See `Correlation`.

  Args:
    metric: with values for every song.
    scores: (judgements,) of the first clip, in [0, 1].
    judged: who judged what.
    draws: of songs.
  """
  if not metric.by_song:
    return None
  key = judged.key
  number = len(key.comparisons)
  count = np.bincount(judged.comparison, minlength=number)
  total = np.bincount(judged.comparison, scores - 0.5, minlength=number)
  liked = total / np.maximum(count, 1)  # 0 where nobody judged: says nothing
  clips = [[key.clips[c] for c in two] for two in key.comparisons.values()]
  first, second = (
    np.array([metric.by_song[two[i].system][two[i].song] for two in clips])
    for i in (0, 1)
  )
  differs = np.where(count > 0, first - second, 0)
  names = [two[0].song for two in clips]
  _, song = np.unique(names, return_inverse=True)
  products = np.stack([differs * liked, differs**2, liked**2])
  sums = np.stack([np.bincount(song, p) for p in products])  # (3, songs)
  whole = sums.sum(1)
  if not whole[1] or not whole[2]:
    return None
  value = float(whole[0] / np.sqrt(whole[1] * whole[2]))
  return _with_interval(value, sums, draws)


def _with_interval(value: float, sums: np.ndarray, draws: int) -> Bounded:
  songs = sums.shape[1]
  if songs < 2:
    return Bounded(value)
  rng = np.random.default_rng(0)
  times = rng.multinomial(songs, [1 / songs] * songs, size=draws)
  both, xs, ys = sums @ times.T  # (draws,) each
  varies = (xs > 0) & (ys > 0)
  drawn = both[varies] / np.sqrt(xs[varies] * ys[varies])
  return Bounded(value, *estimates.interval(drawn))
