"""Cross-entropy in nats over a large vocabulary, and its sums by stream.

Sums, never means: tokens are counted beside them and the division happens
once, at the very end, so that microbatches and devices of unequal token
counts weigh what they should.

The logits of 8,192 tokens over 83,968 ids are 2.6 GiB in float32, and again
as much for their gradient. They are never whole: every device goes through
its own tokens in chunks and, while a chunk's logits are there, adds up what
they mean for the gradient, so that nothing is computed twice:

  head (V, D) ── gathered over fsdp, once
  for every chunk of tokens:
    hidden (C, D) ─► logits (C, V) ─► nats (C,) ─► d logits ─► d hidden (C, D)
                                                          └──► + d head (V, D)
  d head ── summed over all devices, once
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from yue_jax.sharding import SPECS
from yue_jax.vocab import Stream

N_STREAMS = len(Stream)
_PIECES = 8  # in which the head is gathered, and its gradient summed
_TOKEN_AXES = ("replica", "fsdp", "context")


class Nats(NamedTuple):
  """Losses of a batch.

  Attributes:
    objective: sum of weight * (nats + z_loss * log(normaliser) ** 2), which
      has a gradient.
    by_token: -log softmax(logits)[target], (B, T), float32; has none.
  """

  objective: Float[Array, ""]
  by_token: Float[Array, "B T"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def cross_entropy(
  hidden: Float[Array, "B T D"],
  head: Float[Array, "V D"],
  targets: Int[Array, "B T"],
  weights: Float[Array, "B T"],
  z_loss: float,
  chunk: int,
) -> Nats:
  """Losses of the logits `hidden @ head.T`, which are never whole.

  Products have the dtype of `hidden` and are summed in float32.

  Args:
    hidden: of every token, normalised.
    head: one row per id.
    targets: the id that should follow.
    weights: of the tokens in the objective.
    z_loss: weight of the squared log-normaliser, which keeps logits near 0.
    chunk: most tokens of a device whose logits are there at once; 512 take
      164 MiB for 83,968 ids. Every chunk adds to d head in float32, hence
      small ones are bound by memory and not by the matrix unit.
  """
  run = _on_devices(_forward, (), z_loss=z_loss, chunk=chunk)
  return Nats(*run(hidden, head, targets, weights))


def _cross_entropy_fwd(hidden, head, targets, weights, z_loss, chunk):
  specs = (SPECS.act_btd, SPECS.embed_vd)
  run = _forward_and_back
  if not head.perturbed:  # a frozen head: its gradient would cost as the logits
    specs, run = specs[:1], _forward_and_back_to_hidden
  run = _on_devices(run, specs, z_loss=z_loss, chunk=chunk)
  values = (x.value for x in (hidden, head, targets, weights))
  objective, nats, *gradients = run(*values)
  return Nats(objective, nats), gradients


def _cross_entropy_bwd(z_loss, chunk, gradients, cotangent):
  del z_loss, chunk  # they are in the gradients
  scale = cotangent.objective
  d_hidden, *d_head = (g * scale.astype(g.dtype) for g in gradients)
  return d_hidden, *(d_head or [None]), None, None


cross_entropy.defvjp(
  _cross_entropy_fwd, _cross_entropy_bwd, symbolic_zeros=True
)


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


def _on_devices(run, more_specs, **settings):
  return jax.shard_map(
    functools.partial(run, **settings),
    in_specs=(SPECS.act_btd, SPECS.embed_vd, SPECS.row_bt, SPECS.row_bt),
    out_specs=(jax.P(), SPECS.row_bt, *more_specs),
    check_vma=False,
  )


def _forward(hidden, head, targets, weights, *, z_loss, chunk):
  """Objective and nats; everything here is what one device holds."""
  rows = _gathered(_after(hidden, head), hidden.dtype)

  def one(total, tokens):
    at = _losses(*tokens, rows=rows, z_loss=z_loss)
    return total + at.objective, at.nats

  chunks = _chunked((hidden, targets, weights), chunk)
  total, nats = jax.lax.scan(one, jnp.zeros(()), chunks)
  return jax.lax.psum(total, _TOKEN_AXES), _joined(nats, targets.shape)


def _forward_and_back(hidden, head, targets, weights, *, z_loss, chunk):
  """Likewise, with the gradients of the objective."""
  rows = _gathered(_after(hidden, head), hidden.dtype)

  def one(carry, tokens):
    total, d_rows = carry
    hidden, *_ = tokens
    at, d_logits, d_hidden = _losses_and_back(*tokens, rows=rows, z_loss=z_loss)
    d_rows += _product("CV,CD->VD", d_logits, hidden)
    return (total + at.objective, d_rows), (at.nats, d_hidden)

  start = (jnp.zeros(()), jnp.zeros(rows.shape, jnp.float32))
  chunks = _chunked((hidden, targets, weights), chunk)
  (total, d_rows), (nats, d_hidden) = jax.lax.scan(one, start, chunks)
  # One after the other, and before the backward pass of the layers, which
  # would have to find room beside 1.3 GiB of d_rows.
  d_head = _scattered(d_rows, hidden.dtype).astype(head.dtype)
  total = jax.lax.psum(_after(d_head, total), _TOKEN_AXES)
  d_hidden = _after(total, _joined(d_hidden, hidden.shape))
  d_hidden = jax.lax.psum(d_hidden, "tensor")
  return total, _joined(nats, targets.shape), d_hidden, d_head


def _forward_and_back_to_hidden(
  hidden, head, targets, weights, *, z_loss, chunk
):
  """Likewise, but for the gradient by the head, which is frozen."""
  rows = _gathered(_after(hidden, head), hidden.dtype)

  def one(total, tokens):
    at, _, d_hidden = _losses_and_back(*tokens, rows=rows, z_loss=z_loss)
    return total + at.objective, (at.nats, d_hidden)

  chunks = _chunked((hidden, targets, weights), chunk)
  total, (nats, d_hidden) = jax.lax.scan(one, jnp.zeros(()), chunks)
  total = jax.lax.psum(total, _TOKEN_AXES)
  d_hidden = _after(total, _joined(d_hidden, hidden.shape))
  d_hidden = jax.lax.psum(d_hidden, "tensor")
  return total, _joined(nats, targets.shape), d_hidden


class _Losses(NamedTuple):
  objective: Float[Array, ""]
  nats: Float[Array, " C"]
  normaliser: Float[Array, " C"]  # log of the sum of exp(logits)
  logits: Float[Array, "C V"]  # of this device's ids
  hit: Float[Array, "C V"]  # where the target is


def _losses(hidden, targets, weights, *, rows, z_loss) -> _Losses:
  """Losses of one chunk; the vocabulary may be cut over `tensor`."""
  logits = _product("CD,VD->CV", hidden, rows)
  ids = jax.lax.axis_index("tensor") * len(rows) + jnp.arange(len(rows))
  hit = targets[:, None] == ids[None, :]
  peak = jax.lax.pmax(jnp.max(logits, axis=1), "tensor")
  sums = jnp.sum(jnp.exp(logits - peak[:, None]), axis=1)
  chosen = jnp.sum(jnp.where(hit, logits, 0.0), axis=1)
  sums, chosen = jax.lax.psum(jnp.stack([sums, chosen]), "tensor")
  normaliser = peak + jnp.log(sums)
  nats = normaliser - chosen
  objective = jnp.sum(weights * (nats + z_loss * normaliser**2))
  return _Losses(objective, nats, normaliser, logits, hit)


def _losses_and_back(
  hidden, targets, weights, *, rows, z_loss
) -> tuple[_Losses, Float[Array, "C V"], Float[Array, "C D"]]:
  """Of one chunk, with the gradients of the objective by logits and hidden."""
  at = _losses(hidden, targets, weights, rows=rows, z_loss=z_loss)
  # nats = normaliser - chosen logit, and d normaliser / d logits = softmax.
  softmax = jnp.exp(at.logits - at.normaliser[:, None])
  slope = (1.0 + 2.0 * z_loss * at.normaliser)[:, None]
  d_logits = weights[:, None] * (slope * softmax - at.hit)
  d_logits = d_logits.astype(hidden.dtype)
  return at, d_logits, jnp.einsum("CV,VD->CD", d_logits, rows)


def _gathered(head: Float[Array, "V D"], dtype) -> Float[Array, "V D"]:
  """The head whole along D; cast before, so that half the bytes move."""

  def gather(rows):
    return jax.lax.all_gather(rows.astype(dtype), "fsdp", axis=1, tiled=True)

  return _by_pieces(gather, head)


def _scattered(d_rows: Float[Array, "V D"], dtype) -> Float[Array, "V D"]:
  """The sum over all devices, cut along D as the head is.

  Gradients cross devices in the dtype of the products, as all weights' do.
  """

  def scatter(rows):
    rows = jax.lax.psum_scatter(
      rows.astype(dtype), "fsdp", scatter_dimension=1, tiled=True
    )
    return jax.lax.psum(rows, ("replica", "context"))

  return _by_pieces(scatter, d_rows)


def _by_pieces(move, rows: Float[Array, "V D"]) -> Array:
  """Moves a table in pieces: compilers need a whole copy of what they move."""
  pieces = math.gcd(len(rows), _PIECES)
  moved = jax.lax.map(move, rows.reshape(pieces, -1, rows.shape[1]))
  return moved.reshape(len(rows), -1)


def _after(first: Array, then: Array) -> Array:
  """`then`, which has to wait for `first`; NaN where that is not finite.

  Collectives of `shard_map` have no names to tell them apart: CPU devices that
  come to two of them in different orders take one for the other. A barrier
  would do for TPUs, but is gone when a CPU's program is put in order.
  """
  return then + (0 * first[(0,) * first.ndim]).astype(then.dtype)


def _product(letters: str, a: Array, b: Array) -> Array:
  return jnp.einsum(letters, a, b, preferred_element_type=jnp.float32)


def _chunked(tokens, most: int):
  """Arrays (B, T, ...) as equal chunks (N, C, ...), padded with weight 0."""
  count = tokens[0].shape[0] * tokens[0].shape[1]
  chunks = -(-count // most)
  size = -(-count // chunks)

  def cut(x):
    flat = x.reshape(count, *x.shape[2:])
    pad = [(0, chunks * size - count)] + [(0, 0)] * (flat.ndim - 1)
    return jnp.pad(flat, pad).reshape(chunks, size, *flat.shape[1:])

  return jax.tree.map(cut, tokens)


def _joined(chunks: Array, shape: tuple[int, ...]) -> Array:
  """Undoes `_chunked`."""
  flat = chunks.reshape(-1, *shape[2:])
  return flat[: shape[0] * shape[1]].reshape(shape)
