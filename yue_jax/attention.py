"""Grouped-query attention: one function, `attend`.

Letters as in `model`: B batch, T query and S key position, N query heads,
K key/value heads, G = N // K, H head width.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from yue_jax.sharding import SPECS


def attend(
  q: Float[Array, "B T N H"],
  k: Float[Array, "B S K H"],
  v: Float[Array, "B S K H"],
  mask: Bool[Array, "B T S"],
) -> Float[Array, "B T N H"]:
  """Softmax attention; the softmax is in float32.

  A query that may see no key at all gets the mean of all values: finite, and
  never trained on, because only padding has such queries.
  """
  b, t, n, h = q.shape
  kv_heads = k.shape[2]
  grouped = (b, t, kv_heads, n // kv_heads, h)
  # Every query needs all keys: gathered over the context axis (size 1 here).
  k = jax.sharding.reshard(k, SPECS.keys_bskh)
  v = jax.sharding.reshard(v, SPECS.keys_bskh)
  q = jax.lax.reshape(q, grouped, out_sharding=SPECS.heads_btkgh)
  logits = jnp.einsum("BTKGH,BSKH->BKGTS", q * h**-0.5, k)
  logits = logits.astype(jnp.float32)
  logits = jnp.where(
    mask[:, None, None, :, :], logits, jnp.finfo(jnp.float32).min
  )
  weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
  y = jnp.einsum("BKGTS,BSKH->BTKGH", weights, v)
  return jax.lax.reshape(y, (b, t, n, h), out_sharding=SPECS.heads_btnh)


def packed_causal_mask(segments: Int[Array, "B T"]) -> Bool[Array, "B T S"]:
  """True where query T may see key S: same segment, and not later.

  Example: segments [1, 1, 2] -> rows [1 0 0], [1 1 0], [0 0 1].
  """
  of_keys = jax.sharding.reshard(segments, SPECS.keys_bs)
  same = segments[:, :, None] == of_keys[:, None, :]
  return same & jnp.tril(jnp.ones(same.shape[1:], bool))[None, :, :]
