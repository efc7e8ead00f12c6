"""Songs are divided between sections, greedily, and completely."""

import numpy as np
import pytest

from yue_jax.data.sources.sections import divide


def as_rows(division):
  columns = (division.song, division.first, division.end, division.tokens)
  return list(zip(*(column.tolist() for column in columns), strict=True))


def test_example():
  division = divide(
    np.array([4, 4, 3, 9, 2]),
    np.array([0, 3]),
    np.array([3, 2]),
    room=np.array([8, 8]),
  )
  assert as_rows(division) == [
    (0, 0, 2, 8), (0, 2, 3, 3), (1, 0, 1, 9), (1, 1, 2, 2),
  ]  # fmt: skip


def one_by_one(sizes, room):
  parts, first = [], 0
  for number in range(1, len(sizes) + 1):
    is_last = number == len(sizes)
    if is_last or sum(sizes[first : number + 1]) > room:
      parts.append((first, number, int(sum(sizes[first:number]))))
      first = number
  return parts


@pytest.mark.parametrize("seed", range(5))
def test_as_one_song_at_a_time(seed):
  rng = np.random.default_rng(seed)
  counts = rng.integers(1, 9, 200)
  sizes = rng.integers(1, 50, counts.sum())
  starts = np.cumsum(counts) - counts
  room = rng.integers(1, 120, 200)
  chosen = np.flatnonzero(rng.random(200) < 0.7)  # with gaps between them
  division = divide(sizes, starts[chosen], counts[chosen], room=room[chosen])
  assert as_rows(division) == [
    (place, *part)
    for place, song in enumerate(chosen)
    for part in one_by_one(
      sizes[starts[song] : starts[song] + counts[song]], room[song]
    )
  ]


def test_no_songs():
  nothing = np.zeros(0, np.int64)
  assert as_rows(divide(nothing, nothing, nothing, room=nothing)) == []
