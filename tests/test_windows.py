"""Stage 2: windows that cover tracks, own ranges, all at once."""

import dataclasses

from flax import nnx
import jax
import numpy as np
import pytest

from tests import by_transformers, tiny
from yue_jax import codec, documents
from yue_jax.model import Decoder
from yue_jax.sampling import decode, windows
from yue_jax.sampling.logits import GREEDY, Sampling
from yue_jax.sampling.queues import SAMPLE, Rule
from yue_jax.sampling.windows import generate_codebooks
from yue_jax.vocab import MAX_CODEBOOKS, RELEASED, Stream

VOCAB = tiny.VOCAB
CFG = dataclasses.replace(tiny.MODEL, max_positions=160, init_std=0.3)
NONE = np.zeros(0, np.int32)


@pytest.fixture(scope="module")
def whole():
  with jax.set_mesh(tiny.mesh(tiny.MESHES["one"])):
    yield jax.jit(lambda: Decoder(CFG, rngs=nnx.Rngs(0)))()


@pytest.fixture(scope="module")
def decoder(whole):
  return tiny.layered(whole)


@pytest.mark.parametrize(
  ("frames", "window", "starts"),
  [(25, 10, [0, 10, 15]), (20, 10, [0, 10]), (3, 10, [0]), (10, 10, [0])],
)
def test_windows_cover_the_track(frames, window, starts):
  assert windows.window_starts(frames, window) == starts


def test_the_queue_of_a_window_is_its_training_document():
  codes = np.random.default_rng(0).integers(0, 16, (MAX_CODEBOOKS, 5))
  document = documents.window_document(codes, VOCAB, stream=Stream.VOCAL)
  row = windows.window_row(codes[0], VOCAB, window=5)
  residual = document.streams > Stream.CODEBOOK_0
  expected = np.where(residual, SAMPLE, document.ids)
  kept = ~residual | (document.streams == Stream.CODEBOOK_1)  # one per frame
  np.testing.assert_array_equal(row.tokens, expected[kept][:-1])  # no <EOA>


def tracks_of(*lengths) -> list[np.ndarray]:
  rng = np.random.default_rng(1)
  return [rng.integers(0, 16, n).astype(np.uint16) for n in lengths]


def test_codebook_0_is_kept_and_others_are_in_range(decoder):
  tracks = tracks_of(25, 20, 3, 10)
  wild = Sampling(temperature=5.0, top_k=0, top_p=1.0, repetition_penalty=1.0)
  results = list(
    generate_codebooks(
      decoder,
      tracks,
      vocab=VOCAB,
      window=10,
      sampling=wild,
      seeds=[(0, n) for n in range(4)],
    )
  )
  for codes, result in zip(tracks, results, strict=True):
    assert result.dtype == np.uint16
    assert result.shape == (MAX_CODEBOOKS, len(codes))
    np.testing.assert_array_equal(result[0], codes)
    codec.check_codes(result, VOCAB)
  # Nothing was left unwritten.
  assert all((row > 0).any() for row in results[0])
  assert (results[0][:, 20:] > 0).any()


def test_the_rest_is_taken_from_a_whole_window(decoder):
  (track,) = tracks_of(13)
  whole, start, end = generate_codebooks(
    decoder,
    [track, track[:10], track[3:]],
    vocab=VOCAB,
    window=10,
    seeds=[(0,)] * 3,
  )
  np.testing.assert_array_equal(whole[:, :10], start)
  np.testing.assert_array_equal(whole[:, 10:], end[:, 7:])
  assert (start[:, 3:] != end[:, :7]).any()  # their overlap tells them apart


def test_few_windows_at_a_time_give_the_same(decoder, monkeypatch):
  """Seven windows, three at most at a time: 3 + 3 + 1, of one shape.

  Tracks come as soon as they are whole: windows 0-2, 3-4 and 5-6.
  """
  tracks, sizes = tracks_of(25, 20, 13), []

  def counted(decoder, rows, *args, **options):
    sizes.append(len(rows))
    return decode.decode(decoder, rows, *args, **options)

  monkeypatch.setattr(windows, "decode", counted)
  results, decoded = [], []
  for at_once in (64, 3):
    sizes.clear()
    for codes in generate_codebooks(
      decoder,
      tracks,
      vocab=VOCAB,
      window=10,
      seeds=[(0, n) for n in range(3)],
      sampling=Sampling(temperature=2.0, top_k=0),
      windows_at_once=at_once,
    ):
      results.append(codes)
      decoded.append(list(sizes))
  assert decoded == [[7]] * 3 + [[3], [3, 3], [3, 3, 3]]
  for one, other in zip(results[:3], results[3:], strict=True):
    np.testing.assert_array_equal(one, other)


def test_a_short_track_is_a_window_of_its_repeated_last_frame(decoder):
  (track,) = tracks_of(4)
  padded = np.concatenate([track, [track[-1]] * 6])
  short, long = generate_codebooks(
    decoder, [track, padded], vocab=VOCAB, window=10, seeds=[(0,), (0,)]
  )
  np.testing.assert_array_equal(short, long[:, :4])


def test_residuals_are_the_likeliest_given_all_before(whole, decoder):
  """Greedy windows against one pass over the finished document."""
  (track,) = tracks_of(6)
  (codes,) = generate_codebooks(
    decoder, [track], vocab=VOCAB, window=6, seeds=[(0,)]
  )
  document = documents.window_document(codes, VOCAB, stream=Stream.VOCAL)
  at = np.arange(len(document), dtype=np.int32)[None]
  logits = np.asarray(
    jax.jit(Decoder.__call__)(whole, document.ids[None], 1 + 0 * at, at)
  )[0]
  for k in range(1, MAX_CODEBOOKS):
    ids = VOCAB.codebook(k)
    before = np.flatnonzero(document.streams == Stream.CODEBOOK_0 + k) - 1
    likeliest = logits[before][:, ids.start : ids.stop].argmax(axis=1)
    np.testing.assert_array_equal(codes[k], likeliest)


def test_a_track_without_frames_is_refused(decoder):
  with pytest.raises(ValueError, match="without frames"):
    generate_codebooks(decoder, [NONE], vocab=VOCAB, seeds=[(0,)])


def test_example_of_released_ranges():
  own = windows.own_ranges(RELEASED, 8)
  assert own[0] == range(46_358, 47_382)
  assert own[-1] == range(52_502, 53_526)
  assert windows.released_ranges(RELEASED, 8) == (range(46_358, 53_526),) * 7


def test_released_residuals_are_the_likeliest_of_all_and_mended(whole, decoder):
  """The loop's tokens against one pass over them, the codes against both."""
  (track,) = tracks_of(6)
  ranges = windows.released_ranges(VOCAB, MAX_CODEBOOKS)
  (decoded,) = decode.decode(
    decoder,
    [windows.window_row(track, VOCAB, window=6)],
    [Rule(cycle=ranges, maximum=MAX_CODEBOOKS - 1)],
    sampling=GREEDY,
    seeds=np.array([[0]]),
  )
  ids = decoded.tokens[-6 * MAX_CODEBOOKS :].reshape(6, MAX_CODEBOOKS).T
  at = np.arange(len(decoded.tokens), dtype=np.int32)[None]
  logits = np.asarray(
    jax.jit(Decoder.__call__)(whole, decoded.tokens[None], 1 + 0 * at, at)
  )[0, -6 * MAX_CODEBOOKS - 1 : -1]
  wide = ranges[0]
  likeliest = wide.start + logits[:, wide.start : wide.stop].argmax(axis=1)
  likeliest = likeliest.reshape(6, MAX_CODEBOOKS).T
  np.testing.assert_array_equal(ids[1:], likeliest[1:])
  # Of its own range alone, the model would have chosen others.
  own = [VOCAB.codebook(k) for k in range(1, MAX_CODEBOOKS)]
  assert any(
    token not in ids_of
    for row, ids_of in zip(ids[1:], own, strict=True)
    for token in row
  )


@pytest.mark.parametrize(
  "ranges", [windows.own_ranges, windows.released_ranges]
)
def test_windows_equal_the_released_algorithm(whole, decoder, tmp_path, ranges):
  """Frame by frame in PyTorch, reading all before anew each time."""
  rows = [
    windows.window_row(track, VOCAB, window=6) for track in tracks_of(6, 6)
  ]
  rule = windows.frame_rule(ranges(VOCAB, MAX_CODEBOOKS))
  model = by_transformers.exported(whole, tmp_path / "hf")
  decoded = decode.decode(
    decoder, rows, [rule], sampling=GREEDY, seeds=np.zeros((2, 1))
  )
  for row, result in zip(rows, decoded, strict=True):
    expected = by_transformers.greedily(model, row, [rule])
    assert result.tokens.tolist() == expected


def test_codes_outside_their_range_become_the_most_frequent(decoder):
  (track,), seen = tracks_of(13), []
  options = {
    "vocab": VOCAB,
    "window": 10,
    "seeds": [(0,)],
    "sampling": Sampling(temperature=9.0, top_k=0, repetition_penalty=1.0),
  }
  (codes,) = generate_codebooks(
    decoder,
    [track],
    ranges=windows.released_ranges(VOCAB, MAX_CODEBOOKS),
    watch=lambda *so_far: seen.append(so_far),
    **options,
  )
  codec.check_codes(codes, VOCAB)
  np.testing.assert_array_equal(codes[0], track)
  # Most draws of a wild model lie outside: one code has most of its row.
  for row in codes[1:]:
    assert np.bincount(row).max() > len(row) // 2
  (own,) = generate_codebooks(decoder, [track], **options)
  assert all(np.bincount(row).max() <= len(row) // 2 for row in own[1:])
  assert seen[-1] == (20, 20)  # frames of two windows


def test_example_of_mending():
  first = [VOCAB.codebook(k).start for k in range(2)]
  ids = np.array([[0, 1, 1, 0], [2, 2, 5, 0]]) + np.array(first)[:, None]
  ids[1, 3] = first[0]
  mended = windows._in_range(ids, VOCAB)
  assert (mended - np.array(first)[:, None]).tolist() == [
    [0, 1, 1, 0],
    [2, 2, 5, 2],
  ]
  ids[1] = first[0]
  with pytest.raises(ValueError, match=r"codebook 1 .* stage-2 model"):
    windows._in_range(ids, VOCAB)


def test_a_model_of_stage_1_is_told_by_what_it_says_next(decoder):
  """One whose unembedding says codebook 0 whatever comes before."""
  windows.check_stage_2(decoder, VOCAB, window=6)
  louder = np.ones((CFG.vocab_size, 1), np.float32)
  louder[np.array(VOCAB.codebook(0))] = 99
  other = dataclasses.replace(decoder, unembed=decoder.unembed * louder)
  with pytest.raises(ValueError, match="a checkpoint of stage 1"):
    windows.check_stage_2(other, VOCAB, window=6)
