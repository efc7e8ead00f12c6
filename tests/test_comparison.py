"""Differences of systems, and what is claimed of them."""

import numpy as np
import pytest

from yue_jax.evaluation.comparison import (
  Claim,
  difference,
  frechet_difference,
)
from yue_jax.evaluation.distributions import frechet_distance
from yue_jax.evaluation.embeddings import from_arrays
from yue_jax.evaluation.estimates import Estimate


def test_pairs_are_compared():
  """Songs differ by far more than the systems do."""
  rng = np.random.default_rng(0)
  hard = rng.normal(0, 10, 30)
  a = {str(i): x for i, x in enumerate(hard)}
  b = {str(i): x + 1 + rng.normal() * 0.1 for i, x in enumerate(hard)}
  found = difference(a, b)
  assert -1.1 < found.low <= found.value <= found.high < -0.9
  assert difference(b, a).value == pytest.approx(-found.value)
  with pytest.raises(ValueError, match="without a partner"):
    difference(a, {"0": 1.0})


def test_the_nearer_system_is_nearer():
  rng = np.random.default_rng(0)

  def embeddings(shift):
    rows = shift + rng.normal(size=(40, 3))
    return from_arrays({f"{i:02}": r for i, r in enumerate(rows)}, of="test")

  far, near, real = embeddings(1.0), embeddings(0.1), embeddings(0.0)
  found = frechet_difference(far, near, real)
  assert found.value == pytest.approx(
    frechet_distance(far.rows, real.rows)
    - frechet_distance(near.rows, real.rows)
  )
  assert found.low > 0
  same = frechet_difference(near, embeddings(0.1), real)
  assert same.low < 0 < same.high


def test_claims_hold_with_all_of_their_interval():
  estimate = Estimate(0.5, 0.4, 0.7, 20)
  assert Claim("x", estimate, above=0.3).holds
  assert not Claim("x", estimate, above=0.45).holds
  assert Claim("x", estimate, below=0.8).holds
  assert not Claim("x", estimate, below=0.65).holds
  assert not Claim("x", estimate, above=0.3, below=0.6).holds
  assert str(Claim("x", estimate, above=0.3)).startswith(
    "yes  x: 0.5 [0.4, 0.7]"
  )
  assert str(Claim("x", estimate, below=0.3)).startswith("NO   x")
