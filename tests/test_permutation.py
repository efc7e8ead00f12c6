"""Permutations hold every number once, and look drawn."""

import itertools

import numpy as np
import pytest

from yue_jax.data.planning.permutation import Permutation


def drawn(size, *counters):
  permutation = Permutation(size, *counters, purpose="test")
  return [permutation[number] for number in range(size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 100, 1000, 4097])
def test_every_number_once(size):
  for epoch in range(3):
    assert sorted(drawn(size, 0, epoch)) == list(range(size))


def test_golden():
  """These numbers may never change: a running job would see other data."""
  assert drawn(10, 3, 1) == [7, 8, 1, 4, 2, 0, 5, 9, 6, 3]


def test_all_orders_of_a_few_are_about_as_likely():
  counts = dict.fromkeys(itertools.permutations(range(4)), 0)
  for epoch in range(4800):
    counts[tuple(drawn(4, 0, epoch))] += 1
  assert 120 < min(counts.values()) <= max(counts.values()) < 300


@pytest.mark.parametrize("size", [50, 64, 1000])
def test_numbers_are_anywhere_and_neighbours_are_not_kept(size):
  orders = np.array([drawn(size, 0, epoch) for epoch in range(400)])
  deviation = size / 12**0.5 / 400**0.5
  assert np.all(abs(orders.mean(axis=0) - (size - 1) / 2) < 5 * deviation)
  steps = np.diff(orders, axis=1) % size
  counts = np.bincount(steps.ravel(), minlength=size)[1:]
  expected = steps.size / (size - 1)
  assert np.all(abs(counts - expected) < 6 * expected**0.5)
  correlations = np.corrcoef(orders[:40]) - np.eye(40)
  assert abs(correlations).max() < 5 / size**0.5


def test_far_numbers_need_nothing():
  permutation = Permutation(10**12, 0, purpose="test")
  found = {permutation[number] for number in range(10**12 - 100, 10**12)}
  assert len(found) == 100
  assert max(found) < 10**12
  for number in (-1, 10**12):
    with pytest.raises(IndexError, match="number"):
      permutation[number]
