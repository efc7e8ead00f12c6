"""Songs from prompts: every section, own ranges, windows that cover tracks."""

import dataclasses
import functools
import operator

from flax import nnx
import jax
import numpy as np
import pytest

from tests import tiny
from yue_jax import codec, documents
from yue_jax.encoding import (
  EncodedSection,
  EncodedSong,
  Phrases,
  encode_song,
)
from yue_jax.model import Decoder
from yue_jax.references import Reference
from yue_jax.sampling import decode, prompts, song
from yue_jax.sampling.logits import GREEDY, Sampling
from yue_jax.sampling.prompts import Prompt
from yue_jax.sampling.queues import SAMPLE
from yue_jax.sampling.song import TrackSettings
from yue_jax.songs import Section, Song
from yue_jax.tokenizer import train_tokenizer
from yue_jax.vocab import MAX_CODEBOOKS, Stream, Vocab

VOCAB = tiny.VOCAB
CFG = dataclasses.replace(tiny.MODEL, max_positions=160, init_std=0.3)
PHRASES = Phrases((5,), (6,), (7,), (8,), (1,), (2,))
SETTINGS = TrackSettings(
  sampling=Sampling(temperature=2.0, top_k=0), min_frames=2, max_frames=5
)
NONE = np.zeros(0, np.int32)


@pytest.fixture(scope="module")
def decoder():
  with jax.set_mesh(tiny.mesh(tiny.MESHES["one"])):
    yield jax.jit(lambda: Decoder(CFG, rngs=nnx.Rngs(0)))()


def prompt(sections: int, reference=NONE) -> Prompt:
  texts = tuple(np.array([20, 21 + n], np.int32) for n in range(sections))
  return Prompt(np.array([1, 2, 3], np.int32), texts, reference)


def generate(decoder, prompts, settings=SETTINGS, seeds=None):
  return song.generate_tracks(
    decoder,
    prompts,
    vocab=VOCAB,
    phrases=PHRASES,
    settings=settings,
    seeds=range(len(prompts)) if seeds is None else seeds,
  )


def test_every_section_is_generated_the_last_included(decoder):
  songs = generate(decoder, [prompt(1), prompt(3), prompt(2)])
  assert [len(sections) for sections in songs] == [1, 3, 2]
  for section in functools.reduce(operator.iadd, songs, []):
    assert section.vocal.shape == section.backing.shape
    assert 2 <= len(section.vocal) <= 5
    codec.check_codes(np.stack(section), VOCAB)


@pytest.mark.parametrize("guidance", [(1.5, 1.2), (1.2, 1.5), (3.0, 0.5)])
def test_sections_end_when_they_must(decoder, guidance):
  """Found by this: a compiled draw that kept no token at all."""
  first, later = guidance
  settings = dataclasses.replace(
    SETTINGS, first_guidance=first, later_guidance=later
  )
  for seed in range(0, 24, 2):
    songs = generate(
      decoder, [prompt(3), prompt(2)], settings, seeds=[seed + 1, seed + 7]
    )
    lengths = [len(section.vocal) for song_ in songs for section in song_]
    assert all(2 <= length <= 5 for length in lengths)


def test_shortest_and_longest_section_are_the_settings(decoder):
  exact = dataclasses.replace(SETTINGS, min_frames=4, max_frames=4)
  (sections,) = generate(decoder, [prompt(3)], exact)
  assert [len(section.vocal) for section in sections] == [4, 4, 4]


def test_a_song_does_not_depend_on_the_others(decoder):
  (_, together) = generate(decoder, [prompt(3), prompt(2)], seeds=[1, 7])
  (alone,) = generate(decoder, [prompt(2)], seeds=[7])
  for a, b in zip(together, alone, strict=True):
    np.testing.assert_array_equal(np.stack(a), np.stack(b))


def a_song(frames: int) -> EncodedSong:
  """Two sections of so many frames, of the text that `prompt` has."""
  rng = np.random.default_rng(0)
  sections = tuple(
    EncodedSection(text, NONE, n * frames, (n + 1) * frames, chorus=False)
    for n, text in enumerate(prompt(2).sections)
  )
  tracks = {
    name: rng.integers(0, 16, 2 * frames).astype(np.uint16)
    for name in ("vocal", "backing", "mixture")
  }
  return EncodedSong("a", prompt(2).head, (), sections, tracks)


@pytest.mark.parametrize("mode", [None, "dual", "vocal", "mixture"])
def test_the_queue_of_a_song_is_its_training_document(mode):
  """With the sound where SAMPLE is, up to the end of the last section."""
  encoded = a_song(4)
  if mode is None:
    document, clip = documents.cot(encoded, VOCAB, phrases=PHRASES), NONE
  else:
    reference = Reference(mode, 2, 3)
    document = documents.icl(
      encoded, VOCAB, phrases=PHRASES, reference=reference
    )
    clip = document.ids[document.streams == Stream.REFERENCE]
  row = song.track_row(
    prompt(2, clip), VOCAB, phrases=PHRASES, settings=SETTINGS
  )
  is_sound = np.isin(document.streams, [Stream.VOCAL, Stream.BACKING])
  is_first = is_sound & ~np.roll(is_sound, 1)
  is_after = ~is_sound & np.roll(is_sound, 1)  # <EOA>, drawn with the sound
  expected = np.where(is_first, SAMPLE, document.ids)
  expected = expected[is_first | ~(is_sound | is_after)]
  n = len(row.tokens)
  np.testing.assert_array_equal(row.tokens, expected[:n])
  np.testing.assert_array_equal(expected[n:], [*PHRASES.segment_end, VOCAB.eod])
  np.testing.assert_array_equal(
    row.guidance[row.tokens == SAMPLE], np.float32([1.5, 1.2])
  )


def test_references_are_laid_out_as_in_training():
  encoded = a_song(4)
  vocal, backing = (
    encoded.tracks[track][None, 2:5] for track in ("vocal", "backing")
  )
  for mode, ids in {
    "dual": prompts.dual_reference(vocal, backing, VOCAB),
    "vocal": prompts.single_reference(vocal, VOCAB),
  }.items():
    document = documents.icl(
      encoded, VOCAB, phrases=PHRASES, reference=Reference(mode, 2, 3)
    )
    np.testing.assert_array_equal(
      ids, document.ids[document.streams == Stream.REFERENCE]
    )


def test_example_of_track_row():
  ids = tuple(np.array([n], np.int32) for n in (3, 4))
  row = song.track_row(
    Prompt(np.array([1, 2]), ids, NONE),
    dataclasses.replace(VOCAB, text_size=10),
    phrases=PHRASES,
    settings=SETTINGS,
  )
  s = SAMPLE
  assert row.tokens.tolist() == [1, 2, 5, 3, 11, 26, s, 6, 5, 4, 11, 26, s]


@pytest.mark.parametrize(
  ("frames", "window", "starts"),
  [(25, 10, [0, 10, 15]), (20, 10, [0, 10]), (3, 10, [0]), (10, 10, [0])],
)
def test_windows_cover_the_track(frames, window, starts):
  assert song.window_starts(frames, window) == starts


def test_the_queue_of_a_window_is_its_training_document():
  codes = np.random.default_rng(0).integers(0, 16, (MAX_CODEBOOKS, 5))
  document = documents.window_document(codes, VOCAB, stream=Stream.VOCAL)
  row = song.window_row(codes[0], VOCAB, window=5)
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
  results = song.generate_codebooks(
    decoder,
    tracks,
    vocab=VOCAB,
    window=10,
    sampling=wild,
    seeds=[(0, n) for n in range(4)],
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
  whole, start, end = song.generate_codebooks(
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
  """Seven windows, three at most at a time: 3 + 3 + 1, of one shape."""
  tracks, sizes = tracks_of(25, 20, 13), []

  def counted(decoder, rows, *args, **options):
    sizes.append(len(rows))
    return decode.decode(decoder, rows, *args, **options)

  monkeypatch.setattr(song, "decode", counted)
  wild = Sampling(temperature=2.0, top_k=0)
  results = [
    song.generate_codebooks(
      decoder,
      tracks,
      vocab=VOCAB,
      window=10,
      seeds=[(0, n) for n in range(3)],
      sampling=wild,
      windows_at_once=at_once,
    )
    for at_once in (64, 3)
  ]
  assert sizes == [7, 3, 3, 3]
  for one, other in zip(*results, strict=True):
    np.testing.assert_array_equal(one, other)


def test_a_short_track_is_a_window_of_its_repeated_last_frame(decoder):
  (track,) = tracks_of(4)
  padded = np.concatenate([track, [track[-1]] * 6])
  short, long = song.generate_codebooks(
    decoder, [track, padded], vocab=VOCAB, window=10, seeds=[(0,), (0,)]
  )
  np.testing.assert_array_equal(short, long[:, :4])


def test_residuals_are_the_likeliest_given_all_before(decoder):
  """Greedy windows against one pass over the finished document."""
  (track,) = tracks_of(6)
  (codes,) = song.generate_codebooks(
    decoder, [track], vocab=VOCAB, window=6, seeds=[(0,)]
  )
  document = documents.window_document(codes, VOCAB, stream=Stream.VOCAL)
  at = np.arange(len(document), dtype=np.int32)[None]
  logits = np.asarray(
    jax.jit(Decoder.__call__)(decoder, document.ids[None], 1 + 0 * at, at)
  )[0]
  for k in range(1, MAX_CODEBOOKS):
    ids = VOCAB.codebook(k)
    before = np.flatnonzero(document.streams == Stream.CODEBOOK_0 + k) - 1
    likeliest = logits[before][:, ids.start : ids.stop].argmax(axis=1)
    np.testing.assert_array_equal(codes[k], likeliest)


def test_a_song_that_could_outgrow_the_context_is_refused(decoder):
  """Two sections: 14 ids are given, and 2 x (2 x 36 + 1) may be drawn."""
  for frames, remedy in ((36, None), (37, "lower max_frames to 36$")):
    settings = dataclasses.replace(SETTINGS, max_frames=frames)
    if remedy is None:
      assert len(generate(decoder, [prompt(2)], settings)) == 1
    else:
      with pytest.raises(ValueError, match=f"max_positions=160; {remedy}"):
        generate(decoder, [prompt(2)], settings)
  with pytest.raises(ValueError, match=r"max_positions=160; .* shorten"):
    generate(decoder, [prompt(30)])


def test_example_of_frames_that_fit():
  row = song.track_row(prompt(2), VOCAB, phrases=PHRASES, settings=SETTINGS)
  assert song.frames_that_fit(row, 160) == 36


def test_a_track_without_frames_is_refused(decoder):
  with pytest.raises(ValueError, match="without frames"):
    song.generate_codebooks(decoder, [NONE], vocab=VOCAB, seeds=[(0,)])


def test_settings_name_what_is_wrong():
  with pytest.raises(ValueError, match="min_frames=6"):
    dataclasses.replace(SETTINGS, min_frames=6)


def test_greedy_needs_no_seed(decoder):
  greedy = dataclasses.replace(SETTINGS, sampling=GREEDY)
  a, b = generate(decoder, [prompt(2)] * 2, greedy, seeds=[1, 2])
  np.testing.assert_array_equal(np.hstack(a), np.hstack(b))


LYRICS = """
[verse 1]
batoki meda
 suno

[pre-chorus] meda
[outro]
"""


def test_lyrics_are_split_at_labels():
  assert prompts.split_lyrics(LYRICS) == (
    "[verse 1]\nbatoki meda\n suno\n\n",
    "[pre-chorus]\nmeda\n\n",
    "[outro]\n\n\n",
  )


def test_brackets_inside_a_line_are_lyrics():
  text = "[verse]\nsing [softly] on\n"
  assert prompts.split_lyrics(text) == ("[verse]\nsing [softly] on\n\n",)


def test_released_example_is_read_whole(reference):
  sections = prompts.split_lyrics((reference / "lyrics.txt").read_text())
  labels = [text.split("\n")[0] for text in sections]
  assert labels[:3] == ["[verse]", "[chorus]", "[verse]"]
  assert labels[-1] == "[outro]"
  assert len(labels) == 6


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "lyrics are empty"),
    ("\n \n", "lyrics are empty"),
    ("\nla la\n[verse]\n", "line 2 .*'la la'.* before any section"),
    ("[verse]\nla\n[ ]\n", "line 3 .* without a name"),
  ],
)
def test_bad_lyrics_are_refused(text, message):
  with pytest.raises(ValueError, match=message):
    prompts.split_lyrics(text)


def test_bad_prompts_are_refused(tmp_path):
  made_of = {
    "tokenizer": train_tokenizer(["la la"], tmp_path / "t.model", size=280),
    "vocab": VOCAB,
  }
  with pytest.raises(ValueError, match="tags are empty"):
    prompts.encode_prompt(" \n", ["[verse]\nla\n\n"], **made_of)
  with pytest.raises(ValueError, match="at least one section"):
    prompts.encode_prompt("pop", [], **made_of)


def test_prompts_are_encoded_as_songs_are(tmp_path):
  """Head and section texts equal those of `encode_song` on the same lyrics."""
  texts = prompts.split_lyrics(LYRICS)
  tokenizer = train_tokenizer([*texts, "pop"], tmp_path / "t.model", size=300)
  vocab = Vocab.small(tokenizer.size, codes=16)
  codes = np.zeros((1, 9), np.uint16)
  sections = tuple(Section("verse", text, 0, 3) for text in texts)
  lyrics = "\n".join(texts)
  trained_on = encode_song(
    Song("a", "pop", lyrics, sections, codes, codes, codes, fps=50.0),
    tokenizer,
    vocab=vocab,
  )
  got = prompts.encode_prompt("pop\n", texts, tokenizer=tokenizer, vocab=vocab)
  np.testing.assert_array_equal(got.head, trained_on.head)
  for ids, section in zip(got.sections, trained_on.sections, strict=True):
    np.testing.assert_array_equal(ids, section.text)


def test_bad_references_are_refused():
  with pytest.raises(ValueError, match="trim both"):
    prompts.dual_reference(np.zeros((1, 3), int), np.zeros((1, 4), int), VOCAB)
  with pytest.raises(ValueError, match="at least one frame"):
    prompts.single_reference(np.zeros((1, 0), int), VOCAB)
  with pytest.raises(ValueError, match=r"codes span 0\.\.16"):
    prompts.single_reference(np.array([[0, 16]]), VOCAB)
