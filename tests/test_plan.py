"""The plan holds every token once, wastes little, and is the same for ever."""

import numpy as np
import pytest

from yue_jax.data.plan import best_fit, count_samples, cut, make_plan


def lengths(seed: int, count: int = 300, longest: int = 70) -> np.ndarray:
  return np.random.default_rng(seed).integers(1, longest, count)


def plan(sizes, *, context=32, cut_at=32, seed=0, epoch=0):
  return make_plan(
    sizes, context=context, cut_at=cut_at, seed=seed, epoch=epoch
  )


def test_cut_example():
  pieces = cut(np.array([3, 5, 6]), 4)
  np.testing.assert_array_equal(pieces.document, [0, 1, 2, 2])
  np.testing.assert_array_equal(pieces.start, [0, 0, 0, 4])
  np.testing.assert_array_equal(pieces.length, [3, 4, 4, 2])


@pytest.mark.parametrize("at", [2, 7, 32, 100])
def test_every_target_is_in_one_piece(at):
  sizes = lengths(at)
  pieces = cut(sizes, at)
  assert pieces.length.max() <= at
  for document, size in enumerate(sizes):
    mine = pieces[pieces.document == document]
    # Token t is the target of the place before it.
    targets = [
      token
      for start, length in zip(mine.start, mine.length, strict=True)
      for token in range(start + 1, start + length + 1)
      if token < size
    ]
    assert targets == list(range(1, size))
    assert (len(mine) > 1) == (size > at + 1)


def test_best_fit_example():
  assert best_fit(np.array([4, 4, 3, 1, 1]), 5) == [
    (((4, 1), (1, 1)), 2),
    (((3, 1),), 1),
  ]


def one_by_one(sizes, capacity):
  """Best fit, longest first, in the plainest form: room left in the bins."""
  rooms = []
  for size in sorted(sizes, reverse=True):
    fitting = [room for room in rooms if room >= size]
    if fitting:
      rooms.remove(min(fitting))
    rooms.append((min(fitting) if fitting else capacity) - size)
  return sorted(rooms)


@pytest.mark.parametrize("seed", range(6))
def test_best_fit_equals_packing_one_by_one(seed):
  capacity = 40 + 13 * seed
  sizes = lengths(seed, longest=capacity + 1)
  groups = best_fit(sizes, capacity)
  rooms = [
    capacity - sum(size * times for size, times in pattern)
    for pattern, count in groups
    for _ in range(count)
  ]
  assert sorted(rooms) == one_by_one(sizes.tolist(), capacity)
  packed = [
    size
    for pattern, count in groups
    for size, times in pattern
    for _ in range(times * count)
  ]
  assert sorted(packed) == sorted(sizes.tolist())


def test_lengths_that_do_not_fit_are_refused():
  with pytest.raises(
    ValueError, match=r"lengths span 3\.\.9, bins hold 1\.\.8"
  ):
    best_fit(np.array([3, 9]), 8)


@pytest.mark.parametrize("epoch", range(3))
def test_every_piece_is_in_one_sample(epoch):
  sizes = lengths(1)
  made = plan(sizes, epoch=epoch)
  assert len(made) == count_samples(sizes, context=32, cut_at=32)
  found = []
  for number in range(len(made)):
    pieces = made.sample(number)
    assert 0 < pieces.length.sum() <= 32
    found += zip(pieces.document, pieces.start, pieces.length, strict=True)
  whole = cut(sizes, 32)
  assert sorted(found) == sorted(
    zip(whole.document, whole.start, whole.length, strict=True)
  )


def test_longer_pieces_than_the_context_are_refused():
  with pytest.raises(ValueError, match="bins hold"):
    plan(lengths(0), context=16, cut_at=32)


def neighbours(made) -> set[tuple[int, ...]]:
  return {tuple(sorted(made.sample(n).document)) for n in range(len(made))}


def test_every_epoch_and_every_seed_has_its_own_order():
  sizes = lengths(2, longest=20)
  first = plan(sizes)
  np.testing.assert_array_equal(
    first.pieces.document, plan(sizes).pieces.document
  )
  for other in (plan(sizes, epoch=1), plan(sizes, seed=1)):
    assert len(other) == len(first)
    same = other.pieces.document == first.pieces.document
    assert np.mean(same) < 0.1
    # Documents meet others, they do not only appear at another time.
    assert len(neighbours(first) & neighbours(other)) < len(first) / 4


def test_long_documents_are_not_all_early_nor_first_in_their_sample():
  sizes = np.tile([20, 7], 200)
  made = plan(sizes, context=27)
  order = made.pieces.length.reshape(-1, 2)
  assert 0.3 < np.mean(order[:, 0] == 20) < 0.7
  mixed = plan(np.repeat([30, 15], 200), context=30)
  whole = np.array([len(mixed.sample(n)) == 1 for n in range(len(mixed))])
  assert abs(whole[:150].mean() - whole[150:].mean()) < 0.2


def test_golden_plan():
  """These numbers may never change: a running job would see other data.

  If they must, raise `layout.FORMAT`, so that old runs refuse to continue.
  """
  made = plan(np.array([5, 9, 3, 3, 14, 40]), context=16, cut_at=16, seed=3)
  assert made.offsets.tolist() == [0, 3, 4, 6, 7, 8]
  assert made.pieces.document.tolist() == [3, 2, 5, 5, 0, 1, 4, 5]
  assert made.pieces.start.tolist() == [0, 0, 32, 16, 0, 0, 0, 0]


def test_no_documents_make_no_samples():
  assert len(plan(np.zeros(0, np.int64))) == 0
