"""One decoder-only transformer: LLaMA blocks, stacked and scanned.

Axis letters, the same in einsum strings, shape annotations and spec names:
  B batch         T query position   S key position   V vocabulary
  D model width   F mlp width        N query heads    K key/value heads
  G = N // K      H head width       L layers      R rank of adapters

Parameters are float32 (frozen ones may have the dtype of activations) and live
in an NNX module that does nothing else than hold them; every transformation
(vmap, scan, checkpoint, grad, jit) is JAX's own. Activations have `cfg.dtype`;
norms, rotations and the softmax compute in float32.
"""

from collections.abc import Callable

from flax import nnx
import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int
import numpy as np

from yue_jax.attention import attend
from yue_jax.config import ModelConfig
from yue_jax.lora import Adapted, two_ways
from yue_jax.sharding import SPECS

# Activations that a block's backward pass may find again, by `cfg.remat`.
_KEPT = {"qkv": ("qkv",), "attention": ("qkv", "attention"), "full": ()}


def remat_policy(remat: str, offload: tuple[str, ...]) -> Callable:
  """What `jax.checkpoint` keeps of a block (see `config.ModelConfig`)."""
  if remat == "none":
    return jax.checkpoint_policies.everything_saveable
  if remat == "dots":
    return jax.checkpoint_policies.dots_with_no_batch_dims_saveable
  return jax.checkpoint_policies.save_and_offload_only_these_names(
    names_which_can_be_saved=[n for n in _KEPT[remat] if n not in offload],
    names_which_can_be_offloaded=list(offload),
    offload_src="device",
    offload_dst="pinned_host",
  )


class RMSNorm(nnx.Module):
  def __init__(self, cfg: ModelConfig):
    self.scale = nnx.Param(jnp.ones(cfg.width, out_sharding=SPECS.scale_d))
    self.eps = cfg.norm_eps

  def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    y = x.astype(jnp.float32)
    y *= jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.eps)
    # LLaMA rounds before it scales; parity in bfloat16 depends on the order.
    return y.astype(x.dtype) * self.scale[None, None, :].astype(x.dtype)


def rotate(
  x: Float[Array, "B T N H"], positions: Int[Array, "B T"], base: float
) -> Float[Array, "B T N H"]:
  """Rotary embedding, half-split as in LLaMA (not interleaved)."""
  # Rounded where transformers rounds: at position 16,000 the last bit of a
  # frequency is visible in the logits.
  h = x.shape[-1]
  frequency = np.float32(1) / np.float32(base ** (np.arange(0, h, 2) / h))
  angle = positions[:, :, None, None].astype(jnp.float32)
  angle = angle * frequency[None, None, None, :]
  sin, cos = jnp.sin(angle), jnp.cos(angle)
  # Split first: a float32 copy of all heads is one too many to have around.
  lo, hi = (half.astype(jnp.float32) for half in jnp.split(x, 2, axis=-1))
  rotated = [lo * cos - hi * sin, hi * cos + lo * sin]
  return jnp.concatenate(rotated, axis=-1).astype(x.dtype)


class Attention(nnx.Module):
  """The four projections; what lies between them is given by the caller."""

  def __init__(self, cfg: ModelConfig, *, rngs: nnx.Rngs):
    d, n, k, h = cfg.width, cfg.heads, cfg.kv_heads, cfg.head_width
    self.q = _weight(rngs, (d, n, h), SPECS.q_dnh, cfg.init_std)
    self.k = _weight(rngs, (d, k, h), SPECS.kv_dkh, cfg.init_std)
    self.v = _weight(rngs, (d, k, h), SPECS.kv_dkh, cfg.init_std)
    self.out = _weight(rngs, (n, h, d), SPECS.out_nhd, cfg.init_std)
    self.rope_base = cfg.rope_base

  def __call__(self, x, positions, mix):
    q = _product("BTD,DNH->BTNH", x, self.q)
    k = _product("BTD,DKH->BTKH", x, self.k)
    v = _product("BTD,DKH->BTKH", x, self.v)
    q = rotate(q, positions, self.rope_base)
    k = rotate(k, positions, self.rope_base)
    q, k, v = (checkpoint_name(a, "qkv") for a in (q, k, v))
    y, memory = mix(q, k, v)
    return _product("BTNH,NHD->BTD", y, self.out, SPECS.act_btd), memory


class Mlp(nnx.Module):
  def __init__(self, cfg: ModelConfig, *, rngs: nnx.Rngs):
    d, f = cfg.width, cfg.mlp_width
    self.gate = _weight(rngs, (d, f), SPECS.up_df, cfg.init_std)
    self.up = _weight(rngs, (d, f), SPECS.up_df, cfg.init_std)
    self.down = _weight(rngs, (f, d), SPECS.down_fd, cfg.init_std)

  def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    gate = jax.nn.silu(_product("BTD,DF->BTF", x, self.gate))
    up = _product("BTD,DF->BTF", x, self.up)
    gate, up = checkpoint_name(gate, "mlp"), checkpoint_name(up, "mlp")
    return _product("BTF,FD->BTD", gate * up, self.down, SPECS.act_btd)


class Block(nnx.Module):
  def __init__(self, cfg: ModelConfig, *, rngs: nnx.Rngs):
    self.attention_norm = RMSNorm(cfg)
    self.attention = Attention(cfg, rngs=rngs)
    self.mlp_norm = RMSNorm(cfg)
    self.mlp = Mlp(cfg, rngs=rngs)

  def __call__(self, x: Float[Array, "B T D"], positions, mix: Callable):
    """`mix(q, k, v)` gives the heads' output and the memory it leaves."""
    x = checkpoint_name(x, "block_input")
    y, memory = self.attention(self.attention_norm(x), positions, mix)
    x = x + y
    return x + self.mlp(self.mlp_norm(x)), memory


class Decoder(nnx.Module):
  """Token ids in, logits out; the parameters of all layers on axis 0."""

  def __init__(self, cfg: ModelConfig, *, rngs: nnx.Rngs):
    table = (cfg.vocab_size, cfg.width)
    self.embed = _weight(rngs, table, SPECS.embed_vd, cfg.init_std)
    self.blocks = jax.vmap(lambda r: Block(cfg, rngs=r))(rngs.split(cfg.layers))
    self.norm = RMSNorm(cfg)
    self.unembed = _weight(rngs, table, SPECS.embed_vd, cfg.init_std)
    self.cfg = cfg

  def __call__(
    self,
    tokens: Int[Array, "B T"],
    segments: Int[Array, "B T"],
    positions: Int[Array, "B T"],
  ) -> Float[Array, "B T V"]:
    """Logits of the token after each one given.

    Args:
      tokens: ids.
      segments: tokens see earlier tokens of their own segment only; 0 is
        padding.
      positions: rotary position, counted from 0 in every segment.
    """
    return self._logits(self.hidden(tokens, segments, positions))

  def hidden(
    self,
    tokens: Int[Array, "B T"],
    segments: Int[Array, "B T"],
    positions: Int[Array, "B T"],
  ) -> Float[Array, "B T D"]:
    """What the logits are a product of; arguments as those of a call."""

    def mix(q, k, v):
      return attend(q, k, v, segments, backend=self.cfg.attention), None

    body = jax.checkpoint(
      lambda x, block: block(x, positions, mix),
      policy=remat_policy(self.cfg.remat, self.cfg.offload),
      prevent_cse=False,  # scan already keeps forward and backward apart
    )
    x, _ = jax.lax.scan(body, self._embedded(tokens), self.blocks)
    return self.norm(x)

  def _embedded(self, tokens: Int[Array, "B T"]) -> Float[Array, "B T D"]:
    return look_up(self.embed[...], tokens, self.cfg.dtype)

  def _logits(self, x: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
    return logits_of(x, self.unembed[...])


def logits_of(
  x: Float[Array, "B T D"], head: Float[Array, "V D"]
) -> Float[Array, "B T V"]:
  """Logits of the ids whose rows of the unembedding `head` has."""
  head = _gathered(head, x)
  return jnp.einsum("BTD,VD->BTV", x, head, out_sharding=SPECS.logits_btv)


def look_up(
  table: Float[Array, "V D"], tokens: Int[Array, "B T"], dtype: str
) -> Float[Array, "B T D"]:
  """Rows of a table whose columns are cut over fsdp, without gathering it.

  Every device looks up its columns for the tokens of all, and they exchange
  what they found: 64 MiB for 8,192 tokens of the 7B, where the table is 656.
  The gradient goes the same way back and needs no sum over fsdp.
  """

  def local(table, tokens):
    everyones = jax.lax.all_gather(tokens, "fsdp")  # (fsdp, b, t)
    row = everyones - jax.lax.axis_index("tensor") * len(table)
    here = (row >= 0) & (row < len(table))
    found = table[jnp.where(here, row, 0)].astype(dtype)
    found = jnp.where(here[..., None], found, 0)
    whole = jax.lax.all_to_all(found, "fsdp", 0, 3, tiled=True)
    return jax.lax.psum(whole[0], "tensor")

  return jax.shard_map(
    local,
    in_specs=(SPECS.embed_vd, SPECS.row_bt),
    out_specs=SPECS.act_btd,
  )(
    jax.sharding.reshard(table, SPECS.embed_vd),
    jax.sharding.reshard(tokens, SPECS.row_bt),
  )


def _weight(
  rngs: nnx.Rngs, shape: tuple[int, ...], spec: P, std: float
) -> nnx.Param:
  return nnx.Param(
    std * jax.random.normal(rngs.params(), shape, out_sharding=spec)
  )


def _product(
  letters: str, x: Array, weight: nnx.Param, layout: P | None = None
) -> Array:
  """Activations times a weight, or times W + scale * A B if it is adapted.

  Args:
    letters: of the product with the weight, as for `jnp.einsum`.
    x: activations.
    weight: of their layer.
    layout: of the result, where an axis that is cut is summed over.
  """
  weight = weight.get_value()
  if not isinstance(weight, Adapted):
    return _contract(letters, x, _gathered(weight, x), layout)
  adapter = weight.adapter
  into, out_of = two_ways(letters)
  y = _contract(letters, x, _gathered(weight.weight, x), layout)
  r = _contract(into, x, _gathered(adapter.a, x), SPECS.act_btr)
  r = _contract(out_of, r, _gathered(adapter.b, x), layout)
  return y + adapter.scale * r


def _contract(letters: str, x: Array, y: Array, layout: P | None) -> Array:
  """`jnp.einsum` of what two arrays share, contracted in the order of `y`.

  It would take axes by the alphabet: of BTNH and NHD first H, then N, for which
  CPUs turn the weights at every use.
  """
  of_x, _, of_y = letters.split("->")[0].partition(",")
  shared = [axis for axis in of_y if axis in of_x]
  axes = [of_x.index(a) for a in shared], [of_y.index(a) for a in shared]
  return jax.lax.dot_general(x, y, (axes, ([], [])), out_sharding=layout)


def _gathered(weight: Array, like: Array) -> Array:
  """The weight whole along fsdp, in the dtype of the activations.

  Cast before it is gathered, so that half the bytes move; said here, so that
  forward, recomputation and backward need one gather each and no more.
  """
  weight = weight.astype(like.dtype)
  spec = jax.typeof(weight).sharding.spec
  whole = P(*(None if axis == "fsdp" else axis for axis in spec))
  return jax.sharding.reshard(weight, whole)
