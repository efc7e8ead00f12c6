"""What a metric is worth: a value, and an interval from resampling songs.

Songs are what an evaluation draws; the frames, words and windows of one song
depend on one another. So whole songs are drawn, with replacement, and the
statistic is computed anew from each draw.
"""

from collections.abc import Callable
import dataclasses

import numpy as np

LEVEL = 0.95
DRAWS = 1000
_LEAST_SONGS = 2
_NUMBERS_AT_ONCE = 2**20

# (songs,) indices, of each set of songs -> value
Statistic = Callable[..., float]


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A statistic of some songs.

  Attributes:
    value: of all of them.
    low, high: bounds of the interval, which holds the value for all songs
      that could have been drawn in 95 % of evaluations.
    songs: how many there were (in the smallest set, if there are several);
      intervals of few songs are too narrow.
  """

  value: float
  low: float
  high: float
  songs: int

  def __str__(self) -> str:
    return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def interval(draws: np.ndarray) -> tuple[float, float]:
  """(low, high) of the middle share `LEVEL` of draws."""
  low, high = np.quantile(draws, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
  return float(low), float(high)


def percentile(
  statistic: Statistic, *songs: int, seed: int = 0, draws: int = DRAWS
) -> Estimate:
  """The percentile interval; for means, medians, rates and their differences.

  Args:
    statistic: of the songs with these indices, some of them repeated.
    songs: how many there are in each set that the statistic takes.
    seed: of the draws.
    draws: how many.

  Raises:
    ValueError: fewer than two songs, or a value that is not finite.
  """
  value, drawn = _drawn(statistic, songs, seed, draws)
  return Estimate(value, *interval(drawn), min(songs))


def bias_corrected(
  statistic: Statistic, *songs: int, seed: int = 0, draws: int = DRAWS
) -> Estimate:
  """The percentile interval less twice the bias, for what few songs inflate.

  Drawing songs again adds as much bias as drawing them the first time did: the
  draws are too large by both. The interval is of the unbiased value, and may
  lie below `value` altogether. Arguments as of `percentile`.
  """
  value, drawn = _drawn(statistic, songs, seed, draws)
  bias = drawn.mean() - value
  low, high = (bound - 2 * bias for bound in interval(drawn))
  return Estimate(value, float(low), float(high), min(songs))


def by_row(statistic: Statistic, *songs: int, seed: int = 0) -> Estimate:
  """`percentile` of a statistic that is given many draws at once.

  Args:
    statistic: of (draws, songs) indices of each set; the values (draws,).
    songs: how many there are in each set.
    seed: of the draws.
  """
  _expect_enough(min(songs))
  (value,) = statistic(*(np.arange(n)[None] for n in songs))
  rng = np.random.default_rng(seed)
  at_once = max(1, _NUMBERS_AT_ONCE // max(songs))
  drawn = np.concatenate(
    [
      statistic(
        *(rng.integers(n, size=(min(at_once, DRAWS - k), n)) for n in songs)
      )
      for k in range(0, DRAWS, at_once)
    ]
  )
  return Estimate(float(value), *interval(drawn), min(songs))


def mean(values: np.ndarray, *, seed: int = 0) -> Estimate:
  """The mean of one value a song."""
  values = _finite(values)
  return by_row(lambda i: values[i].mean(axis=1), len(values), seed=seed)


def median(values: np.ndarray, *, seed: int = 0) -> Estimate:
  """The median of one value a song."""
  values = _finite(values)
  return by_row(lambda i: np.median(values[i], axis=1), len(values), seed=seed)


def ratio(
  numerators: np.ndarray, denominators: np.ndarray, *, seed: int = 0
) -> Estimate:
  """Sum by sum, such as errors by words: long songs weigh more."""
  above, below = _finite(numerators), _finite(denominators)
  if above.shape != below.shape or (below <= 0).any():
    raise ValueError(
      f"{len(above)} numerators, {len(below)} denominators of which"
      f" {(below <= 0).sum()} are not positive; expected one of each a song"
    )
  return by_row(
    lambda i: above[i].sum(axis=1) / below[i].sum(axis=1), len(above), seed=seed
  )


def _drawn(
  statistic: Statistic, songs: tuple[int, ...], seed: int, draws: int
) -> tuple[float, np.ndarray]:
  value = float(statistic(*map(np.arange, songs)))  # says what is wrong best
  _expect_enough(min(songs))
  rng = np.random.default_rng(seed)
  drawn = [
    float(statistic(*(rng.integers(n, size=n) for n in songs)))
    for _ in range(draws)
  ]
  if not np.isfinite([value, *drawn]).all():
    raise ValueError(
      "the statistic is not finite for all draws of songs; give more songs, or"
      " find those for which it is not defined"
    )
  return value, np.array(drawn)


def _expect_enough(songs: int) -> None:
  if songs < _LEAST_SONGS:
    raise ValueError(
      f"{songs} songs; an interval needs at least {_LEAST_SONGS}, and some"
      " dozens to be of use"
    )


def _finite(values: np.ndarray) -> np.ndarray:
  values = np.asarray(values, np.float64)
  if values.ndim != 1 or not np.isfinite(values).all():
    raise ValueError(
      f"values of shape {values.shape}, {(~np.isfinite(values)).sum()} not"
      " finite; expected one finite number a song"
    )
  return values
