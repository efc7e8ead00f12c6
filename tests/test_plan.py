"""Plans hold every token once, waste little, and are the same for ever."""

from collections import Counter

import numpy as np
import pytest

from yue_jax.data.planning.best_fit import best_fit, tail_lengths, whole_counts
from yue_jax.data.planning.packing import (
  PACKINGS,
  count_samples,
  make_plan,
  restore_plan,
)
from yue_jax.data.planning.plan import ORDERS, Draw
from yue_jax.data.planning.windows import Parts, WindowPlan


def lengths(seed: int, count: int = 300, longest: int = 70) -> np.ndarray:
  return np.random.default_rng(seed).integers(1, longest, count)


def draw(**changes) -> Draw:
  return Draw(**{"context": 32, "seed": 0, "epoch": 0} | changes)


def plan(sizes, packing="best_fit", **changes):
  return make_plan(packing, np.array(sizes), draw(**changes))


def samples_of(plan_):
  return [plan_.pieces(number) for number in range(len(plan_))]


def test_cut_example():
  sizes = np.array([4, 5, 6])
  assert whole_counts(sizes, draw(context=4)).tolist() == [0, 0, 1]
  assert tail_lengths(sizes, draw(context=4)).tolist() == [4, 4, 2]
  joined = draw(context=4, joined=True)
  assert whole_counts(sizes, joined).tolist() == [0, 1, 1]
  assert tail_lengths(sizes, joined).tolist() == [4, 1, 2]


def test_best_fit_example():
  assert best_fit(np.array([0, 2, 0, 1, 2, 0])) == [
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
  groups = best_fit(np.bincount(sizes, minlength=capacity + 1))
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


def test_documents_without_tokens_are_refused():
  with pytest.raises(ValueError, match="a document of 0 tokens"):
    plan([3, 0])


def targets_in(pieces, sizes):
  """(document, token) that some place has as its own document's target."""
  return [
    (document, token)
    for document, start, length in pieces
    for token in range(start + 1, start + length + 1)
    if token < sizes[document]
  ]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("context", [2, 7, 32, 100])
def test_every_token_is_a_target_once(packing, order, joined, context):
  sizes = lengths(context)
  for epoch in range(2):
    made = plan(
      sizes,
      packing,
      context=context,
      order=order,
      joined=joined,
      epoch=epoch,
    )
    assert len(made) == count_samples(packing, sizes, made.draw).samples
    found = Counter()
    for pieces in samples_of(made):
      assert 0 < sum(piece.length for piece in pieces) <= context
      found.update(targets_in(pieces, sizes))
    expected = {(d, t) for d, size in enumerate(sizes) for t in range(1, size)}
    assert set(found) == expected
    assert set(found.values()) == {1}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("context", [7, 32])
def test_every_token_has_a_place_that_needs_one(packing, context):
  """All, but by best fit the last of a document that fills its sample."""
  sizes = lengths(0)
  for joined in (False, True):
    made = plan(sizes, packing, context=context, joined=joined)
    found = Counter(
      (document, token)
      for pieces in samples_of(made)
      for document, start, length in pieces
      for token in range(start, start + length)
    )
    assert count_samples(packing, sizes, made.draw).places == found.total()
    assert set(found.values()) == {1}
    missing = {
      (d, t) for d, size in enumerate(sizes) for t in range(size)
    } - set(found)
    spared = not joined and packing == "best_fit"
    full = {
      (d, size - 1)
      for d, size in enumerate(sizes)
      if size > 1 and (size - 1) % context == 0
    }
    assert missing == (full if spared else set())


def test_best_fit_cuts_only_what_is_too_long():
  sizes = lengths(3)
  pieces = Counter(
    piece.document for pieces in samples_of(plan(sizes)) for piece in pieces
  )
  for document, size in enumerate(sizes):
    assert pieces[document] == max(1, -(-(size - 1) // 32))


def test_split_leaves_no_place_but_at_the_end():
  sizes = lengths(1)
  made = plan(sizes, "split")
  filled = [sum(p.length for p in pieces) for pieces in samples_of(made)]
  assert sorted(filled)[1:] == [32] * (len(filled) - 1)
  assert len(made) == -(-sizes.sum() // 32)


def test_split_example():
  sizes = [3, 4, 3]
  for epoch in range(50):
    made = plan(sizes, "split", context=4, epoch=epoch)
    if made.documents.tolist() == [2, 0, 1]:
      assert sorted(samples_of(made)) == [
        [(0, 1, 2), (1, 0, 2)],
        [(1, 2, 2)],
        [(2, 0, 3), (0, 0, 1)],
      ]
      return
  raise AssertionError("an order of three documents is never drawn")


def neighbours(made) -> set[tuple[int, ...]]:
  return {
    tuple(sorted(piece.document for piece in pieces))
    for pieces in samples_of(made)
  }


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_epoch_and_every_seed_has_its_own_order(packing):
  sizes = lengths(2, longest=20)
  first = plan(sizes, packing)
  assert samples_of(first) == samples_of(plan(sizes, packing))
  for other in (plan(sizes, packing, epoch=1), plan(sizes, packing, seed=1)):
    assert len(other) == len(first)
    ones, others = samples_of(first), samples_of(other)
    assert sum(a == b for a, b in zip(ones, others, strict=True)) < 10
    # Documents meet others, they do not only appear at another time.
    assert len(neighbours(first) & neighbours(other)) < len(first) / 4


def test_long_documents_are_not_all_early_nor_first_in_their_sample():
  sizes = np.tile([20, 7], 200)
  order = [[p.length for p in s] for s in samples_of(plan(sizes, context=27))]
  assert 0.3 < np.mean([first == 20 for first, _ in order]) < 0.7
  mixed = samples_of(plan(np.repeat([30, 15, 90], 200), context=30))
  whole = np.array([len(pieces) == 1 for pieces in mixed])
  assert abs(whole[:350].mean() - whole[350:].mean()) < 0.1


@pytest.mark.parametrize("packing", PACKINGS)
def test_from_short_to_long(packing):
  sizes = lengths(5)
  made = plan(sizes, packing, order="length")
  longest = [
    max(int(sizes[piece.document]) for piece in pieces)
    for pieces in samples_of(made)
  ]
  assert longest == sorted(longest)
  other = plan(sizes, packing, order="length", epoch=1)
  assert samples_of(other) != samples_of(made)  # ties are drawn


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("packing", PACKINGS)
def test_plans_are_their_arrays(packing, order):
  made = plan(lengths(0), packing, order=order)
  again = restore_plan(packing, made.arrays(), made.draw)
  assert samples_of(again) == samples_of(made)


def test_golden_plans():
  """These numbers may never change: a running job would see other data.

  If they must, raise `samples._PLANS_VERSION`, so that old runs refuse to
  continue.
  """
  sizes = [5, 9, 3, 3, 14, 40]
  assert samples_of(plan(sizes, context=16, seed=3)) == BEST_FIT
  assert samples_of(plan(sizes, "split", context=16, seed=3)) == SPLIT


def test_following_example():
  """Of 4, 8 and 9 tokens in a row, cut every 4: two documents end a sample."""
  made = plan([4, 8, 9], "split", context=4, order="length")
  assert made.documents.tolist() == [0, 1, 2]
  assert [made.following(n) for n in range(len(made))] == [
    [(1, 0, 0)], [], [(2, 0, 0)], [], [], [],
  ]  # fmt: skip


BEST_FIT = [
  [(4, 0, 14)],
  [(5, 0, 16)],
  [(5, 16, 16)],
  [(0, 0, 5), (1, 0, 9)],
  [(5, 32, 8), (3, 0, 3), (2, 0, 3)],
]
SPLIT = [
  [(5, 32, 8), (1, 0, 8)],
  [(5, 0, 16)],
  [(5, 16, 16)],
  [(1, 8, 1), (2, 0, 3), (3, 0, 3), (0, 0, 5), (4, 0, 4)],
  [(4, 4, 10)],
]


def test_no_documents_make_no_samples():
  for packing in PACKINGS:
    for order in ORDERS:
      assert len(plan(np.zeros(0, np.int32), packing, order=order)) == 0


def test_parts_example():
  parts = Parts(np.array([2, 1, 3]))
  assert len(parts) == 6
  assert [parts.locate(n) for n in range(6)] == [
    (0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2),
  ]  # fmt: skip


@pytest.mark.parametrize("context", [10, 19, 30, 75])
def test_every_window_once_and_as_many_as_fit(context):
  counts = np.random.default_rng(0).integers(0, 4, 3000)
  everywhere = []
  for epoch in range(2):
    made = WindowPlan(draw(context=context, epoch=epoch), Parts(counts), 10)
    found = []
    samples = samples_of(made)
    for pieces in samples:
      assert all(p.length % 10 == p.start % 10 == 0 for p in pieces)
      assert all(p.length for p in pieces)
      found += [
        (p.document, start)
        for p in pieces
        for start in range(p.start, p.start + p.length, 10)
      ]
    filled = sorted(sum(p.length for p in pieces) for pieces in samples)
    assert filled[1:] == [context // 10 * 10] * (len(made) - 1)
    assert sorted(found) == [
      (document, 10 * part)
      for document, count in enumerate(counts)
      for part in range(count)
    ]
    assert made.counts() == (len(made), 10 * counts.sum())
    everywhere.append(samples)
  one, other = everywhere
  assert sorted(one) == sorted(other)
  assert sum(a == b for a, b in zip(one, other, strict=True)) < len(one) / 20


def test_unknown_order_is_refused():
  with pytest.raises(ValueError, match="order='longest', expected one of"):
    draw(order="longest")
