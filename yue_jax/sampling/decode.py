"""Decoding: one loop in which every row works off its own queue.

Two sections of a song, as entries of a queue and as what becomes of them:

  entry     h  h  <SOA> <xcodec>  SAMPLE            e  t  <SOA> <xcodec>  SAMPLE
  tokens    h  h  <SOA> <xcodec>  v b v b v b <EOA> e  t  <SOA> <xcodec>  v b ..
  slot      0  1  2     3         4 5 6 7 8 9 10    11 12 13    14        15

All rows feed as many tokens in a step, so token number s of every row lies in
slot s of the cache, and s is its position. A row that is done idles until the
longest one is. The unconditional branch of guidance is a second cache row that
is fed the same tokens but sees only those from the last forced one on: from
<xcodec>, the last token of the prompt, as in the released code.

What all prompts have is fed in chunks. Then the loop returns to the host every
so often, which shows what there is so far and lets the cache grow: a step reads
all of its slots. What is compiled is in `turn`, and the cache in `layered`.
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
from jaxtyping import Array, Float, Int
import numpy as np

from yue_jax.config import ModelConfig
from yue_jax.sampling import queues
from yue_jax.sampling.layered import (
  KVCache,
  LayeredDecoder,
  branch,
  grow,
  unstack,
)
from yue_jax.sampling.logits import Sampling
from yue_jax.sampling.queues import SAMPLE, Row, Rule
from yue_jax.sampling.turn import (
  DecodeState,
  Program,
  begin,
  read_chunk,
  turn,
)
from yue_jax.sharding import SPECS, on_mesh
from yue_jax.train.state import init_params

_CHUNK_TOKENS = 1024  # of all prompts together, fed at once
# Songs of similar length share one program. Slots lie last in the keys, and of
# anything but whole registers (128 numbers) a TPU would make a copy to turn.
_SLOT_MULTIPLE = 128
_TURN = 256  # slots filled before the host is shown what there is
_LEAST_READ = 1024  # slots of the cache; where more are filled, `slots_read`
_HEAD_MULTIPLE = 128  # ids, and of what the mesh cuts them into


class Decoded(NamedTuple):
  """What became of one row: ids, and the number of the entry of each."""

  tokens: np.ndarray  # (n,) int32
  entries: np.ndarray  # (n,) int32

  def of_entry(self, entry: int) -> np.ndarray:
    """Tokens that one entry gave, its stop token included."""
    return self.tokens[self.entries == entry]


def decode(
  decoder: LayeredDecoder,
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
  ids that the rules span, per sampling, and per size of the cache
  (`slots_read`); what is in the queues does not matter.

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
  slots = whole_slots(max(queues.longest(row, rules) for row in rows))
  guided = any((row.guidance[row.is_sampled] != 1).any() for row in rows)
  queue = queues.stack([*rows, *idle], slots)
  program = program_for(decoder.cfg, rules, sampling=sampling, guided=guided)
  head = _head(decoder, program.head)
  # CPU devices may start programs that do not depend on each other in another
  # order, and their collectives would then wait for each other.
  jax.block_until_ready(head)
  # The loop feeds the last forced token itself: its logits are needed.
  known = min(map(queues.prompt_length, rows)) - 1
  prompts = _read_prompts(decoder, queue.tokens[:, :known])
  state = begin(
    branch(prompts, program.branches),
    queue,
    fed=np.int32(known),
    ids=program.ids,
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
    cache = grow(state.cache, slots_read(until, slots))
    state, so_far = turn(
      decoder,
      dataclasses.replace(state, cache=cache),
      **given,
      until=np.int32(until),
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
  """Slots of the cache until `until` is reached: what a step reads.

  A power of two or one and a half of it: 1024, 1536, 2048, 3072, 4096, ...
  """
  power = 1 << (until - 1).bit_length()
  enough = 3 * power // 4 if until <= 3 * power // 4 else power
  return min(slots, max(_LEAST_READ, enough))


def program_for(
  cfg: ModelConfig, rules: Sequence[Rule], *, sampling: Sampling, guided: bool
) -> Program:
  """The program of a batch; call it inside `jax.set_mesh`."""
  multiple = math.lcm(_HEAD_MULTIPLE, jax.sharding.get_mesh().shape["tensor"])
  ids = queues.span(rules, vocab_size=cfg.vocab_size, multiple=multiple)
  whole = guided and sampling.repetition_penalty != 1
  head = range(cfg.vocab_size) if whole else ids
  return Program(sampling, 2 if guided else 1, ids, head)


def lower_turn(
  cfg: ModelConfig,
  mesh: jax.sharding.Mesh,
  rules: Sequence[Rule],
  *,
  rows: int,
  slots: int,
  sampling: Sampling,
  guided: bool,
) -> tuple[jax.stages.Lowered, LayeredDecoder, DecodeState]:
  """The turn with all slots in the cache, for devices that need not be there.

  Returns:
    The lowered turn, and the abstract weights and state that it is given.
  """
  with jax.set_mesh(mesh):
    program = program_for(cfg, rules, sampling=sampling, guided=guided)

    def weights():
      decoder = unstack(init_params(cfg, seed=0), cfg)
      return decoder, _head(decoder, program.head)

    decoder, head = _abstract(mesh, weights)
    queue = queues.stack([queues.forced([0])] * rows, slots)
    state = _abstract(
      mesh,
      lambda: begin(
        decoder.empty_cache(rows * program.branches, slots),
        queue,
        fed=jnp.int32(0),
        ids=program.ids,
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
      program=program,
    )
  return lowered, decoder, state


def _abstract(mesh: jax.sharding.Mesh, make: Callable):
  return on_mesh(mesh, jax.eval_shape(make))


def _head(decoder: LayeredDecoder, ids: range) -> Float[Array, "U D"]:
  """Rows of the unembedding, in its layout."""
  if len(ids) == decoder.cfg.vocab_size:
    return decoder.unembed
  return _rows(decoder.unembed, ids)


@functools.partial(jax.jit, static_argnames="ids")
def _rows(table: Float[Array, "V D"], ids: range) -> Float[Array, "U D"]:
  table = reshard(table, P(None, SPECS.embed_vd[1]))
  return reshard(table[ids.start : ids.stop], SPECS.embed_vd)


def _read_prompts(
  decoder: LayeredDecoder, tokens: Int[np.ndarray, "B n"]
) -> KVCache:
  """A cache of B rows that holds these tokens, and may have more slots."""
  rows, known = tokens.shape
  cache = _empty(decoder, rows)
  if not known:
    return cache
  slots = whole_slots(known)
  # A power of two, so that there are few programs.
  chunk = 1 << (min(known, max(1, _CHUNK_TOKENS // rows)).bit_length() - 1)
  starts = range(0, known - chunk + 1, chunk)
  # The last chunk may repeat what the one before it has written.
  for slot in dict.fromkeys([*starts, known - chunk]):
    cache = read_chunk(
      decoder,
      grow(cache, slots_read(slot + chunk, slots)),
      tokens[:, slot : slot + chunk],
      slot=np.int32(slot),
    )
  return cache


@functools.partial(jax.jit, static_argnames="rows")
def _empty(decoder: LayeredDecoder, rows: int) -> KVCache:
  return decoder.empty_cache(rows, 0)


def _row_shards() -> int:
  sizes = jax.sharding.get_mesh().shape
  return math.prod(sizes[axis] for axis in SPECS.keys_bs[0])


def whole_slots(slots: int) -> int:
  """So many slots of a cache, rounded up to the multiple that is allocated."""
  return -(-slots // _SLOT_MULTIPLE) * _SLOT_MULTIPLE
