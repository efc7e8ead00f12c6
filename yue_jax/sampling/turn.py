"""The compiled part of decoding: its state, how it begins, and one turn of it.

A turn is a loop on the device. In every step each row feeds one token to the
model and takes its next one, from its queue or as it is drawn (`decode` shows
it). Where the next token of all rows is given, it is fed beside the one before:
a frame of a window takes seven steps for its eight tokens. With guidance a row
has two branches, which lie side by side in the cache.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jax.sharding import reshard
from jaxtyping import Array, Bool, Float, Int, Key

from yue_jax.model import logits_of
from yue_jax.sampling.layered import KVCache, LayeredDecoder
from yue_jax.sampling.logits import Sampling, guide, next_tokens
from yue_jax.sampling.queues import SAMPLE, Queue, RuleTable
from yue_jax.sharding import SPECS


@dataclasses.dataclass(frozen=True)
class Program:
  """What a turn is compiled for, besides shapes.

  Attributes:
    sampling: how a token is drawn.
    branches: 2 with guidance, else 1.
    ids: that any rule spans; all others are never looked at.
    head: ids whose logits are computed: `ids`, or all of the vocabulary where
      the sum of all probabilities matters (`logits.guide`).
  """

  sampling: Sampling
  branches: int
  ids: range
  head: range


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
    seen: ids of the program's U that were fed before `token`.
    tokens: all tokens up to and including `token`, then SAMPLE.
    entries: number of the entry that gave each of them, then SAMPLE.
    cache: of B x branches rows, the branches of a row side by side.
  """

  slot: Int[Array, ""]
  token: Int[Array, "B"]
  cursor: Int[Array, "B"]
  drawn: Int[Array, "B"]
  start: Int[Array, "B"]
  seen: Bool[Array, "B U"]
  tokens: Int[Array, "B S"]
  entries: Int[Array, "B S"]
  cache: KVCache


@functools.partial(jax.jit, donate_argnames="cache")
def read_chunk(
  decoder: LayeredDecoder,
  cache: KVCache,
  tokens: Int[Array, "B T"],
  *,
  slot: Int[Array, ""],
) -> KVCache:
  none = _by_rows(jnp.zeros((tokens.shape[0], 1), jnp.int32))
  tokens = _by_rows(tokens)
  return _extend(decoder, cache, tokens=tokens, slot=slot, starts=none)[0]


@functools.partial(jax.jit, static_argnames="ids", donate_argnames="cache")
def begin(
  cache: KVCache, queue: Queue, *, fed: Int[Array, ""], ids: range
) -> DecodeState:
  """The state once so many forced tokens of every row are in the cache.

  Args:
    cache: of all branches.
    ids: of the program.
  """
  queue = jax.tree.map(_by_rows, queue)
  slots = queue.tokens.shape[1]
  at = jnp.arange(slots, dtype=jnp.int32)[None, :]
  everywhere = jnp.zeros_like(queue.lengths) + fed
  known = (at <= fed) & (at < queue.lengths[:, None])
  return DecodeState(
    slot=fed,
    token=_pick(queue.tokens, everywhere),
    cursor=everywhere + 1,
    drawn=jnp.zeros_like(queue.lengths),
    start=everywhere,
    seen=_occurring(queue.tokens, at < fed, ids),
    tokens=jnp.where(known, queue.tokens, SAMPLE),
    entries=jnp.where(known, at, SAMPLE),
    cache=cache,
  )


@functools.partial(jax.jit, static_argnames="program", donate_argnames="state")
def turn(
  decoder: LayeredDecoder,
  state: DecodeState,
  *,
  head: Float[Array, "U D"],
  queue: Queue,
  table: RuleTable,
  seeds: Int[Array, "B n"],
  until: Int[Array, ""],
  program: Program,
) -> tuple[DecodeState, tuple[Array, Array, Array]]:
  """Feeds tokens up to slot `until`, or until all rows are done.

  Args:
    head: rows of the unembedding, of the ids in `program.head`.
    until: one of the slots of the cache; every step reads all of them.

  Returns:
    The state, and of it what the host reads: tokens, entries, and whether any
    row is unfinished.
  """
  queue = jax.tree.map(_by_rows, queue)
  keys = _keys(_by_rows(seeds))

  def step(state, tokens, *, slot):
    state, hidden = _feed(state, tokens, decoder, slot=slot, program=program)
    entry = _entry(state, queue, table=table, ids=program.ids)
    drawn = next_tokens(
      _guided(_logits(hidden, head), entry, program),
      seen=state.seen,
      allowed=entry.allowed,
      keys=jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, state.slot),
      sampling=program.sampling,
      first=program.ids.start,
    )
    return _advance(state, drawn, entry=entry)

  def one(state):
    return step(state, state.token[:, None], slot=state.slot)

  def two(state):
    entry = _entry(state, queue, table=table, ids=program.ids)
    after = _advance(state, jnp.zeros_like(state.token), entry=entry)
    both = jnp.stack([state.token, after.token], axis=1)
    return step(after, both, slot=state.slot)

  def goes_on(state):
    return (state.slot < until) & _outlook(state, queue)[0]

  def takes_two(state):
    unfinished, draws = _outlook(state, queue)
    return (state.slot + 1 < until) & unfinished & ~draws

  def takes_one(state):
    return goes_on(state) & ~takes_two(state)

  def both_ways(state):  # a `cond` would copy the cache
    state = jax.lax.while_loop(takes_one, one, state)
    return jax.lax.while_loop(takes_two, two, state)

  state = jax.lax.while_loop(goes_on, both_ways, state)
  # Whole on every device, so that every process can read them.
  tokens, entries = reshard(state.tokens, P()), reshard(state.entries, P())
  return state, (tokens, entries, _outlook(state, queue)[0])


def _outlook(state: DecodeState, queue: Queue) -> Bool[Array, "2"]:
  """Whether any row is unfinished, and whether the next token of any is drawn.

  In one array: where rows are cut over devices, they ask each other once.
  """
  live = state.cursor < queue.lengths
  at = jnp.minimum(state.cursor, queue.tokens.shape[1] - 1)
  draws = live & (_pick(queue.tokens, at) == SAMPLE)
  return jnp.any(jnp.stack([live, draws]), axis=1)


def _feed(
  state: DecodeState,
  tokens: Int[Array, "B T"],
  decoder: LayeredDecoder,
  *,
  slot: Int[Array, ""],
  program: Program,
) -> tuple[DecodeState, Float[Array, "B*branches 1 D"]]:
  """Feeds tokens of every row, from `slot` on, to all of its branches."""
  starts = jnp.stack([jnp.zeros_like(state.start), state.start], axis=1)
  cache, hidden = _extend(
    decoder,
    state.cache,
    tokens=tokens,
    slot=slot,
    starts=starts[:, : program.branches],
  )
  fed = _ids(program.ids)[None] == tokens[:, :, None]
  seen = state.seen | jnp.any(fed, axis=1)
  return dataclasses.replace(state, cache=cache, seen=seen), hidden[:, -1:]


def _extend(
  decoder: LayeredDecoder,
  cache: KVCache,
  *,
  tokens: Int[Array, "B T"],
  slot: Int[Array, ""],
  starts: Int[Array, "B branches"],
) -> tuple[KVCache, Float[Array, "B*branches T D"]]:
  """Feeds the same tokens to branches that begin at different slots."""
  tokens = jnp.broadcast_to(
    tokens[:, None, :], (*starts.shape, tokens.shape[1])
  )
  tokens, starts = _merged(tokens), _merged(starts)[:, None]
  at = slot + jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :]
  slots = jnp.arange(cache[0].keys.shape[3], dtype=jnp.int32)[None, None, :]
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
  allowed: Bool[Array, "B U"]
  maximum: Int[Array, "B"]
  stop: Int[Array, "B"]


def _entry(
  state: DecodeState, queue: Queue, *, table: RuleTable, ids: range
) -> _Entry:
  at = jnp.minimum(state.cursor, queue.tokens.shape[1] - 1)
  rule = _pick(queue.rules, at)

  def of_rule(column):
    return column.at[rule].get(out_sharding=_spec(1))

  maximum, stop = of_rule(table.maximum), of_rule(table.stop)
  step = state.drawn % of_rule(table.cycle)
  first, last = (
    x.at[rule, step].get(out_sharding=_spec(1))[:, None]
    for x in (table.first, table.last)
  )
  each = _ids(ids)
  inside = (first <= each) & (each <= last)
  more = state.drawn < maximum
  may_stop = (step == 0) & (state.drawn >= of_rule(table.minimum))
  return _Entry(
    number=state.cursor,
    live=state.cursor < queue.lengths,
    token=_pick(queue.tokens, at),
    guidance=_pick(queue.guidance, at),
    allowed=(inside & more[:, None]) | (_is_id(stop, ids) & may_stop[:, None]),
    maximum=maximum,
    stop=stop,
  )


def _logits(
  hidden: Float[Array, "B*branches 1 D"], head: Float[Array, "U D"]
) -> Float[Array, "B*branches U"]:
  # All ids of a row on one device: sorting needs them there.
  return _by_rows(logits_of(hidden, head)[:, 0].astype(jnp.float32))


def _guided(
  logits: Float[Array, "B*branches V"], entry: _Entry, program: Program
) -> Float[Array, "B U"]:
  if program.branches == 2:
    split = (entry.guidance.shape[0], 2, logits.shape[1])
    pair = jax.lax.reshape(logits, split, out_sharding=_spec(3))
    logits = guide(pair[:, 0], pair[:, 1], entry.guidance)
  first = program.ids.start - program.head.start
  return logits[:, first : first + len(program.ids)]


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
  tokens: Int[Array, "B S"], where: Bool[Array, "1 S"], ids: range
) -> Bool[Array, "B U"]:
  """Which of the ids a row holds at the slots `where`."""
  known = where & (tokens >= ids.start)
  column = jnp.where(known, tokens - ids.start, len(ids))  # beyond: dropped
  none = _by_rows(jnp.zeros((tokens.shape[0], len(ids)), bool))
  return jax.vmap(lambda row, at: row.at[at].set(True, mode="drop"))(
    none, column
  )


def _is_id(token: Int[Array, "B"], ids: range) -> Bool[Array, "B U"]:
  return _ids(ids) == token[:, None]


def _ids(ids: range) -> Int[Array, "1 U"]:
  return jnp.arange(ids.start, ids.stop, dtype=jnp.int32)[None, :]


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
