"""The decoder as generation holds it: weights and cache of every layer apart.

Training scans over stacked layers, which compile once. A token is another
matter: its products read every weight and every slot once, and a product that
takes one layer of a stack copies it first on CPUs, which doubles what a step
moves. Here a layer's weights and its keys and values are arrays of their own,
and the cache has the slots that a step reads and no more: it grows between
steps (`grow`), one array at a time.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import NamedTuple

from flax import nnx, traverse_util
import jax
from jax.experimental.layout import Layout, with_layout_constraint
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jax.sharding import reshard
from jaxtyping import Array, Bool, Float, Int

from yue_jax.attention import cached_attention
from yue_jax.config import ModelConfig
from yue_jax.model import Block, RMSNorm, look_up
from yue_jax.sharding import SPECS


class LayerCache(NamedTuple):
  """Keys and values of one layer; slot S holds one token of every row."""

  keys: Float[Array, "B K H S"]
  values: Float[Array, "B K H S"]


KVCache = tuple[LayerCache, ...]  # of all layers


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class LayeredDecoder:
  """What a `model.Decoder` computes, through a cache; see `unstack`."""

  embed: Float[Array, "V D"]
  blocks: tuple[Block, ...]
  norm: RMSNorm
  unembed: Float[Array, "V D"]
  cfg: ModelConfig = dataclasses.field(metadata={"static": True})

  def extend(
    self,
    cache: KVCache,
    tokens: Int[Array, "B T"],
    *,
    slot: Int[Array, ""],
    positions: Int[Array, "B T"],
    mask: Bool[Array, "B T S"],
  ) -> tuple[KVCache, Float[Array, "B T D"]]:
    """Writes T tokens into the cache from `slot` on.

    `mask[b, t, s]` says whether token t of row b may see slot s, the slots
    written by this very call included.

    Returns:
      The cache, and what the logits after each token are a product of.
    """
    x = look_up(self.embed, tokens, self.cfg.dtype)
    layers = []
    for block, past in zip(self.blocks, cache, strict=True):
      x, layer = block(x, positions, functools.partial(_mix, past, slot, mask))
      layers.append(layer)
    return tuple(layers), self.norm(x)

  def empty_cache(self, batch: int, slots: int) -> KVCache:
    cfg = self.cfg
    zeros = functools.partial(
      jnp.zeros, dtype=cfg.dtype, out_sharding=SPECS.cache_bkhs
    )
    shape = (batch, cfg.kv_heads, cfg.head_width, slots)
    return tuple(
      LayerCache(zeros(shape), zeros(shape)) for _ in range(cfg.layers)
    )


def unstack(params: dict, cfg: ModelConfig) -> LayeredDecoder:
  """Takes the layers of stacked parameters apart; call inside `jax.set_mesh`.

  Args:
    params: of a `model.Decoder`, without adapters. They are taken out one by
      one, so that only one of them is ever in memory twice.
    cfg: of the model. Weights are cast to its dtype, that of activations: here
      and not at every token.
  """
  stacked = traverse_util.flatten_dict(params.pop("blocks"))
  layers = [{} for _ in range(cfg.layers)]
  while stacked:
    path, weights = stacked.popitem()
    for layer, weight in zip(layers, _apart(weights, cfg.dtype), strict=True):
      layer[path] = weight
  block = nnx.graphdef(jax.eval_shape(lambda: Block(cfg, rngs=nnx.Rngs(0))))
  norm = nnx.graphdef(jax.eval_shape(lambda: RMSNorm(cfg)))
  embed, unembed, scale = (
    jax.tree.map(lambda weight: weight.astype(cfg.dtype), params.pop(name))
    for name in ("embed", "unembed", "norm")
  )
  return LayeredDecoder(
    embed=embed,
    blocks=tuple(
      nnx.merge(block, traverse_util.unflatten_dict(layer)) for layer in layers
    ),
    norm=nnx.merge(norm, scale),
    unembed=unembed,
    cfg=cfg,
  )


def grow(cache: KVCache, slots: int) -> KVCache:
  """With so many slots, at least those it has. The cache given is deleted."""
  if cache[0].keys.shape[3] == slots:
    return cache
  return _one_by_one(cache, functools.partial(_grown, slots=slots))


def branch(cache: KVCache, branches: int) -> KVCache:
  """With rows of zeros beside each row, for so many branches of it in all.

  What unconditional branches see of a prompt is at most its last token. The
  cache given is deleted.
  """
  if branches == 1:
    return cache
  return _one_by_one(cache, functools.partial(_branched, branches=branches))


def _one_by_one(
  cache: KVCache, change: Callable[[LayerCache], LayerCache]
) -> KVCache:
  """Changes a layer at a time, so that only one is ever there twice."""
  changed = []
  for layer in cache:
    changed.append(change(layer))
    for array in layer:
      array.delete()
  return tuple(changed)


@functools.partial(jax.jit, static_argnames="slots")
def _grown(layer: LayerCache, *, slots: int) -> LayerCache:
  none, more = (0, 0), (0, slots - layer.keys.shape[3])
  return LayerCache(*(jnp.pad(x, [none, none, none, more]) for x in layer))


@functools.partial(jax.jit, static_argnames="branches")
def _branched(layer: LayerCache, *, branches: int) -> LayerCache:
  def branched(array):
    others = [jnp.zeros_like(array)] * (branches - 1)
    rows = jnp.stack([array, *others], axis=1)
    shape = (array.shape[0] * branches, *array.shape[1:])
    return jax.lax.reshape(rows, shape, out_sharding=SPECS.cache_bkhs)

  return LayerCache(*map(branched, layer))


@functools.partial(jax.jit, static_argnames="dtype")
def _apart(weights: Array, dtype: str) -> tuple[Array, ...]:
  return tuple(layer.astype(dtype) for layer in weights)


def _mix(past: LayerCache, slot, mask, q, k, v):
  """What a `model.Block` leaves open: attention, and what is kept of it."""
  layer = _written(past, slot, k, v)
  return cached_attention(q, *layer, mask), layer


def _written(layer: LayerCache, slot, k, v) -> LayerCache:
  """With keys and values of T tokens, (B, T, K, H), from `slot` on.

  The cache is held to the layout that it has outside of the loop: a TPU would
  rather have rows next to the heads' width, and copy all of it before and
  after. In a `shard_map`, since what holds it cannot be partitioned.
  """

  @functools.partial(
    jax.shard_map,
    in_specs=(SPECS.cache_bkhs, SPECS.cache_bkhs, P()),
    out_specs=SPECS.cache_bkhs,
  )
  def update(into, new, slot):
    into = jax.lax.dynamic_update_slice(into, new, (0, 0, 0, slot))
    return with_layout_constraint(into, Layout(tuple(range(into.ndim))))

  new = [jnp.moveaxis(reshard(x, SPECS.keys_bskh), 1, 3) for x in (k, v)]
  return LayerCache(
    *(update(*pair, slot) for pair in zip(layer, new, strict=True))
  )
