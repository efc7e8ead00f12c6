"""Losses against closed forms and against logits that are whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from yue_jax import config, losses
from yue_jax.sharding import SPECS
from yue_jax.vocab import Stream

MESHES = {
  "one": config.MeshConfig(),
  "fsdp2_context2": config.MeshConfig(fsdp=2, context=2),
  "all": config.MeshConfig(replica=2, fsdp=2, tensor=2),
  "context2_tensor4": config.MeshConfig(context=2, tensor=4),
}
ROWS, TOKENS, WIDTH, IDS = 4, 12, 16, 56


def arrays(dtype=np.float32) -> tuple[np.ndarray, ...]:
  """Hidden, head, targets and weights; some tokens weigh nothing."""
  rng = np.random.default_rng(0)
  hidden = rng.standard_normal((ROWS, TOKENS, WIDTH)).astype(dtype)
  head = rng.standard_normal((IDS, WIDTH), np.float32)
  weights = rng.random((ROWS, TOKENS), np.float32)
  weights[0, :5] = weights[3] = 0.0  # masked tokens, and a row of padding
  targets = rng.integers(0, IDS, (ROWS, TOKENS), np.int32)
  return hidden, head, targets, weights


def layouts(mesh):
  specs = (SPECS.act_btd, SPECS.embed_vd, SPECS.row_bt, SPECS.row_bt)
  return [jax.NamedSharding(mesh, spec) for spec in specs]


def on_mesh(cfg, run, given):
  mesh = tiny.mesh(cfg)
  with jax.set_mesh(mesh):
    placed = map(jax.device_put, given, layouts(mesh))
    return jax.device_get(jax.jit(run)(*placed))


def dense(hidden, head, targets, weights, z_loss=0.0):
  """The same by logits that are whole, on one device."""
  logits = hidden.astype(jnp.float32) @ head.astype(hidden.dtype).T.astype(
    jnp.float32
  )
  normaliser = jax.nn.logsumexp(logits, axis=-1)
  chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
  nats = normaliser - chosen
  return jnp.sum(weights * (nats + z_loss * normaliser**2)), nats


def chunked(z_loss, chunk):
  def run(hidden, head, targets, weights):
    found = losses.cross_entropy(hidden, head, targets, weights, z_loss, chunk)
    return found.objective, found.by_token

  return run


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("chunk", [1, 5, 1000])
@pytest.mark.parametrize("z_loss", [0.0, 0.01])
def test_value_and_gradient_equal_those_of_whole_logits(name, chunk, z_loss):
  given = arrays()
  wanted = jax.value_and_grad(dense, argnums=(0, 1), has_aux=True)(
    *given, z_loss
  )
  run = jax.value_and_grad(chunked(z_loss, chunk), argnums=(0, 1), has_aux=True)
  found = on_mesh(MESHES[name], run, given)
  for got, want in zip(
    jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True
  ):
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=4e-6)
  alone = on_mesh(MESHES[name], chunked(z_loss, chunk), given)
  np.testing.assert_allclose(alone[0], wanted[0][0], rtol=1e-6)
  np.testing.assert_allclose(alone[1], wanted[0][1], rtol=2e-6, atol=4e-6)


def test_the_gradient_scales_with_the_cotangent():
  run = chunked(0.0, 5)

  def gradient(scale):
    def scaled(*given):
      return scale * run(*given)[0]

    return on_mesh(MESHES["all"], jax.grad(scaled, (0, 1)), arrays())

  for one, three in zip(gradient(1.0), gradient(3.0), strict=True):
    np.testing.assert_allclose(3 * one, three, rtol=1e-6)


def test_tokens_without_weight_have_no_gradient():
  run = jax.grad(lambda *given: chunked(0.1, 5)(*given)[0])
  found = on_mesh(MESHES["fsdp2_context2"], run, arrays())
  weights = arrays()[3]
  assert (found[weights == 0] == 0).all()
  assert np.abs(found[weights > 0]).max() > 0


def test_bfloat16_products_are_summed_in_float32():
  hidden, head, targets, weights = arrays(jnp.bfloat16)
  wanted = dense(hidden, head, targets, weights)
  found = on_mesh(
    MESHES["all"], chunked(0.0, 5), (hidden, head, targets, weights)
  )
  np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5, atol=1e-5)


def test_uniform_logits_cost_the_log_of_the_vocabulary():
  hidden, head, targets, weights = arrays()
  given = (hidden, np.zeros_like(head), targets, weights)
  nats = on_mesh(MESHES["all"], chunked(0.0, 5), given)[1]
  np.testing.assert_allclose(nats, np.log(IDS), rtol=1e-6)


def test_the_logits_are_never_whole():
  """Temporaries of value and gradient, against logits of all tokens."""
  tokens, ids = 4096, 4096
  mesh = tiny.mesh(MESHES["one"])
  shapes = [(1, tokens, 64), (ids, 64), (1, tokens), (1, tokens)]
  dtypes = [np.float32, np.float32, np.int32, np.float32]
  like = list(map(jax.ShapeDtypeStruct, shapes, dtypes))
  placed = [
    x.update(sharding=layout)
    for x, layout in zip(like, layouts(mesh), strict=True)
  ]

  def temporaries(run, like):
    gradient = jax.jit(jax.grad(lambda *given: run(*given)[0], (0, 1)))
    with jax.set_mesh(mesh):
      compiled = gradient.lower(*like).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  logits = 4 * tokens * ids  # bytes
  assert temporaries(dense, like) > logits
  assert temporaries(chunked(0.0, 256), placed) < logits / 2


def test_sums_by_stream():
  values = jnp.array([[1.0, 2.0, 4.0]])
  streams = jnp.array([[Stream.TEXT, Stream.PAD, Stream.TEXT]], jnp.uint8)
  with jax.set_mesh(tiny.mesh(MESHES["one"])):
    sums, counts = losses.sums_by_stream(values, streams)
  assert (sums[Stream.TEXT], counts[Stream.TEXT]) == (5, 2)
  assert (jnp.sum(sums), jnp.sum(counts)) == (5, 2)
