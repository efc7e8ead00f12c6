"""Distances against closed forms and scipy's matrix square root."""

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats

from yue_jax.evaluation.distributions import (
  class_kl,
  distance,
  frechet_by_size,
  frechet_distance,
  gaussian_kl,
)
from yue_jax.evaluation.embeddings import from_arrays


def test_one_dimension_has_a_closed_form():
  """(mu - mu')^2 + (sigma - sigma')^2."""
  a, b = np.array([[0.0], [2.0]]), np.array([[5.0], [5.0], [8.0]])
  expected = (1 - 6) ** 2 + (np.std(a, ddof=1) - np.std(b, ddof=1)) ** 2
  assert frechet_distance(a, b) == pytest.approx(expected)


def test_equal_to_the_square_root_of_scipy():
  rng = np.random.default_rng(0)
  a = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6))
  b = 1 + rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6))
  s, t = np.cov(a.T), np.cov(b.T)
  shift = a.mean(axis=0) - b.mean(axis=0)
  expected = shift @ shift + np.trace(
    s + t - 2 * scipy.linalg.sqrtm(s @ t).real
  )
  assert frechet_distance(a, b) == pytest.approx(expected)
  assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)
  assert frechet_distance(a, a + 3) == pytest.approx(6 * 9)


def test_divergence_of_gaussians_is_the_mean_log_ratio():
  rng = np.random.default_rng(0)
  a = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 3))
  b = 0.5 + rng.normal(size=(70, 3)) @ rng.normal(size=(3, 3))
  p, q = (
    scipy.stats.multivariate_normal(x.mean(axis=0), np.cov(x.T)) for x in (a, b)
  )
  drawn = p.rvs(200_000, random_state=1)
  ratios = p.logpdf(drawn) - q.logpdf(drawn)
  error = ratios.std() / np.sqrt(len(ratios))
  assert abs(gaussian_kl(a, b) - ratios.mean()) < 4 * error
  assert gaussian_kl(a, a) == pytest.approx(0, abs=1e-9)


def test_class_divergence_is_that_of_scipy():
  rng = np.random.default_rng(0)
  logits = {s: rng.normal(size=(4, 2, 7)) for s in ("ref", "gen")}
  sets = {
    s: from_arrays({str(i): x for i, x in enumerate(v)}, of=s)
    for s, v in logits.items()
  }
  p, q = (
    scipy.special.softmax(logits[s], axis=-1).mean(axis=1)
    for s in ("ref", "gen")
  )
  expected = scipy.stats.entropy(p, q, axis=1)
  found = class_kl(sets["ref"], sets["gen"])
  assert found == pytest.approx(dict(zip("0123", expected, strict=True)))


def _sets(rng, songs, width, shift):
  a = rng.normal(size=(songs, width))
  b = shift + rng.normal(size=(songs, width))
  return tuple(
    from_arrays({f"{i:04}": row for i, row in enumerate(x)}, of="test")
    for x in (a, b)
  )


def test_the_limit_is_without_the_bias():
  """Two sets of one distribution are 0 apart; few samples say more."""
  rng = np.random.default_rng(0)
  plain, limits = [], []
  for seed in range(8):
    found = frechet_by_size(*_sets(rng, 200, 8, 0.0), seed=seed, draws=8)
    assert found.distances[-1] > 2 * found.distances[0]
    assert found.shares[0] == 1 and found.shares[-1] == pytest.approx(0.25)
    plain.append(found.distances[0])
    limits.append(found.limit)
  assert np.mean(plain) > 0.1
  assert abs(np.mean(limits)) < 0.2 * np.mean(plain)


def test_intervals_hold_the_distance_itself():
  """|shift|^2 = 4 * 0.25, though all samples say more."""
  rng = np.random.default_rng(0)
  held = 0
  for _ in range(30):
    found = distance(frechet_distance, *_sets(rng, 60, 4, 0.5), draws=80)
    held += found.low <= 1.0 <= found.high
  assert held >= 26


def test_windows_of_a_song_are_drawn_together():
  rng = np.random.default_rng(0)
  a = from_arrays({str(i): rng.normal(size=(5, 2)) for i in range(9)}, of="a")
  assert a.rows.shape == (45, 2)
  drawn = a.of(np.array([3, 3, 0]))
  np.testing.assert_array_equal(drawn[:5], drawn[5:10])
  np.testing.assert_array_equal(drawn[10:], a.rows[:5])
  np.testing.assert_allclose(a.means()[8], a.rows[40:].mean(axis=0))


def test_some_of_the_songs():
  rng = np.random.default_rng(0)
  a = from_arrays({i: rng.normal(size=(2, 3)) for i in "abc"}, of="a")
  some = a.only(("c", "a"), of="a")
  assert some.ids == ("a", "c") and some.owners.tolist() == [0, 0, 1, 1]
  np.testing.assert_array_equal(some.rows, a.rows[[0, 1, 4, 5]])
  with pytest.raises(ValueError, match=r"no \['d'\]"):
    a.only(("a", "d"), of="a")


def test_fewer_samples_than_dimensions_are_refused():
  rng = np.random.default_rng(0)
  few, many = rng.normal(size=(8, 8)), rng.normal(size=(30, 8))
  for metric in (frechet_distance, gaussian_kl):
    for pair in ((few, many), (many, few)):
      with pytest.raises(ValueError, match="more samples than dimensions"):
        metric(*pair)
  with pytest.raises(ValueError, match="takes 54 of each"):
    frechet_by_size(*_sets(rng, 53, 8, 0.0))
  flat = np.repeat(many[:, :1], 8, axis=1)
  with pytest.raises(ValueError, match="lie in fewer"):
    gaussian_kl(many, flat)


def test_sets_that_do_not_belong_together_are_refused():
  rng = np.random.default_rng(0)
  a, _ = _sets(rng, 9, 3, 0.0)
  b, _ = _sets(rng, 9, 4, 0.0)
  c, _ = _sets(rng, 8, 3, 0.0)
  for call in (
    lambda: distance(frechet_distance, a, b),
    lambda: frechet_by_size(a, b),
    lambda: class_kl(a, b),
  ):
    with pytest.raises(ValueError, match="width 3 and of 4"):
      call()
  with pytest.raises(ValueError, match="0008"):
    class_kl(a, c)
