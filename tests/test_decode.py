"""The decoding loop against full recomputation, and what it promises."""

import dataclasses
import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import by_transformers, tiny
from yue_jax.model import Decoder
from yue_jax.sampling import decode as decoding
from yue_jax.sampling import queues
from yue_jax.sampling.decode import decode
from yue_jax.sampling.layered import (
  LayerCache,
  LayeredDecoder,
  branch,
  grow,
  unstack,
)
from yue_jax.sampling.logits import GREEDY, Sampling
from yue_jax.sampling.queues import Row, Rule, forced, join, sampled
from yue_jax.sharding import SPECS
from yue_jax.train.state import init_params

# Large weights: sharp attention, and no near-ties between likely tokens.
CFG = dataclasses.replace(tiny.MODEL, layers=2, max_positions=128, init_std=0.3)
STOP = 5
PAIRS = Rule(
  cycle=(range(60, 80), range(80, 90)), minimum=4, maximum=12, stop=STOP
)
TRIPLES = Rule(
  cycle=(range(100, 108), range(108, 116), range(116, 124)), maximum=3
)
PENALIZED = Sampling(temperature=0, repetition_penalty=1.3)
DRAWN = Sampling(temperature=1.0, top_k=30, top_p=0.95, repetition_penalty=1.1)


@pytest.fixture(scope="module")
def whole():
  with jax.set_mesh(tiny.mesh(tiny.MESHES["one"])):
    yield new_decoder()


@pytest.fixture(scope="module")
def decoder(whole):
  return tiny.layered(whole)


def new_decoder(cfg=CFG) -> Decoder:
  return jax.jit(lambda: Decoder(cfg, rngs=nnx.Rngs(0)))()


def song(prompt: int, *, first=1.5, later=1.2) -> Row:
  """Two sections after a prompt of so many tokens, then a block of triples."""
  ids = np.random.default_rng(prompt).integers(6, 90, prompt)
  return join(
    [
      forced(ids),
      sampled(0, guidance=first),
      forced([7, 8, 9]),
      sampled(0, guidance=later),
      *[forced([101]), sampled(1)] * 3,
    ]
  )


def run(decoder, rows, sampling, seeds=None, watch=None):
  seeds = range(len(rows)) if seeds is None else seeds
  return decode(
    decoder,
    rows,
    [PAIRS, TRIPLES],
    sampling=sampling,
    seeds=np.array(seeds)[:, None],
    watch=watch,
  )


@functools.cache
def full_forward():
  def last(decoder, tokens, length):
    at = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :]
    segments = (at < length).astype(jnp.int32)
    return decoder(tokens, segments, at)[0, length - 1]

  return jax.jit(last)


def recomputed(decoder: Decoder, tokens: list[int]) -> np.ndarray:
  padded = np.zeros((1, CFG.max_positions), np.int32)
  padded[0, : len(tokens)] = tokens
  logits = full_forward()(decoder, padded, np.int32(len(tokens)))
  return np.asarray(logits, np.float64)


def by_recomputation(decoder: Decoder, row: Row, penalty: float) -> list[int]:
  """Greedy decoding in plain numpy, from the docstrings alone."""
  tokens, start = [], 0
  for token, rule, scale in zip(*row, strict=True):
    if token >= 0:
      start = len(tokens)  # of the unconditional branch
      tokens.append(int(token))
      continue
    rule, drawn = [PAIRS, TRIPLES][rule], 0
    while drawn < rule.longest:
      scores = recomputed(decoder, tokens)
      if scale != 1:
        alone = log_softmax(recomputed(decoder, tokens[start:]))
        scores = alone + scale * (log_softmax(scores) - alone)
      seen = np.unique(tokens)
      scores[seen] *= np.where(scores[seen] < 0, penalty, 1 / penalty)
      tokens.append(max(may_come(rule, drawn), key=lambda id: scores[id]))
      drawn += 1
      if tokens[-1] == rule.stop:
        break
  return tokens


def may_come(rule: Rule, drawn: int) -> list[int]:
  whole = drawn % len(rule.cycle) == 0 and drawn >= rule.minimum
  stop = [rule.stop] if rule.stop is not None and whole else []
  if drawn == rule.maximum:
    return stop
  return [*rule.cycle[drawn % len(rule.cycle)], *stop]


def log_softmax(scores: np.ndarray) -> np.ndarray:
  return scores - np.logaddexp.reduce(scores)


@pytest.mark.parametrize(
  ("rows", "sampling"),
  [
    ([song(3, first=1, later=1), song(9, first=1, later=1)], GREEDY),
    ([song(3, first=1, later=1), song(9, first=1, later=1)], PENALIZED),
    # Prompts of more than one chunk, and one branch unguided.
    ([song(66), song(71), song(80, first=1)], GREEDY),
    ([song(66), song(71), song(80, first=1)], PENALIZED),
    # One row: what is given between sections is fed two at a time.
    ([song(66)], PENALIZED),
  ],
  ids=["plain", "penalized", "guided", "guided_penalized", "alone"],
)
def test_greedy_equals_full_recomputation(whole, decoder, rows, sampling):
  for row, got in zip(rows, run(decoder, rows, sampling), strict=True):
    expected = by_recomputation(whole, row, sampling.repetition_penalty)
    assert got.tokens.tolist() == expected


def test_guidance_and_penalty_matter(decoder):
  """The comparison above could not fail if they changed nothing."""
  results = [
    run(decoder, [row], sampling)[0].tokens.tolist()
    for row in (song(66), song(66, first=1, later=1))
    for sampling in (GREEDY, PENALIZED)
  ]
  assert len({tuple(tokens) for tokens in results}) == 4


def test_rows_do_not_affect_each_other(decoder):
  rows = [song(40), song(7), song(55)]
  together = run(decoder, rows, DRAWN, seeds=[3, 4, 5])
  reordered = run(decoder, [*rows[::-1][:2], song(22)], DRAWN, seeds=[5, 4, 9])
  alone = run(decoder, [rows[0]], DRAWN, seeds=[3])
  for got, expected in zip(
    [*alone, reordered[1], reordered[0]], together, strict=True
  ):
    np.testing.assert_array_equal(got.tokens, expected.tokens)
    np.testing.assert_array_equal(got.entries, expected.entries)


@pytest.mark.parametrize(
  "narrow",
  [
    {"top_k": 1, "top_p": 1.0},
    {"top_k": 0, "top_p": 1e-6},
    {"top_k": 30, "top_p": 1e-6},
  ],
  ids=["one_token", "no_probability", "both"],
)
def test_the_narrowest_draws_are_greedy(decoder, narrow):
  """Rounding inside the compiled loop must not empty what is kept."""
  rows = [song(prompt) for prompt in range(30, 46)]
  expected = run(decoder, rows, PENALIZED)
  drawn = run(
    decoder,
    rows,
    Sampling(temperature=2.0, repetition_penalty=1.3, **narrow),
  )
  for a, b in zip(drawn, expected, strict=True):
    np.testing.assert_array_equal(a.tokens, b.tokens)


def test_seeds_matter_and_repeat(decoder):
  rows = [song(7)] * 3
  a, b, c = run(decoder, rows, DRAWN, seeds=[1, 2, 1])
  assert a.tokens.tolist() == c.tokens.tolist() != b.tokens.tolist()


@pytest.mark.parametrize("prompt", [5, 40])
def test_queues_and_rules_are_obeyed(decoder, prompt):
  rows = [song(prompt)] * 8
  wild = Sampling(temperature=5.0, top_k=0, top_p=1.0)
  lengths = set()
  for row, got in zip(rows, run(decoder, rows, wild), strict=True):
    for entry, token in enumerate(row.tokens):
      tokens = got.of_entry(entry).tolist()
      if token >= 0:
        assert tokens == [token]
        continue
      rule = [PAIRS, TRIPLES][row.rules[entry]]
      for number, drawn in enumerate(tokens):
        assert drawn in may_come(rule, number)
      if rule is PAIRS:
        assert tokens.index(STOP) == len(tokens) - 1
        lengths.add(len(tokens) - 1)
      else:
        assert len(tokens) == rule.maximum
    assert np.all(np.diff(got.entries) >= 0)
    assert len(got.tokens) == len(got.entries)
  assert lengths <= {4, 6, 8, 10, 12}
  assert len(lengths) > 1


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_the_mesh_does_not_matter(decoder, sampling):
  rows = [song(40), song(33), song(52)]  # not as many as there are shards
  expected = run(decoder, rows, sampling)
  with jax.set_mesh(tiny.mesh(tiny.MESHES["fsdp2_tensor2"])):
    got = run(tiny.layered(new_decoder()), rows, sampling)
  for a, b in zip(got, expected, strict=True):
    np.testing.assert_array_equal(a.tokens, b.tokens)


def test_a_mesh_that_cuts_rows_is_refused():
  with (
    jax.set_mesh(tiny.mesh(tiny.MESHES["context2"])),
    pytest.raises(ValueError, match=r"mesh.context=2"),
  ):
    run(tiny.layered(new_decoder()), [song(5)], GREEDY)


def test_one_program_for_queues_of_one_shape(decoder, monkeypatch):
  traces = []
  extend = LayeredDecoder.extend

  def counted(*args, **kwargs):
    traces.append(1)
    return extend(*args, **kwargs)

  monkeypatch.setattr(LayeredDecoder, "extend", counted)
  for prompt in (18, 21, 32):  # in chunks of 16
    run(decoder, [song(prompt, first=1.3), *[song(50)] * 4], DRAWN)
    assert len(traces) == 3  # the prompt's chunks; one token, and two at once


# Of the 32 arrays of a cache not one is set aside; as bfloat16 they have half
# the bytes, and CPUs, which multiply float32, set aside what they read of it.
@pytest.mark.parametrize(
  ("dtype", "most"), [("float32", 1 / 32), ("bfloat16", 0.2)]
)
def test_the_cache_is_updated_in_place(decoder, dtype, most):
  cfg = dataclasses.replace(CFG, layers=16, kv_heads=4, dtype=dtype)
  lowered, _, state = decoding.lower_turn(
    cfg,
    jax.sharding.get_mesh(),
    [PAIRS, TRIPLES],
    rows=4,
    slots=2048,
    sampling=GREEDY,
    guided=True,
  )
  arrays = jax.tree.leaves(state.cache)
  size = sum(x.size * x.dtype.itemsize for x in arrays)
  values = 2 * cfg.layers * 8 * 2048 * cfg.kv_heads * cfg.head_width
  assert size == values * jnp.dtype(dtype).itemsize
  memory = lowered.compile().memory_analysis()
  assert memory.alias_size_in_bytes > size
  assert memory.temp_size_in_bytes < most * size


def test_weights_are_taken_apart_and_cast_once():
  """Those of training are float32, those of decoding as activations are."""
  cfg = dataclasses.replace(CFG, dtype="bfloat16")
  with jax.set_mesh(tiny.mesh(tiny.MESHES["fsdp2_tensor2"])):
    params = jax.jit(lambda: init_params(cfg, 0))()
    expected = dict(params)
    apart = unstack(params, cfg)
  assert not params  # nothing is in memory twice
  assert {w.dtype for w in jax.tree.leaves(apart)} == {jnp.dtype("bfloat16")}
  up = np.asarray(expected["blocks"]["mlp"]["up"]).astype("bfloat16")
  for layer, block in enumerate(apart.blocks):
    np.testing.assert_array_equal(block.mlp.up[...], up[layer])
    assert block.mlp.up[...].sharding.spec == SPECS.up_df


def test_a_cache_that_grows_keeps_what_it_holds(decoder):
  """So does one with room for another branch; both take the old one's place."""
  slots = jnp.arange(8.0)
  old = tuple(
    LayerCache(
      layer.keys + slots[None, None, None, :],
      layer.values + slots[None, None, None, :],
    )
    for layer in decoder.empty_cache(2, 8)
  )
  grown = branch(grow(old, 12), 2)
  assert all(array.is_deleted() for array in jax.tree.leaves(old))
  expected = np.r_[np.arange(8), np.zeros(4)]
  for layer in grown:
    for first in (layer.keys[0, 0, 0], layer.values[2, 1, 0]):
      np.testing.assert_array_equal(first, expected)
    assert not layer.keys[1::2].any()
    assert not layer.values[1::2].any()
  assert grow(grown, 12) is branch(grown, 1) is grown


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_ids_that_no_rule_names_need_no_logits(decoder, monkeypatch, scale):
  """Ids 4..123 give the tokens that 0..127 give."""
  rows = [song(40, first=scale, later=scale), song(55, first=1, later=1)]
  expected = run(decoder, rows, DRAWN)
  monkeypatch.setattr(decoding, "_HEAD_MULTIPLE", 4)
  for a, b in zip(run(decoder, rows, DRAWN), expected, strict=True):
    np.testing.assert_array_equal(a.tokens, b.tokens)


def test_span_of_rules():
  named = [
    Rule(cycle=(range(45, 51),), maximum=1),
    Rule(cycle=(range(70, 80),), maximum=1),
  ]
  span = functools.partial(queues.span, named, multiple=16)
  assert span(vocab_size=192) == range(32, 80)
  assert span(vocab_size=80) == range(32, 80)
  assert queues.span(named, vocab_size=90, multiple=64) == range(90)


def test_only_guidance_with_a_penalty_needs_all_logits(decoder):
  def ids(**kwargs):
    program = decoding.program_for(CFG, [PAIRS, TRIPLES], **kwargs)
    assert program.ids == range(128)
    return len(program.head)

  assert ids(sampling=DRAWN, guided=False) == 128
  assert ids(sampling=GREEDY, guided=True) == 128
  assert ids(sampling=DRAWN, guided=True) == 192


def test_given_tokens_are_fed_beside_those_before(decoder, monkeypatch):
  """A frame of four tokens, one of them given, takes three steps."""
  widths, frames = [], 5
  extend = LayeredDecoder.extend

  def counted(decoder, cache, tokens, **given):
    jax.debug.callback(lambda: widths.append(tokens.shape[1]))
    return extend(decoder, cache, tokens, **given)

  monkeypatch.setattr(LayeredDecoder, "extend", counted)
  row = join([forced([70] * 10), *[forced([101]), sampled(1)] * frames])
  # Not compiled before, and hence traced here.
  mine = Sampling(temperature=0, repetition_penalty=1.2)
  result, _ = run(decoder, [row, row], mine)
  jax.effects_barrier()
  assert len(result.tokens) == 10 + 4 * frames
  # From the second frame on: what came before is in the prompt's chunks.
  loop = widths[widths.index(2) :]
  assert (loop.count(2), loop.count(1)) == (frames - 1, 2 * (frames - 1))


def test_what_is_read_grows_by_halves():
  turns = range(256, 5000, 256)
  read = [decoding.slots_read(until, 4800) for until in turns]
  assert set(read) == {1024, 1536, 2048, 3072, 4096, 4800}
  for until, slots in zip(turns, read, strict=True):
    assert min(until, 4800) <= slots <= max(1024, 1.5 * until)


def test_turns_change_nothing_and_show_what_there_is(decoder, monkeypatch):
  """One turn; turns of 10 slots that read ever more; one that is broken off."""
  rows = [song(40), song(7), song(55)]
  expected = run(decoder, rows, DRAWN)
  monkeypatch.setattr(decoding, "_TURN", 10)
  monkeypatch.setattr(decoding, "_LEAST_READ", 16)
  shown = []
  got = run(decoder, rows, DRAWN, watch=shown.append)
  assert len(shown) == -(-(max(len(row.tokens) for row in expected) - 1) // 10)
  for so_far in [*shown, got]:
    for part, whole in zip(so_far, expected, strict=True):
      n = len(part.tokens)
      np.testing.assert_array_equal(part.tokens, whole.tokens[:n])
      np.testing.assert_array_equal(part.entries, whole.entries[:n])
  lengths = [[len(row.tokens) for row in so_far] for so_far in shown]
  assert lengths[0] == [11, 11, 11]  # slots 0..9 are fed; 10 is known
  assert np.all(np.diff(lengths, axis=0) <= 10)
  assert lengths[-1] == [len(row.tokens) for row in expected]

  def stop(so_far):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    run(decoder, rows, DRAWN, watch=stop)
  again = run(decoder, rows, DRAWN)
  for a, b in zip(again, expected, strict=True):
    np.testing.assert_array_equal(a.tokens, b.tokens)


def test_a_row_of_forced_tokens_alone(decoder):
  (got,) = run(decoder, [forced([9, 8, 7])], GREEDY)
  assert got.tokens.tolist() == [9, 8, 7]
  assert got.entries.tolist() == [0, 1, 2]


def test_what_could_outgrow_the_model_is_refused(decoder):
  assert queues.longest(song(80), [PAIRS, TRIPLES]) == 80 + 2 * 13 + 3 + 3 * 4
  run(decoder, [song(87)], GREEDY)  # 128 at most
  with pytest.raises(ValueError, match=r"row 1 .* 129 tokens .*=128"):
    run(decoder, [song(5), song(88)], GREEDY)


@pytest.mark.parametrize(
  ("row", "message"),
  [
    (join([sampled(0), forced([1])]), "begin with a token"),
    (forced([]), "begin with a token"),
    (forced([1, 192]), "ids of the model"),
    (forced([1, -2]), "ids of the model"),
    (join([forced([1]), sampled(2)]), "rules 2..2, but there are 2"),
  ],
)
def test_bad_queues_are_refused(decoder, row, message):
  with pytest.raises(ValueError, match=message):
    run(decoder, [song(3), row], GREEDY)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"maximum": 5}, "multiple"),
    ({"maximum": 0}, "multiple"),
    ({"minimum": 14}, "minimum=14"),
    ({"cycle": (range(60, 60), range(80, 90))}, "allows no token"),
    ({"cycle": ()}, "allows no token"),
    ({"cycle": (range(60, 80, 2), range(80, 90))}, "follow each other"),
    ({"stop": 65}, "stop=65"),
    ({"stop": None}, "no effect"),
  ],
)
def test_bad_rules_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(PAIRS, **fields)


def test_rules_of_another_vocabulary_are_refused(decoder):
  rule = Rule(cycle=(range(190, 193),), maximum=3)
  with pytest.raises(ValueError, match=r"0\.\.191"):
    decode(
      decoder,
      [join([forced([1]), sampled(0)])],
      [rule],
      sampling=GREEDY,
      seeds=np.zeros((1, 1)),
    )


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_equals_generate_of_transformers(
  whole, decoder, tmp_path, penalty
):
  """Entry by entry as in the released inference, on exported weights."""
  row, rules = song(70), [PAIRS, TRIPLES]
  expected = by_transformers.greedily(
    by_transformers.exported(whole, tmp_path / "hf"),
    row,
    rules,
    penalty=penalty,
  )
  (got,) = decode(
    decoder,
    [row],
    rules,
    sampling=Sampling(temperature=0, repetition_penalty=penalty),
    seeds=np.zeros((1, 1)),
  )
  assert got.tokens.tolist() == expected
