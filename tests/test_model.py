"""What a reader may trust about the decoder."""

import dataclasses
import re

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from yue_jax import model, sharding
from yue_jax.attention import packed_causal_mask
from yue_jax.model import Decoder
from yue_jax.sampling.layered import LayeredDecoder, grow


@pytest.fixture(scope="module")
def mesh():
  mesh = tiny.mesh(tiny.MESHES["one"])
  with jax.set_mesh(mesh):
    yield mesh


def logits_of(cfg=tiny.MODEL, batch=None, seed=0):
  batch = tiny.host_batch(rows=2) if batch is None else batch
  rows = {
    k: jax.sharding.reshard(v[0], sharding.SPECS.row_bt)
    for k, v in batch.items()
  }

  @jax.jit
  def run():
    decoder = Decoder(cfg, rngs=nnx.Rngs(seed))
    return decoder(rows["inputs"], rows["segments"], rows["positions"])

  return np.asarray(run())


def test_packed_causal_mask_keeps_segments_apart(mesh):
  mask = packed_causal_mask(jnp.array([[1, 1, 2]]))
  np.testing.assert_array_equal(mask[0], [[1, 0, 0], [1, 1, 0], [0, 0, 1]])


def test_future_tokens_leave_past_logits_unchanged(mesh):
  batch = tiny.host_batch(rows=2)
  batch["segments"] = np.ones_like(batch["segments"])
  before = logits_of(batch=batch)
  changed = {**batch, "inputs": batch["inputs"].copy()}
  changed["inputs"][0, :, 9] = (changed["inputs"][0, :, 9] + 1) % 192
  after = logits_of(batch=changed)
  np.testing.assert_array_equal(before[:, :9], after[:, :9])
  assert np.all(np.any(before[:, 9:] != after[:, 9:], axis=-1))


def test_gradient_flows_to_the_past_only(mesh):
  """d logits[t=5] / d embedding[s] is zero for s > 5 and not for s <= 5."""
  cfg = tiny.MODEL
  batch = {k: v[0, :1, :8] for k, v in tiny.host_batch(rows=2).items()}
  batch["segments"] = np.ones_like(batch["segments"])
  batch["inputs"] = np.arange(8, dtype=np.int32)[None]  # every id once

  def probe(table):
    decoder = Decoder(cfg, rngs=nnx.Rngs(0))
    decoder.embed[...] = table
    out = decoder(batch["inputs"], batch["segments"], batch["positions"])
    at_five = (jnp.arange(8) == 5)[None, :, None]
    return jnp.sum(out**2, where=at_five)

  table = jax.jit(lambda: Decoder(cfg, rngs=nnx.Rngs(0)).embed[...])()
  gradient = np.abs(jax.jit(jax.grad(probe))(table)).sum(axis=1)
  assert np.all(gradient[:6] > 0)
  assert np.all(gradient[6:] == 0)


def test_a_packed_document_equals_the_document_alone(mesh):
  packed = tiny.host_batch(rows=2)
  half = packed["inputs"].shape[-1] // 2
  alone = {k: v[..., half : half + 6] for k, v in packed.items()}
  np.testing.assert_allclose(
    logits_of(batch=packed)[:, half : half + 6],
    logits_of(batch=alone),
    rtol=1e-5,
    atol=1e-6,
  )


def test_a_neighbour_in_the_pack_changes_no_bit(mesh):
  packed = tiny.host_batch(rows=2)
  other = {**packed, "inputs": packed["inputs"].copy()}
  other["inputs"][..., :8] = 3
  half = logits_of(batch=packed)[:, 8:14]
  np.testing.assert_array_equal(half, logits_of(batch=other)[:, 8:14])


def test_positions_matter_only_by_their_differences(mesh):
  batch = tiny.host_batch(rows=2)
  shifted = {**batch, "positions": batch["positions"] + 17}
  stretched = {**batch, "positions": batch["positions"] * 2}
  before = logits_of(batch=batch)
  np.testing.assert_allclose(
    before, logits_of(batch=shifted), rtol=1e-4, atol=1e-5
  )
  assert np.abs(before - logits_of(batch=stretched)).max() > 1e-4


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("width", 64),
    ("mlp_width", 96),
    ("layers", 2),
    ("heads", 2),
    ("kv_heads", 4),
    ("rope_base", 100.0),
    ("norm_eps", 1e-2),
    ("init_std", 0.1),
    ("dtype", "bfloat16"),
  ],
)
def test_every_number_of_the_shape_reaches_the_logits(mesh, field, value):
  changed = dataclasses.replace(tiny.MODEL, **{field: value})
  a, b = logits_of(), logits_of(changed)
  assert np.abs(a - b.astype(np.float32)).max() > 1e-5


def test_vocabulary_size_is_the_size_of_the_logits(mesh):
  cfg = dataclasses.replace(tiny.MODEL, vocab_size=256)
  assert logits_of(cfg).shape == (2, 16, 256)


def test_weights_are_contracted_as_they_lie(mesh):
  """The out projection sums over heads, then their width, as in memory."""
  decoder = jax.eval_shape(lambda: Decoder(tiny.MODEL, rngs=nnx.Rngs(0)))
  ids = jax.ShapeDtypeStruct((2, 16), jnp.int32)
  jaxpr = jax.make_jaxpr(Decoder.__call__)(decoder, ids, ids, ids)
  pair = r"\[(\d, \d)\]"
  found = re.findall(rf"numbers=\(\({pair}, {pair}\)", str(jaxpr))
  assert found == [("2, 3", "0, 1")]


def test_cached_decoding_equals_the_whole_pass(mesh):
  """Token by token, and in chunks of four, through a cache that grows."""
  batch = tiny.host_batch(rows=2)
  tokens = jnp.asarray(batch["inputs"][0])
  positions = jnp.broadcast_to(jnp.arange(16), (2, 16))
  batch["segments"] = np.ones_like(batch["segments"])
  batch["positions"] = np.asarray(positions)[None]
  expected = logits_of(batch=batch)
  decoder = tiny.layered(Decoder(tiny.MODEL, rngs=nnx.Rngs(0)))
  extend = jax.jit(LayeredDecoder.extend)

  def decode(chunk):
    cache, outputs = decoder.empty_cache(2, 8), []
    for start in range(0, 16, chunk):
      at = slice(start, start + chunk)
      slots = 8 if start < 8 else 16
      causal = jnp.arange(slots)[None, :] <= positions[0, at][:, None]
      cache, out = extend(
        decoder,
        grow(cache, slots),
        tokens[:, at],
        slot=jnp.int32(start),
        positions=positions[:, at],
        mask=jnp.broadcast_to(causal, (2, chunk, slots)),
      )
      outputs.append(model.logits_of(out, decoder.unembed))
    return jnp.concatenate(outputs, axis=1)

  for chunk in (1, 4):
    got = decode(chunk)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
