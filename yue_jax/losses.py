"""Cross-entropy in nats, summed by stream.

Sums, never means: tokens are counted beside them and the division happens
once, at the very end, so that microbatches and devices of unequal token
counts weigh what they should.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from yue_jax.sharding import SPECS
from yue_jax.vocab import Stream

N_STREAMS = len(Stream)


def cross_entropy(
  logits: Float[Array, "B T V"], targets: Int[Array, "B T"]
) -> Float[Array, "B T"]:
  """-log softmax(logits)[target], in float32."""
  logits = logits.astype(jnp.float32)
  ids = jax.sharding.reshard(jnp.arange(logits.shape[-1]), SPECS.ids_v)
  hit = targets[:, :, None] == ids[None, None, :]
  chosen = jnp.sum(jnp.where(hit, logits, 0.0), axis=-1)
  return jax.nn.logsumexp(logits, axis=-1) - chosen


def sums_by_stream(
  losses: Float[Array, "B T"], streams: Int[Array, "B T"]
) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
  """Sum of losses and number of tokens of every stream; PAD counts as none.

  Example: losses [[1, 2, 4]] with streams [[TEXT, PAD, TEXT]] give 5 nats and
  2 tokens under TEXT, and zeros elsewhere.
  """
  of_stream = streams[:, :, None] == jnp.arange(N_STREAMS)[None, None, :]
  of_stream &= (streams != Stream.PAD)[:, :, None]
  of_stream = of_stream.astype(jnp.float32)
  sums = jnp.einsum("BT,BTS->S", losses, of_stream, out_sharding=SPECS.scale_d)
  counts = jnp.sum(of_stream, axis=(0, 1))
  return sums, counts
