"""Intervals of paired differences, and what they say of a statement.

Seeds are few and paired: two arms of one seed share their world, their songs
and the lyrics they are given. So an interval is that of the mean of the
differences by seed, by Student's t; it takes them to be normal, which three
numbers cannot contradict.
"""

from collections.abc import Sequence
import dataclasses
import math

# 97.5 % quantiles of Student's t, by degrees of freedom from 1 on.
_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)
_NORMAL = 1.9600  # beyond; an eighth too short at 10 degrees
HOLDS, FAILS, UNDECIDED = "holds", "does not hold here", "undecided"


@dataclasses.dataclass(frozen=True)
class Interval:
  """A mean with its 95 % interval; infinite where one number stands alone."""

  mean: float
  low: float
  high: float
  count: int


def interval(numbers: Sequence[float]) -> Interval:
  """By Student's t. Example: [1, 3] -> 2, from -10.7 to 14.7."""
  count = len(numbers)
  if not count:
    raise ValueError("no numbers to take the mean of; expected at least one")
  mean = sum(numbers) / count
  if count == 1:
    return Interval(mean, -math.inf, math.inf, 1)
  variance = sum((x - mean) ** 2 for x in numbers) / (count - 1)
  quantile = _T[count - 2] if count - 2 < len(_T) else _NORMAL
  half = quantile * math.sqrt(variance / count)
  return Interval(mean, mean - half, mean + half, count)


def verdict(found: Interval | None, *, least: float) -> str:
  """What an interval of differences says of "they are positive".

  It holds when the interval lies above 0, and does not hold here when it lies
  below `least`, the smallest effect worth the name. An effect that is both,
  surely there and surely too small, does not hold either.
  """
  if found is None:
    return UNDECIDED
  if found.high < least:
    return FAILS
  return HOLDS if found.low > 0 else UNDECIDED
