"""Parameter and FLOP counts, against the real tree, program and papers."""

import dataclasses
import math

from flax import nnx
import jax
import jax.extend
import jax.numpy as jnp
import pytest

from yue_jax import accounting, presets
from yue_jax.config import MeshConfig, ModelConfig
from yue_jax.model import Decoder
from yue_jax.sharding import make_mesh

PRESETS = (
  presets.stage1_7b(),
  presets.stage1_2b(),
  presets.stage1_0b5(),
  presets.stage2_1b(),
  presets.tiny(500),
  presets.small(500),
)

# The shape of Llama 3 8B, for which others have published figures.
LLAMA3_8B = ModelConfig(
  vocab_size=128_256,
  width=4096,
  mlp_width=14_336,
  layers=32,
  heads=32,
  kv_heads=8,
  max_positions=8192,
)


@pytest.fixture
def mesh():
  with jax.set_mesh(make_mesh(MeshConfig(), jax.devices()[:1])):
    yield


@pytest.mark.parametrize("cfg", PRESETS, ids=lambda c: f"{c.width}x{c.layers}")
def test_count_equals_the_real_tree(cfg, mesh):
  decoder = jax.eval_shape(lambda: Decoder(cfg, rngs=nnx.Rngs(0)))
  leaves = jax.tree.leaves(nnx.to_pure_dict(nnx.state(decoder, nnx.Param)))
  counted = sum(math.prod(leaf.shape) for leaf in leaves)
  assert accounting.parameter_count(cfg) == counted


@pytest.mark.parametrize("kv_heads", [2, 4])
def test_full_convention_counts_the_matmuls_of_forward_and_backward(
  kv_heads, mesh
):
  """The plain attention here computes every pair, hence the full figure."""
  cfg = dataclasses.replace(presets.tiny(50), kv_heads=kv_heads)
  rows, context = 2, 16
  tokens = jnp.ones((rows, context), jnp.int32)

  def loss(decoder):
    return decoder(tokens, tokens, tokens).sum()

  decoder = jax.eval_shape(lambda: Decoder(cfg, rngs=nnx.Rngs(0)))
  program = jax.make_jaxpr(jax.grad(loss))(decoder)
  expected = (
    accounting.train_flops_per_token_full(cfg, context) * rows * context
  )
  assert _matmul_flops(program.jaxpr) == expected


def test_full_and_causal_conventions_reproduce_published_mfu():
  """7,207 tokens/s on a 918 TFLOP/s v6e chip, published as 45.46 %."""
  rate = 7207 / 918e12
  full = accounting.train_flops_per_token_full(LLAMA3_8B, 8192)
  causal = accounting.train_flops_per_token(LLAMA3_8B, 8192)
  assert rate * full == pytest.approx(0.4546, abs=2e-4)
  assert rate * causal == pytest.approx(0.404, abs=1e-3)


def test_mean_segment_gives_the_pairs_of_all_segments_summed():
  cfg, lengths = presets.tiny(50), [1, 3, 12]
  pairs = sum(1 + i for n in lengths for i in range(n))
  attention = 12 * cfg.layers * cfg.width * pairs / sum(lengths)
  assert accounting.train_flops_per_token(
    cfg, accounting.mean_segment(lengths)
  ) == pytest.approx(6 * accounting.matmul_parameters(cfg) + attention)


def test_mean_segment_is_over_tokens():
  assert accounting.mean_segment([1, 3]) == 2.5
  with pytest.raises(ValueError, match="positive"):
    accounting.mean_segment([4, 0])


def _matmul_flops(jaxpr) -> int:
  """2 * (output elements) * (contracted size), loops multiplied out."""
  total = 0
  for equation in jaxpr.eqns:
    if equation.primitive.name == "dot_general":
      (contracted, _), _ = equation.params["dimension_numbers"]
      left = equation.invars[0].aval.shape
      inner = math.prod(left[axis] for axis in contracted)
      total += 2 * math.prod(equation.outvars[0].aval.shape) * inner
    repeats = equation.params.get("length", 1)
    for inner in jax.extend.core.jaxprs_in_params(equation.params):
      total += repeats * _matmul_flops(inner)
  return total
