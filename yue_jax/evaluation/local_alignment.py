"""The stretch of two songs that is most alike (Smith and Waterman, 1981).

    song a      7 7 1 2 3 4 5 9
    song b    0 0 1 2 3 8 4 5 6      1 2 3 - 4 5
                                     1 2 3 8 4 5     five equal, one gap: 4

A frame that is equal counts 1, one that differs or has no partner -1.
"""

from typing import NamedTuple

import numpy as np


class LocalAlignment(NamedTuple):
  """The best stretch.

  Attributes:
    score: equal frames less others; 0 if no frame is equal.
    a, b: frames of both, first and one past the last.
  """

  score: int
  a: tuple[int, int]
  b: tuple[int, int]


def local_alignment(a: np.ndarray, b: np.ndarray) -> LocalAlignment:
  """Of two arrays of codes, (frames,) each, in time len(a) * len(b)."""
  score, end_a, end_b = _best_end(a, b)
  if not score:
    return LocalAlignment(0, (0, 0), (0, 0))
  # Read backwards from its end, the same stretch ends where it began.
  back, length_a, length_b = _best_end(a[:end_a][::-1], b[:end_b][::-1])
  assert back == score
  return LocalAlignment(
    score, (end_a - length_a, end_a), (end_b - length_b, end_b)
  )


def _best_end(a: np.ndarray, b: np.ndarray) -> tuple[int, int, int]:
  """The best score and the ends of its stretch, the earliest there are."""
  place = np.arange(len(b) + 1)
  row = np.zeros(len(b) + 1, np.int64)
  best, end_a, end_b = 0, 0, 0
  for number, code in enumerate(a, start=1):
    step = np.maximum(row - 1, 0)
    step[1:] = np.maximum(step[1:], row[:-1] + np.where(b == code, 1, -1))
    # a gap costs 1 more than what stands left of it, any number of times
    row = np.maximum.accumulate(step + place) - place
    at = int(row.argmax())
    if row[at] > best:
      best, end_a, end_b = int(row[at]), number, at
  return best, end_a, end_b
