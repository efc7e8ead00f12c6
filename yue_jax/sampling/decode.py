"""Decoding: one compiled loop in which every row works off its own queue.

Two sections of a song, as entries of a queue and as what becomes of them:

  entry     h  h  <SOA> <xcodec>  SAMPLE            e  t  <SOA> <xcodec>  SAMPLE
  tokens    h  h  <SOA> <xcodec>  v b v b v b <EOA> e  t  <SOA> <xcodec>  v b ..
  slot      0  1  2     3         4 5 6 7 8 9 10    11 12 13    14        15

Every row feeds one token per step, so token number s of every row lies in slot
s of the cache, and s is its position. A row that is done idles until the
longest one is. The unconditional branch of guidance is a second cache row that
is fed the same tokens but sees only those from the last forced one on: from
<xcodec>, the last token of the prompt, as in the released code.

What all prompts have is fed in chunks. Then the loop returns to the host every
so often, which shows what there is so far and lets the next turn read more of
the cache: it is allocated once, and only the slots up to a bound are read.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
from typing import NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jax.sharding import reshard
from jaxtyping import Array, Bool, Float, Int, Key
import numpy as np

from yue_jax.config import ModelConfig
from yue_jax.model import Decoder, KVCache, logits_of
from yue_jax.sampling import queues
from yue_jax.sampling.logits import Sampling, guide, next_tokens
from yue_jax.sampling.queues import SAMPLE, Queue, Row, Rule, RuleTable
from yue_jax.sharding import SPECS, on_mesh

_CHUNK_TOKENS = 1024  # of all prompts together, fed at once
_SLOT_MULTIPLE = 64  # songs of similar length share one program
_TURN = 256  # slots filled before the host is shown what there is
_LEAST_READ = 1024  # slots of the cache; where more are filled, powers of two
_HEAD_MULTIPLE = 128  # ids, and of what the mesh cuts them into


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
  A program is compiled per number of rows, rules and slots (rounded up), per
  ids that the rules span, per sampling, and for every power of two of slots
  that are read; what is in the queues does not matter.

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
  program = program_for(decoder.cfg, rules, sampling=sampling, guided=guided)
  decoder, head = _with_head(decoder, program)
  # The loop feeds the last forced token itself: its logits are needed.
  known = min(map(queues.prompt_length, rows)) - 1
  state = _begin(
    _read_prompts(decoder, queue.tokens[:, :known]),
    queue,
    fed=np.int32(known),
    program=program,
  )
  given = {
    "head": head,
    "queue": queue,
    "table": queues.tabulate(rules),
    "seeds": np.pad(np.asarray(seeds, np.uint32), ((0, len(idle)), (0, 0))),
  }
  until, unfinished = known, True
  while unfinished:
    until = (until // _TURN + 1) * _TURN
    state, so_far = turn(
      decoder,
      state,
      **given,
      until=np.int32(until),
      read=slots_read(until, slots),
      program=program,
    )
    tokens, entries, unfinished = map(np.asarray, so_far)
    ends = (entries[: len(rows)] != SAMPLE).sum(axis=1)
    decoded = [
      Decoded(tokens[b, :n], entries[b, :n]) for b, n in enumerate(ends)
    ]
    if watch is not None:
      watch(decoded)
  return decoded


def slots_read(until: int, slots: int) -> int:
  """Slots that a step reads, all of them before `until`."""
  return min(slots, max(_LEAST_READ, 1 << (until - 1).bit_length()))


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


def program_for(
  cfg: ModelConfig, rules: Sequence[Rule], *, sampling: Sampling, guided: bool
) -> Program:
  multiple = math.lcm(_HEAD_MULTIPLE, jax.sharding.get_mesh().shape["tensor"])
  ids = queues.span(rules, vocab_size=cfg.vocab_size, multiple=multiple)
  whole = guided and sampling.repetition_penalty != 1
  head = range(cfg.vocab_size) if whole else ids
  return Program(sampling, 2 if guided else 1, ids, head)


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


def lower_turn(
  cfg: ModelConfig,
  mesh: jax.sharding.Mesh,
  rules: Sequence[Rule],
  *,
  rows: int,
  slots: int,
  sampling: Sampling,
  guided: bool,
) -> tuple[jax.stages.Lowered, Decoder, DecodeState]:
  """The turn that reads the whole cache, for devices that need not be there.

  Returns:
    The lowered turn, and the abstract weights and state that it is given.
  """
  with jax.set_mesh(mesh):
    program = program_for(cfg, rules, sampling=sampling, guided=guided)
    decoder, head = _abstract(
      mesh, lambda: _with_head(Decoder(cfg, rngs=nnx.Rngs(0)), program)
    )
    queue = queues.stack([queues.forced([0])] * rows, slots)
    state = _abstract(
      mesh,
      lambda: _begin(
        decoder.empty_cache(rows, 0), queue, fed=jnp.int32(0), program=program
      ),
    )
    lowered = turn.lower(
      decoder,
      state,
      head=head,
      queue=queue,
      table=queues.tabulate(rules),
      seeds=np.zeros((rows, 1), np.uint32),
      until=np.int32(slots),
      read=slots,
      program=program,
    )
  return lowered, decoder, state


def _abstract(mesh: jax.sharding.Mesh, make: Callable):
  return on_mesh(mesh, jax.eval_shape(make))


def _with_head(
  decoder: Decoder, program: Program
) -> tuple[Decoder, Float[Array, "U D"]]:
  decoder = _as_computed(decoder)
  return decoder, _head(decoder, program.head)


def _as_computed(decoder: Decoder) -> Decoder:
  """With weights in the dtype of activations: cast once, not at every token."""
  dtype = jnp.dtype(decoder.cfg.dtype)
  if all(w.dtype == dtype for w in jax.tree.leaves(decoder)):
    return decoder
  cast = jax.jit(functools.partial(jax.tree.map, lambda w: w.astype(dtype)))
  return cast(decoder)


def _head(decoder: Decoder, ids: range) -> Float[Array, "U D"]:
  """Rows of the unembedding, in its layout."""
  if len(ids) == decoder.cfg.vocab_size:
    return decoder.unembed[...]
  return _rows(decoder.unembed[...], ids)


@functools.partial(jax.jit, static_argnames="ids")
def _rows(table: Float[Array, "V D"], ids: range) -> Float[Array, "U D"]:
  table = reshard(table, P(None, SPECS.embed_vd[1]))
  return reshard(table[ids.start : ids.stop], SPECS.embed_vd)


def _read_prompts(decoder: Decoder, tokens: Int[np.ndarray, "B n"]) -> KVCache:
  """A cache of B rows that holds these tokens, and may have more slots."""
  rows, known = tokens.shape
  slots = slots_read(known, _round_up(known))
  cache = _empty(decoder, rows, slots)
  if not known:
    return cache
  # A power of two, so that there are few programs.
  chunk = 1 << (min(known, max(1, _CHUNK_TOKENS // rows)).bit_length() - 1)
  starts = range(0, known - chunk + 1, chunk)
  # The last chunk may repeat what the one before it has written.
  for slot in dict.fromkeys([*starts, known - chunk]):
    cache = _read_chunk(
      decoder,
      cache,
      tokens[:, slot : slot + chunk],
      slot=np.int32(slot),
      read=slots_read(slot + chunk, slots),
    )
  return cache


@functools.partial(jax.jit, static_argnames=("rows", "slots"))
def _empty(decoder: Decoder, rows: int, slots: int) -> KVCache:
  return decoder.empty_cache(rows, slots)


@functools.partial(jax.jit, static_argnames="read", donate_argnames="cache")
def _read_chunk(
  decoder: Decoder,
  cache: KVCache,
  tokens: Int[Array, "B T"],
  *,
  slot: Int[Array, ""],
  read: int,
) -> KVCache:
  none = _by_rows(jnp.zeros((tokens.shape[0], 1), jnp.int32))
  tokens = _by_rows(tokens)
  return _extend(
    decoder, cache, tokens=tokens, slot=slot, starts=none, read=read
  )[0]


@functools.partial(jax.jit, static_argnames="program")
def _begin(
  prompts: KVCache, queue: Queue, *, fed: Int[Array, ""], program: Program
) -> DecodeState:
  """The state once so many forced tokens of every row are in the cache."""
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
    seen=_occurring(queue.tokens, at < fed, program.ids),
    tokens=jnp.where(known, queue.tokens, SAMPLE),
    entries=jnp.where(known, at, SAMPLE),
    cache=_spread(prompts, slots, program.branches),
  )


def _spread(cache: KVCache, slots: int, branches: int) -> KVCache:
  """With more slots, and a row of zeros for the other branch of each row.

  What unconditional branches see of a prompt is at most its last token.
  """

  def spread(x):
    layers, rows, heads, before, width = x.shape
    x = jnp.pad(x, ((0, 0),) * 3 + ((0, slots - before), (0, 0)))
    others = jnp.zeros_like(x)
    x = jnp.stack([x, others][:branches], axis=2)
    shape = (layers, rows * branches, heads, slots, width)
    return jax.lax.reshape(x, shape, out_sharding=SPECS.cache_lbksh)

  return jax.tree.map(spread, cache)


@functools.partial(
  jax.jit, static_argnames=("read", "program"), donate_argnames="state"
)
def turn(
  decoder: Decoder,
  state: DecodeState,
  *,
  head: Float[Array, "U D"],
  queue: Queue,
  table: RuleTable,
  seeds: Int[Array, "B n"],
  until: Int[Array, ""],
  read: int,
  program: Program,
) -> tuple[DecodeState, tuple[Array, Array, Array]]:
  """Feeds tokens up to slot `until`, or until all rows are done.

  Args:
    head: rows of the unembedding, of the ids in `program.head`.
    read: slots of the cache, from the first on, that every step reads.

  Returns:
    The state, and of it what the host reads: tokens, entries, and whether any
    row is unfinished.
  """
  queue = jax.tree.map(_by_rows, queue)
  keys = _keys(_by_rows(seeds))

  def unfinished(state):
    return jnp.any(state.cursor < queue.lengths)

  def step(state):
    state, hidden = _feed(state, decoder, read=read, program=program)
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

  state = jax.lax.while_loop(
    lambda state: (state.slot < until) & unfinished(state), step, state
  )
  # Whole on every device, so that every process can read them.
  tokens, entries = reshard(state.tokens, P()), reshard(state.entries, P())
  return state, (tokens, entries, unfinished(state))


def _feed(
  state: DecodeState, decoder: Decoder, *, read: int, program: Program
) -> tuple[DecodeState, Float[Array, "B*branches 1 D"]]:
  """Feeds the token of every row to all of its branches."""
  starts = jnp.stack([jnp.zeros_like(state.start), state.start], axis=1)
  cache, hidden = _extend(
    decoder,
    state.cache,
    tokens=state.token[:, None],
    slot=state.slot,
    starts=starts[:, : program.branches],
    read=read,
  )
  seen = state.seen | _is_id(state.token, program.ids)
  return dataclasses.replace(state, cache=cache, seen=seen), hidden


def _extend(
  decoder: Decoder,
  cache: KVCache,
  *,
  tokens: Int[Array, "B T"],
  slot: Int[Array, ""],
  starts: Int[Array, "B branches"],
  read: int,
) -> tuple[KVCache, Float[Array, "B*branches T D"]]:
  """Feeds the same tokens to branches that begin at different slots."""
  tokens = jnp.broadcast_to(
    tokens[:, None, :], (*starts.shape, tokens.shape[1])
  )
  tokens, starts = _merged(tokens), _merged(starts)[:, None]
  at = slot + jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :]
  slots = jnp.arange(read, dtype=jnp.int32)[None, None, :]
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


def _row_shards() -> int:
  sizes = jax.sharding.get_mesh().shape
  return math.prod(sizes[axis] for axis in SPECS.keys_bs[0])


def _round_up(slots: int) -> int:
  return -(-slots // _SLOT_MULTIPLE) * _SLOT_MULTIPLE
