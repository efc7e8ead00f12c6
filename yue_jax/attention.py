"""Grouped-query attention: `attend` over packed documents, and its backends.

Letters as in `model`: B batch, T query and S key position, N query heads,
K key/value heads, G = N // K, H head width.

  reference   all logits at once; what the others are tested against
  blocked     a block of queries at a time, computed again going backward:
              memory grows with the context and not with its square
  splash      the Pallas kernel of JAX for TPUs, which skips what a causal
              query cannot see

All of them keep segments apart, and all take tokens as they lie on a sharded
context axis (`sharding.zigzag`): queries stay where they are, keys and values
are gathered, which few key/value heads make cheap.
"""

from collections.abc import Callable
import functools

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.pallas.ops.tpu import splash_attention as splash_lib
import jax.numpy as jnp
from jax.sharding import NamedSharding, reshard
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from yue_jax.sharding import SPECS, axis_size, zigzag

_QUERIES_AT_ONCE = 512  # of a row, by the blocked backend
_LANES = 128  # splash cuts heads and contexts into multiples of these
# Queries and keys that splash loads at once, by `device_kind`. Small ones
# compute less of what is masked, large ones reload less. Not timed here: the
# sizes that public recipes for these chips use.
_SPLASH_BLOCKS = {"TPU v6 lite": (1024, 1024)}
_SPLASH_BLOCK = (512, 1024)


def attend(
  q: Float[Array, "B T N H"],
  k: Float[Array, "B S K H"],
  v: Float[Array, "B S K H"],
  segments: Int[Array, "B T"],
  *,
  backend: str,
) -> Float[Array, "B T N H"]:
  """Softmax attention to earlier tokens of the same segment.

  Args:
    q: queries; S = T, keys and values are of the same tokens.
    k: keys.
    v: values.
    segments: numbers of the packed documents; 0 is padding.
    backend: a name of `config.ATTENTION`. "auto" is splash on TPUs where the
      heads and the context are multiples of 128, and blocked elsewhere.

  Raises:
    ValueError: the backend cannot run here, or not on these shapes.
  """
  if backend == "auto":
    fits = not splash_misfit(q.shape)
    backend = "splash" if _platform() == "tpu" and fits else "blocked"
  return _BACKENDS[backend](q, k, v, segments)


def masked_attention(
  q: Float[Array, "B T N H"],
  k: Float[Array, "B S K H"],
  v: Float[Array, "B S K H"],
  mask: Bool[Array, "B T S"],
) -> Float[Array, "B T N H"]:
  """Softmax attention where `mask` is true, all at once.

  A query that may see no key at all gets the mean of all values: finite, and
  never trained on.
  """
  b, t, n, h = q.shape
  grouped = (b, t, k.shape[2], n // k.shape[2], h)
  q = jax.lax.reshape(q, grouped, out_sharding=SPECS.heads_btkgh)
  y = _mix(q, reshard(k, SPECS.keys_bskh), reshard(v, SPECS.keys_bskh), mask)
  y = checkpoint_name(y, "attention")
  return jax.lax.reshape(y, (b, t, n, h), out_sharding=SPECS.heads_btnh)


def cached_attention(
  q: Float[Array, "B T N H"],
  k: Float[Array, "B K H S"],
  v: Float[Array, "B K H S"],
  mask: Bool[Array, "B T S"],
) -> Float[Array, "B T N H"]:
  """`masked_attention` to keys and values as a cache holds them.

  The slots of a head are one matrix: where heads lie side by side in a slot, a
  product with one query reads them in strides, or a transposed copy is made.
  They lie last, along which both products run: on CPUs the one with the keys
  is four times as fast as along the width, and at narrow heads that with the
  values, which stand on its left, three times.
  """
  b, t, n, h = q.shape
  grouped = (b, t, k.shape[1], n // k.shape[1], h)
  q = jax.lax.reshape(q, grouped, out_sharding=SPECS.heads_btkgh)
  # Results as the products give them: what is transposed has one token, and
  # never so much as the slots.
  logits = jnp.einsum(
    "BKGTH,BKHS->BKGTS",
    jnp.moveaxis(q * h**-0.5, 1, 3),
    k,
    preferred_element_type=jnp.float32,
  )
  weights = _weights(logits, mask, v.dtype)
  y = jnp.moveaxis(jnp.einsum("BKHS,BKGTS->BKHGT", v, weights), (4, 2), (1, 4))
  return jax.lax.reshape(y, (b, t, n, h), out_sharding=SPECS.heads_btnh)


def packed_causal_mask(segments: Int[Array, "B T"]) -> Bool[Array, "B T S"]:
  """True where query T may see key S: same segment, and not later.

  Example: segments [1, 1, 2] -> rows [1 0 0], [1 1 0], [0 0 1].
  """
  of_keys = reshard(segments, SPECS.keys_bs)
  time = zigzag(segments.shape[1], axis_size("context"))
  same = segments[:, :, None] == of_keys[:, None, :]
  return same & (time[:, None] >= time[None, :])[None, :, :]


def reference(q, k, v, segments):
  """Arguments and result as those of `attend`."""
  return masked_attention(q, k, v, packed_causal_mask(segments))


def blocked(q, k, v, segments):
  """Arguments and result as those of `attend`."""
  time = zigzag(q.shape[1], axis_size("context"))

  def mix(q, k, v, of_queries, of_keys, times):
    b, t, n, h = q.shape
    blocks = _blocks(t)

    def one(block):
      q, of_queries, times = block
      same = of_queries[:, :, None] == of_keys[:, None, :]
      return _mix(q, k, v, same & (times[:, None] >= time[None, :])[None])

    if blocks > 1:
      one = jax.checkpoint(one)
    q = q.reshape(b, t, k.shape[2], n // k.shape[2], h)
    cut = functools.partial(_cut, blocks=blocks)
    y = jax.lax.map(one, (cut(q, 1), cut(of_queries, 1), cut(times, 0)))
    y = checkpoint_name(y, "attention")
    return jnp.moveaxis(y, 0, 1).reshape(b, t, n, h)

  times = reshard(jnp.asarray(time), P("context"))
  return _on_devices(mix, q, k, v, segments, times, P("context"))


def splash(q, k, v, segments, *, interpret: bool = False):
  """Arguments and result as those of `attend`.

  `interpret` runs the kernel without a TPU, slowly.
  """
  if not interpret and _platform() != "tpu":
    raise ValueError(
      f"attention='splash' needs TPUs, but the mesh has {_platform()!r}"
      " devices; use 'auto' or 'blocked'"
    )
  if misfit := splash_misfit(q.shape):
    raise ValueError(
      f"attention='splash' {misfit}; use 'auto' or 'blocked', or change it"
    )
  kernel = _splash_kernel(q.shape, interpret)
  spec = P("tensor", "context")
  layout = NamedSharding(jax.sharding.get_abstract_mesh(), spec)
  specs = kernel.manual_sharding_spec(layout)
  scale = q.shape[-1] ** -0.5

  def mix(q, k, v, of_queries, of_keys, kernel):
    k, v, of_keys = (_in_order(x) for x in (k, v, of_keys))
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q * scale, k, v))
    ids = splash_lib.SegmentIds(of_queries, of_keys)
    return jnp.swapaxes(jax.vmap(kernel)(q, k, v, ids), 1, 2)

  kernel = jax.tree.map(reshard, kernel, specs)
  return _on_devices(mix, q, k, v, segments, kernel, specs)


_BACKENDS = {"reference": reference, "blocked": blocked, "splash": splash}


def splash_misfit(shape: tuple[int, int, int, int]) -> str:
  """Why splash cannot take queries (B, T, N, H); "" if it can."""
  _, tokens, _, head = shape
  shards = axis_size("context")
  if head % _LANES:
    return f"needs heads of a multiple of {_LANES}, got {head}"
  if tokens % (_LANES * shards):
    return (
      f"needs a context that is a multiple of {_LANES} on each of the"
      f" {shards} context shards, got {tokens} in all"
    )
  return ""


def _mix(
  q: Float[Array, "B T K G H"],
  k: Float[Array, "B S K H"],
  v: Float[Array, "B S K H"],
  mask: Bool[Array, "B T S"],
) -> Float[Array, "B T K G H"]:
  logits = jnp.einsum(
    "BTKGH,BSKH->BKGTS",
    q * q.shape[-1] ** -0.5,
    k,
    preferred_element_type=jnp.float32,
  )
  weights = _weights(logits, mask, v.dtype)
  return jnp.einsum("BKGTS,BSKH->BTKGH", weights, v)


def _weights(
  logits: Float[Array, "B K G T S"], mask: Bool[Array, "B T S"], dtype
) -> Float[Array, "B K G T S"]:
  logits = jnp.where(
    mask[:, None, None, :, :], logits, jnp.finfo(jnp.float32).min
  )
  return jax.nn.softmax(logits, axis=-1).astype(dtype)


def _on_devices(mix: Callable, q, k, v, segments, extra, extra_spec):
  """Runs `mix` on what each device holds, keys and values gathered."""
  copied = P("context", *SPECS.keys_bskh)

  def local(q, k, v, *rest):
    return mix(q, k[0], v[0], *rest)

  return jax.shard_map(
    local,
    in_specs=(
      SPECS.heads_btnh,
      copied,
      copied,
      SPECS.row_bt,
      SPECS.keys_bs,
      extra_spec,
    ),
    out_specs=SPECS.heads_btnh,
    check_vma=False,  # pallas_call does not say over which axes it varies
  )(
    reshard(q, SPECS.heads_btnh),
    _copied(k, copied),
    _copied(v, copied),
    reshard(segments, SPECS.row_bt),
    reshard(segments, SPECS.keys_bs),
    extra,
  )


def _copied(x: Float[Array, "B S K H"], spec: P) -> Float[Array, "C B S K H"]:
  """A copy for every shard of the context axis, which has it already.

  The sum of its gradients is then no affair of `shard_map`, whose collectives
  CPU devices may take for one another (see `losses`).
  """
  whole = reshard(x, SPECS.keys_bskh)
  copies = (axis_size("context"),)
  return jax.lax.broadcast(whole, copies, out_sharding=spec)


def _splash_kernel(shape: tuple[int, int, int, int], interpret: bool):
  _, tokens, heads, _ = shape
  shards = axis_size("context")
  mask = splash_lib.CausalMask((tokens, tokens))
  mask.q_sequence = zigzag(tokens, shards).astype(np.int32)
  kind = jax.sharding.get_abstract_mesh().abstract_device.device_kind
  queries, keys = _SPLASH_BLOCKS.get(kind, _SPLASH_BLOCK)
  queries = _divisor(tokens // shards, queries)
  keys = _divisor(tokens, keys)
  return splash_lib.make_splash_mha(
    splash_lib.MultiHeadMask([mask] * heads),
    block_sizes=splash_lib.BlockSizes(
      block_q=queries,
      block_kv=keys,
      block_kv_compute=_divisor(keys, 512),
      block_q_dkv=queries,
      block_kv_dkv=_divisor(tokens, 2048),
      block_kv_dkv_compute=_divisor(keys, 512),
      use_fused_bwd_kernel=True,  # five products of blocks instead of seven
    ),
    head_shards=axis_size("tensor"),
    q_seq_shards=shards,
    # What its backward pass needs, besides queries, keys and values.
    residual_checkpoint_name="attention",
    interpret=interpret,
  )


def _in_order(x: Array) -> Array:
  """Undoes the zigzag of axis 1 on an array that is whole on every device."""
  shards = axis_size("context")
  if shards == 1:
    return x
  pieces = jnp.split(x, 2 * shards, axis=1)
  return jnp.concatenate(pieces[::2] + pieces[:0:-2], axis=1)


def _cut(x: Array, axis: int, *, blocks: int) -> Array:
  """Cuts one axis into blocks, which become the leading axis."""
  shape = (*x.shape[:axis], blocks, -1, *x.shape[axis + 1 :])
  return jnp.moveaxis(x.reshape(shape), axis, 0)


def _blocks(tokens: int) -> int:
  """The fewest equal blocks of no more than so many queries."""
  blocks = -(-tokens // _QUERIES_AT_ONCE)
  return next(n for n in range(blocks, tokens + 1) if tokens % n == 0)


def _divisor(size: int, most: int) -> int:
  """The largest multiple of 128 up to `most` that divides `size`."""
  return next(n for n in range(min(size, most), 0, -_LANES) if size % n == 0)


def _platform() -> str:
  """Of the mesh in use; "unknown" where its devices are abstract, too."""
  device = jax.sharding.get_abstract_mesh().abstract_device
  return "unknown" if device is None else device.platform
