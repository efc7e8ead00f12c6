"""Intervals: against scipy's, and against how often they hold the truth."""

import numpy as np
import pytest
import scipy.stats

from yue_jax.evaluation import estimates


def test_percentiles_are_those_of_scipy():
  values = np.random.default_rng(1).exponential(size=80)
  ours = estimates.mean(values)
  theirs = scipy.stats.bootstrap(
    (values,), np.mean, method="percentile", n_resamples=5000, rng=2
  ).confidence_interval
  width = theirs.high - theirs.low
  assert ours.value == values.mean() and ours.songs == 80
  assert abs(ours.low - theirs.low) < 0.1 * width
  assert abs(ours.high - theirs.high) < 0.1 * width


def test_bias_is_subtracted_twice():
  values = np.random.default_rng(1).exponential(size=20)
  ours = estimates.bias_corrected(lambda i: values[i].max(), 20, draws=4000)
  theirs = scipy.stats.bootstrap(
    (values,), np.max, method="percentile", n_resamples=5000, rng=2
  )
  bias = theirs.bootstrap_distribution.mean() - values.max()
  low, high = (b - 2 * bias for b in theirs.confidence_interval)
  assert bias < 0  # a maximum is too small
  assert ours.high == pytest.approx(high, abs=0.1 * (high - low))
  assert ours.low == pytest.approx(low, abs=0.1 * (high - low))


def test_intervals_hold_the_mean_as_often_as_they_say():
  rng = np.random.default_rng(0)
  held = 0
  for values in rng.normal(3, 1, (100, 60)):
    found = estimates.percentile(lambda i, x=values: x[i].mean(), 60, draws=200)
    held += found.low <= 3 <= found.high
  assert 88 <= held <= 99


def test_a_ratio_weighs_by_its_denominator():
  found = estimates.ratio(np.array([1, 8, 1]), np.array([10, 10, 80]))
  assert found.value == 0.1
  same = estimates.ratio(np.array([1, 2, 8]), np.array([10, 20, 80]))
  assert same.low == pytest.approx(same.value) == pytest.approx(same.high)


def test_two_sets_are_drawn_apart():
  a, b = np.arange(20.0), np.arange(50.0)
  seen = []
  found = estimates.percentile(
    lambda i, j: seen.append((len(i), len(j))) or a[i].mean() - b[j].mean(),
    20,
    50,
    draws=5,
  )
  assert set(seen) == {(20, 50)}
  assert found.value == a.mean() - b.mean() and found.songs == 20


def test_the_same_seed_gives_the_same_interval():
  values = np.arange(9.0)
  assert estimates.mean(values) == estimates.mean(values)
  assert estimates.mean(values) != estimates.mean(values, seed=1)
  assert estimates.median(values).value == 4


@pytest.mark.parametrize(
  "call",
  [
    lambda: estimates.mean(np.array([1.0])),
    lambda: estimates.mean(np.array([])),
    lambda: estimates.mean(np.array([1.0, np.nan])),
    lambda: estimates.mean(np.ones((3, 2))),
    lambda: estimates.ratio(np.ones(3), np.array([1, 0, 1])),
    lambda: estimates.ratio(np.ones(3), np.ones(2)),
    lambda: estimates.percentile(lambda i: np.inf, 5),
  ],
)
def test_no_interval_of_what_has_none(call):
  with pytest.raises(ValueError):
    call()
