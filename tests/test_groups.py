"""Songs that share sound are one group, however long the chain is."""

import time

import numpy as np
import pytest

from yue_jax.data.preparing.groups import group_songs


def columns(*values):
  return [np.array(column, np.uint64) for column in values]


def simple_groups(ids, codes):
  """The same by a flood through every song, one at a time."""
  groups = dict.fromkeys(range(len(ids)))
  for first in np.argsort(ids).tolist():
    waiting = [first]
    while waiting:
      song = waiting.pop()
      if groups[song] is None:
        groups[song] = ids[first]
        shared = {c[song] for c in codes} - {0}
        waiting += [
          other
          for other in range(len(ids))
          if shared & {c[other] for c in codes}
        ]
  return [groups[song] for song in range(len(ids))]


def test_worked_example():
  ids, vocals, mixtures = columns([30, 20, 10], [7, 0, 0], [0, 7, 5])
  assert group_songs(ids, [vocals, mixtures]).tolist() == [20, 20, 10]


def test_nothing_connects_nothing():
  [ids] = columns([3, 1, 2])
  assert group_songs(ids, columns([0, 0, 0], [0, 0, 0])).tolist() == [3, 1, 2]
  assert group_songs(*columns([]), columns([], [])).tolist() == []


@pytest.mark.parametrize("seed", range(20))
def test_as_found_one_by_one(seed):
  rng = np.random.default_rng(seed)
  count = int(rng.integers(1, 60))
  ids = rng.permutation(2**64 - 1 - np.arange(count, dtype=np.uint64))
  codes = list(rng.integers(0, count * 2, (3, count)).astype(np.uint64))
  expected = simple_groups(ids, codes)
  assert group_songs(ids, codes).tolist() == expected


@pytest.mark.parametrize("order", ["rising", "falling", "random"])
def test_a_long_chain_is_one_group(order):
  """Song i shares its mixture with song i + 1's vocals, and nothing else."""
  count = 200_000
  ids = np.arange(1, count + 1, dtype=np.uint64)
  ids = {
    "rising": ids,
    "falling": ids[::-1],
    "random": np.random.default_rng(0).permutation(ids),
  }[order]
  links = np.arange(count, dtype=np.uint64)
  start = time.process_time()
  groups = group_songs(ids, [links, links + 1])
  assert time.process_time() - start < 20
  assert (groups == 1).all()
