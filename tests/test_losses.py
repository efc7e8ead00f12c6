"""Losses against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from yue_jax import losses
from yue_jax.vocab import Stream


@pytest.fixture(autouse=True)
def _mesh():
  with jax.set_mesh(tiny.mesh(tiny.MESHES["one"])):
    yield


def test_uniform_logits_cost_the_log_of_the_vocabulary():
  got = losses.cross_entropy(jnp.zeros((1, 2, 50)), jnp.array([[0, 49]]))
  np.testing.assert_allclose(got, np.log(50), rtol=1e-6)


def test_cross_entropy_is_minus_log_softmax():
  logits = jax.random.normal(jax.random.key(0), (2, 3, 17)) * 5
  targets = jnp.array([[0, 5, 16], [3, 3, 1]])
  expected = -jax.nn.log_softmax(logits)
  expected = np.take_along_axis(
    np.asarray(expected), np.asarray(targets)[..., None], axis=-1
  )[..., 0]
  got = losses.cross_entropy(logits, targets)
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_bfloat16_logits_are_summed_in_float32():
  logits = jnp.zeros((1, 1, 4096), jnp.bfloat16)
  got = losses.cross_entropy(logits, jnp.array([[7]]))
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, np.log(4096), rtol=1e-6)


def test_sums_by_stream():
  values = jnp.array([[1.0, 2.0, 4.0]])
  streams = jnp.array([[Stream.TEXT, Stream.PAD, Stream.TEXT]], jnp.uint8)
  sums, counts = losses.sums_by_stream(values, streams)
  assert (sums[Stream.TEXT], counts[Stream.TEXT]) == (5, 2)
  assert (jnp.sum(sums), jnp.sum(counts)) == (5, 2)
