"""Decoding: one compiled loop in which every row works off its own queue.

The loop returns to the host every so often, where `watch` is shown what there
is so far.

Two sections of a song, as entries of a queue and as what becomes of them:

  entry     h  h  <SOA> <xcodec>  SAMPLE            e  t  <SOA> <xcodec>  SAMPLE
  tokens    h  h  <SOA> <xcodec>  v b v b v b <EOA> e  t  <SOA> <xcodec>  v b ..
  slot      0  1  2     3         4 5 6 7 8 9 10    11 12 13    14        15

Every row feeds one token per step, so token number s of every row lies in slot
s of the cache, and s is its position. A row that is done idles until the
longest one is. The unconditional branch of guidance is a second cache row that
is fed the same tokens but sees only those from the last forced one on: from
<xcodec>, the last token of the prompt, as in the released code.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jax.sharding import reshard
from jaxtyping import Array, Bool, Float, Int, Key
import numpy as np

from yue_jax.model import Decoder, KVCache
from yue_jax.sampling import queues
from yue_jax.sampling.logits import Sampling, guide, next_tokens
from yue_jax.sampling.queues import SAMPLE, Queue, Row, Rule, RuleTable
from yue_jax.sharding import SPECS

_CHUNK = 32  # tokens of the prompt fed at once
_SLOT_MULTIPLE = 64  # songs of similar length share one program
_TURN = 256  # slots filled before the host is shown what there is


class Decoded(NamedTuple):
  """What became of one row: ids, and the number of the entry of each."""

  tokens: np.ndarray  # (n,) int32
  entries: np.ndarray  # (n,) int32

  def of_entry(self, entry: int) -> np.ndarray:
    """Tokens that one entry gave, its stop token included."""
    return self.tokens[self.entries == entry]


def decode(
  decoder: Decoder,
  rows: Sequence[Row],
  rules: Sequence[Rule],
  *,
  sampling: Sampling,
  seeds: np.ndarray,
  watch: Callable[[list[Decoded]], None] | None = None,
) -> list[Decoded]:
  """Works off all queues at once; call it inside `jax.set_mesh`.

  What a row gives depends on its queue and its seed, and not (but for the
  rounding of differently shaped products) on the other rows.
  A program is compiled per number of rows, rules and slots (rounded up), and
  per sampling; what is in the queues does not matter.

  Args:
    seeds: (rows, any) non-negative integers; a row's are folded together.
    watch: called with what every row has so far, every 256 tokens and at the
      end. It changes nothing; what it raises ends decoding and comes out here.

  Raises:
    ValueError: when a row could outgrow the model's `max_positions`, has ids
      or rules that do not exist, or does not begin with a token; or when the
      mesh cuts rows, of which one token is fed at a time.
  """
  cfg = decoder.cfg
  if (context := jax.sharding.get_mesh().shape["context"]) > 1:
    raise ValueError(
      f"mesh.context={context}, but a token that is generated cannot be cut;"
      " use replica, fsdp and tensor"
    )
  sizes = {"vocab_size": cfg.vocab_size, "max_positions": cfg.max_positions}
  queues.check(rows, rules, **sizes)
  idle = [queues.forced([])] * (-len(rows) % _row_shards())
  slots = _round_up(max(queues.longest(row, rules) for row in rows))
  guided = any((row.guidance[row.is_sampled] != 1).any() for row in rows)
  queue = queues.stack([*rows, *idle], slots)
  table = queues.tabulate(rules, cfg.vocab_size)
  seeds = np.pad(np.asarray(seeds, np.uint32), ((0, len(idle)), (0, 0)))
  # The loop feeds the last forced token itself: its logits are needed.
  chunks = (min(map(queues.prompt_length, rows)) - 1) // _CHUNK
  state = _begin(
    decoder, queue, chunks=np.int32(chunks), branches=2 if guided else 1
  )
  until, unfinished = chunks * _CHUNK, True
  while unfinished:
    until += _TURN
    state, so_far = _turn(
      decoder,
      state,
      queue,
      table,
      seeds=seeds,
      until=np.int32(until),
      sampling=sampling,
    )
    tokens, entries, unfinished = map(np.asarray, so_far)
    ends = (entries[: len(rows)] != SAMPLE).sum(axis=1)
    decoded = [
      Decoded(tokens[b, :n], entries[b, :n]) for b, n in enumerate(ends)
    ]
    if watch is not None:
      watch(decoded)
  return decoded


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DecodeState:
  """The carry of the loop, at the moment before a token is fed.

  Attributes:
    slot: where the token about to be fed goes; also its position.
    token: the token about to be fed; 0 in rows that are done.
    cursor: entry that gives the token after it; the number of entries in rows
      that are done.
    drawn: tokens that the entry at the cursor has given so far.
    start: first slot that the unconditional branch sees.
    seen: ids fed before `token`.
    tokens: all tokens up to and including `token`, then SAMPLE.
    entries: number of the entry that gave each of them, then SAMPLE.
    cache: of B x branches rows, the branches of a row side by side.
  """

  slot: Int[Array, ""]
  token: Int[Array, "B"]
  cursor: Int[Array, "B"]
  drawn: Int[Array, "B"]
  start: Int[Array, "B"]
  seen: Bool[Array, "B V"]
  tokens: Int[Array, "B S"]
  entries: Int[Array, "B S"]
  cache: KVCache


@functools.partial(jax.jit, static_argnames="branches")
def _begin(
  decoder: Decoder, queue: Queue, *, chunks: Int[Array, ""], branches: int
) -> DecodeState:
  """The state once that many chunks of forced tokens are in the cache."""
  queue = jax.tree.map(_by_rows, queue)
  rows, slots = queue.tokens.shape
  # What unconditional rows hold of the prompt lies before their start.
  starts = _by_rows(jnp.zeros((rows, branches), jnp.int32))

  def feed(number, cache):
    first = number * _CHUNK
    tokens = jax.lax.dynamic_slice_in_dim(queue.tokens, first, _CHUNK, axis=1)
    return _extend(decoder, cache, tokens=tokens, slot=first, starts=starts)[0]

  cache = decoder.empty_cache(rows * branches, slots)
  cache = jax.lax.fori_loop(0, chunks, feed, cache)
  slot = chunks * _CHUNK
  at = jnp.arange(slots, dtype=jnp.int32)[None, :]
  everywhere = jnp.zeros_like(queue.lengths) + slot
  known = (at <= slot) & (at < queue.lengths[:, None])
  return DecodeState(
    slot=slot,
    token=_pick(queue.tokens, everywhere),
    cursor=everywhere + 1,
    drawn=jnp.zeros_like(queue.lengths),
    start=everywhere,
    seen=_occurring(queue.tokens, at < slot, decoder.cfg.vocab_size),
    tokens=jnp.where(known, queue.tokens, SAMPLE),
    entries=jnp.where(known, at, SAMPLE),
    cache=cache,
  )


@functools.partial(jax.jit, static_argnames="sampling", donate_argnames="state")
def _turn(
  decoder: Decoder,
  state: DecodeState,
  queue: Queue,
  table: RuleTable,
  *,
  seeds: Int[Array, "B n"],
  until: Int[Array, ""],
  sampling: Sampling,
) -> tuple[DecodeState, tuple[Array, Array, Array]]:
  """Feeds tokens up to slot `until`, or until all rows are done.

  Returns:
    The state, and of it what the host reads: tokens, entries, and whether any
    row is unfinished.
  """
  queue = jax.tree.map(_by_rows, queue)
  keys = _keys(_by_rows(seeds))

  def unfinished(state):
    return jnp.any(state.cursor < queue.lengths)

  def step(state):
    state, logits = _feed(state, decoder)
    entry = _entry(state, queue, table=table)
    drawn = next_tokens(
      _guided(logits, entry),
      seen=state.seen,
      allowed=entry.allowed,
      keys=jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, state.slot),
      sampling=sampling,
    )
    return _advance(state, drawn, entry=entry)

  state = jax.lax.while_loop(
    lambda state: (state.slot < until) & unfinished(state), step, state
  )
  # Whole on every device, so that every process can read them.
  tokens, entries = reshard(state.tokens, P()), reshard(state.entries, P())
  return state, (tokens, entries, unfinished(state))


def _feed(
  state: DecodeState, decoder: Decoder
) -> tuple[DecodeState, Float[Array, "B branches V"]]:
  """Feeds the token of every row to all of its branches."""
  rows = state.token.shape[0]
  branches = state.cache.keys.shape[1] // rows
  starts = jnp.stack([jnp.zeros_like(state.start), state.start], axis=1)
  cache, logits = _extend(
    decoder,
    state.cache,
    tokens=state.token[:, None],
    slot=state.slot,
    starts=starts[:, :branches],
  )
  # The whole vocabulary of a row on one device: sorting needs it there.
  logits = _by_rows(logits.astype(jnp.float32))
  seen = state.seen | _is_id(state.token, logits.shape[-1])
  return dataclasses.replace(state, cache=cache, seen=seen), jax.lax.reshape(
    logits, (rows, branches, logits.shape[-1]), out_sharding=_spec(3)
  )


def _extend(
  decoder: Decoder,
  cache: KVCache,
  *,
  tokens: Int[Array, "B T"],
  slot: Int[Array, ""],
  starts: Int[Array, "B branches"],
) -> tuple[KVCache, Float[Array, "B*branches T V"]]:
  """Feeds the same tokens to branches that begin at different slots."""
  tokens = jnp.broadcast_to(
    tokens[:, None, :], (*starts.shape, tokens.shape[1])
  )
  tokens, starts = _merged(tokens), _merged(starts)[:, None]
  at = slot + jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :]
  slots = jnp.arange(cache.keys.shape[2], dtype=jnp.int32)[None, None, :]
  mask = (slots >= starts[:, :, None]) & (slots <= at[:, :, None])
  return decoder.extend(
    cache,
    reshard(tokens, SPECS.row_bt),
    slot=slot,
    positions=reshard(at - starts, SPECS.row_bt),
    mask=reshard(mask, SPECS.mask_bts),
  )


class _Entry(NamedTuple):
  """What the entry at the cursor of every row says about the next token."""

  number: Int[Array, "B"]
  live: Bool[Array, "B"]  # False past the last entry
  token: Int[Array, "B"]  # SAMPLE where it is to be drawn
  guidance: Float[Array, "B"]
  allowed: Bool[Array, "B V"]
  maximum: Int[Array, "B"]
  stop: Int[Array, "B"]


def _entry(state: DecodeState, queue: Queue, *, table: RuleTable) -> _Entry:
  at = jnp.minimum(state.cursor, queue.tokens.shape[1] - 1)
  rule = _pick(queue.rules, at)

  def of_rule(column):
    return column.at[rule].get(out_sharding=_spec(1))

  maximum, stop = of_rule(table.maximum), of_rule(table.stop)
  step = state.drawn % of_rule(table.cycle)
  inside = table.allowed.at[rule, step].get(out_sharding=_spec(2))
  more = state.drawn < maximum
  may_stop = (step == 0) & (state.drawn >= of_rule(table.minimum))
  is_stop = _is_id(stop, inside.shape[1])
  return _Entry(
    number=state.cursor,
    live=state.cursor < queue.lengths,
    token=_pick(queue.tokens, at),
    guidance=_pick(queue.guidance, at),
    allowed=(inside & more[:, None]) | (is_stop & may_stop[:, None]),
    maximum=maximum,
    stop=stop,
  )


def _guided(
  logits: Float[Array, "B branches V"], entry: _Entry
) -> Float[Array, "B V"]:
  if logits.shape[1] == 1:
    return logits[:, 0]
  return guide(logits[:, 0], logits[:, 1], entry.guidance)


def _advance(
  state: DecodeState, drawn: Int[Array, "B"], *, entry: _Entry
) -> DecodeState:
  """Takes every row's next token, from its queue or as it was drawn."""
  is_forced = entry.token != SAMPLE
  token = jnp.where(is_forced, entry.token, drawn)
  count = jnp.where(is_forced, 0, state.drawn + 1)
  full = (entry.stop < 0) & (count == entry.maximum)
  ended = is_forced | (token == entry.stop) | full
  slot = state.slot + 1

  def written(into, column):
    column = jnp.where(entry.live, column, SAMPLE)
    return jax.lax.dynamic_update_slice(into, column[:, None], (0, slot))

  return dataclasses.replace(
    state,
    slot=slot,
    token=jnp.where(entry.live, token, 0),
    cursor=state.cursor + (entry.live & ended),
    drawn=jnp.where(ended, 0, count),
    start=jnp.where(is_forced, slot, state.start),
    tokens=written(state.tokens, token),
    entries=written(state.entries, entry.number),
  )


def _occurring(
  tokens: Int[Array, "B S"], where: Bool[Array, "1 S"], vocab_size: int
) -> Bool[Array, "B V"]:
  """Which ids a row holds at the slots `where`."""
  ids = jnp.where(where, tokens, vocab_size)  # beyond the last id: dropped
  none = _by_rows(jnp.zeros((tokens.shape[0], vocab_size), bool))
  return jax.vmap(lambda row, ids: row.at[ids].set(True, mode="drop"))(
    none, ids
  )


def _is_id(ids: Int[Array, "B"], vocab_size: int) -> Bool[Array, "B V"]:
  return jnp.arange(vocab_size)[None, :] == ids[:, None]


def _pick(x: Array, at: Int[Array, "B"]) -> Array:
  return jax.vmap(lambda row, i: row[i])(x, at)


def _merged(x: Array) -> Array:
  """Joins the axes of rows and branches."""
  shape = (x.shape[0] * x.shape[1], *x.shape[2:])
  return jax.lax.reshape(x, shape, out_sharding=_spec(len(shape)))


def _by_rows(x: Array) -> Array:
  return reshard(x, _spec(x.ndim))


def _spec(axes: int) -> P:
  return P(SPECS.keys_bs[0], *[None] * (axes - 1))


def _keys(seeds: Int[Array, "B n"]) -> Key[Array, "B"]:
  def key(row):
    return functools.reduce(jax.random.fold_in, row, jax.random.key(0))

  return jax.vmap(key)(seeds)


def _row_shards() -> int:
  sizes = jax.sharding.get_mesh().shape
  return math.prod(sizes[axis] for axis in SPECS.keys_bs[0])


def _round_up(slots: int) -> int:
  return -(-slots // _SLOT_MULTIPLE) * _SLOT_MULTIPLE
