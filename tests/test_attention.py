"""Every backend of attention against the reference, packed and grouped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from yue_jax import attention, config
from yue_jax.sharding import SPECS, zigzag

TOKENS, HEAD = 256, 128  # the least that splash takes on two context shards
MESHES = {
  "one": config.MeshConfig(),
  "context2": config.MeshConfig(context=2),
  "fsdp2_context2_tensor2": config.MeshConfig(fsdp=2, context=2, tensor=2),
}
BACKENDS = {
  "blocked": attention.blocked,
  "splash": lambda *x: attention.splash(*x, interpret=True),
}


def packed(kv_heads: int) -> dict[str, np.ndarray]:
  """Two rows of three documents and padding, in the order of time."""
  rng = np.random.default_rng(0)
  shape = (2, TOKENS)
  segments = np.sort(rng.integers(1, 4, shape), axis=1)
  segments[:, -20:] = 0
  return {
    "q": rng.standard_normal((*shape, 4, HEAD), np.float32),
    "k": rng.standard_normal((*shape, kv_heads, HEAD), np.float32),
    "v": rng.standard_normal((*shape, kv_heads, HEAD), np.float32),
    "segments": segments.astype(np.int32),
    "cotangent": rng.standard_normal((*shape, 4, HEAD), np.float32),
  }


def values_and_gradients(backend, mesh_cfg, arrays):
  """Of `backend` on a mesh, back in the order of time."""
  mesh = tiny.mesh(mesh_cfg)
  order = zigzag(TOKENS, mesh_cfg.context)

  @jax.jit
  def run(q, k, v, segments, cotangent):
    y, back = jax.vjp(lambda *qkv: backend(*qkv, segments), q, k, v)
    return y, *back(cotangent)

  def place(x):
    spec = SPECS.heads_btnh if x.ndim == 4 else SPECS.row_bt
    return jax.device_put(x[:, order], jax.NamedSharding(mesh, spec))

  with jax.set_mesh(mesh):
    found = run(*map(place, arrays.values()))
  return [np.asarray(x)[:, np.argsort(order)] for x in found]


@pytest.fixture(scope="module", params=[4, 2], ids=["mha", "gqa"])
def expected(request):
  """Closed form on one device, computed in float64."""
  arrays = packed(request.param)

  def attend(q, k, v):
    groups = q.shape[2] // k.shape[2]
    k, v = (jnp.repeat(x, groups, axis=2) for x in (k, v))
    logits = jnp.einsum("btnh,bsnh->bnts", q, k) / HEAD**0.5
    segments, time = arrays["segments"], np.arange(TOKENS)
    visible = segments[:, :, None] == segments[:, None, :]
    visible &= (time[:, None] >= time[None, :])[None]
    logits = jnp.where(visible[:, None], logits, -jnp.inf)
    return jnp.einsum("bnts,bsnh->btnh", jax.nn.softmax(logits), v)

  with jax.enable_x64(True):
    wide = {n: x.astype(np.float64) for n, x in arrays.items()}
    y, back = jax.vjp(attend, wide["q"], wide["k"], wide["v"])
    return arrays, [np.asarray(x) for x in (y, *back(wide["cotangent"]))]


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_values_and_gradients_of_every_backend(backend, mesh, expected):
  arrays, wanted = expected
  run = BACKENDS.get(backend, attention.reference)
  found = values_and_gradients(run, MESHES[mesh], arrays)
  for got, want in zip(found, wanted, strict=True):
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_another_document_changes_no_bit(backend):
  run = BACKENDS.get(backend, attention.reference)
  arrays = packed(2)
  other = arrays | {
    name: np.where((arrays["segments"] == 1)[..., None, None], 9.0, x)
    for name, x in arrays.items()
    if name in "qkv"
  }
  other = {n: x.astype(arrays[n].dtype) for n, x in other.items()}
  before, after = (
    values_and_gradients(run, MESHES["context2"], x)[0] for x in (arrays, other)
  )
  rest = arrays["segments"] > 1
  np.testing.assert_array_equal(before[rest], after[rest])
  assert (before[~rest] != after[~rest]).any()


def test_blocks_of_queries_change_nothing(monkeypatch):
  arrays = packed(2)
  mesh = MESHES["fsdp2_context2_tensor2"]
  whole = values_and_gradients(attention.blocked, mesh, arrays)
  monkeypatch.setattr(attention, "_QUERIES_AT_ONCE", 50)
  cut = values_and_gradients(attention.blocked, mesh, arrays)
  for got, want in zip(cut, whole, strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_blocked_never_holds_all_logits():
  """The largest array of the compiled gradient, against the reference's."""

  def temporaries(backend, tokens):
    shape = jax.ShapeDtypeStruct((1, tokens, 2, 64), np.float32)
    segments = jax.ShapeDtypeStruct((1, tokens), np.int32)

    def gradient(q, k, v, segments):
      return jax.grad(lambda q: jnp.sum(backend(q, k, v, segments)))(q)

    with jax.set_mesh(tiny.mesh(config.MeshConfig())):
      compiled = jax.jit(gradient).lower(shape, shape, shape, segments)
      return compiled.compile().memory_analysis().temp_size_in_bytes

  logits = 2 * 4096**2 * 4  # bytes
  assert temporaries(attention.reference, 4096) > logits
  assert temporaries(attention.blocked, 4096) < logits / 2


def test_a_backend_that_cannot_run_says_so():
  x = jnp.zeros((1, 128, 2, 128))
  segments = jnp.ones((1, 128), jnp.int32)
  with (
    jax.set_mesh(tiny.mesh(config.MeshConfig())),
    pytest.raises(ValueError, match="needs TPUs, but the mesh has 'cpu'"),
  ):
    attention.attend(x, x, x, segments, backend="splash")


@pytest.mark.parametrize(
  ("shape", "message"),
  [
    ((1, 256, 2, 64), "heads of a multiple of 128, got 64"),
    ((1, 200, 2, 128), "got 200 in all"),
    ((1, 256, 2, 128), ""),
  ],
)
def test_what_splash_cannot_take(shape, message):
  with jax.set_mesh(tiny.mesh(config.MeshConfig())):
    assert message in attention.splash_misfit(shape)


def test_zigzag_gives_every_shard_as_many_keys():
  order = zigzag(64, 4).reshape(4, 16)
  assert sorted(order.reshape(-1)) == list(range(64))
  assert len(set((order + 1).sum(axis=1))) == 1
  np.testing.assert_array_equal(zigzag(8, 2), [0, 1, 6, 7, 2, 3, 4, 5])
  np.testing.assert_array_equal(zigzag(7, 1), np.arange(7))
  with pytest.raises(ValueError, match="10 tokens cannot be cut"):
    zigzag(10, 2)
