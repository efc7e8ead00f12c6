"""Stage 1: every section, in passes, the same however a song is sung."""

import dataclasses
import functools
import operator

from flax import nnx
import jax
import numpy as np
import pytest

from tests import tiny
from yue_jax import codec, documents
from yue_jax.encoding import EncodedSection, EncodedSong, Phrases
from yue_jax.model import Decoder
from yue_jax.references import Reference
from yue_jax.sampling import decode, prompts, song
from yue_jax.sampling.logits import GREEDY, Sampling
from yue_jax.sampling.passes import Pass
from yue_jax.sampling.prompts import Prompt
from yue_jax.sampling.queues import SAMPLE
from yue_jax.sampling.song import Begun, SongSection, TrackSettings
from yue_jax.vocab import Stream

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
    yield tiny.layered(jax.jit(lambda: Decoder(CFG, rngs=nnx.Rngs(0)))())


def prompt(sections: int, reference=NONE) -> Prompt:
  texts = tuple(np.array([20, 21 + n], np.int32) for n in range(sections))
  return Prompt(np.array([1, 2, 3], np.int32), texts, reference)


def generate(decoder, prompts, settings=SETTINGS, seeds=None, **options):
  return song.generate_tracks(
    decoder,
    prompts,
    vocab=VOCAB,
    phrases=PHRASES,
    settings=settings,
    seeds=range(len(prompts)) if seeds is None else seeds,
    **options,
  )


def assert_same(sections, others):
  for a, b in zip(sections, others, strict=True):
    np.testing.assert_array_equal(np.stack(a), np.stack(b))


def row_of(given, *, part, known=()):
  return song.track_row(
    given,
    VOCAB,
    phrases=PHRASES,
    settings=SETTINGS,
    part=part,
    known=known,
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
  assert_same(together, alone)


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
  row = row_of(prompt(2, clip), part=Pass(0, 0, 2))
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


@pytest.mark.parametrize(
  ("part", "known", "tokens"),
  [
    (Pass(0, 0, 2), [], [5, 3, 11, 26, -1, 6, 5, 4, 11, 26, -1]),
    (
      Pass(0, 1, 2),
      [SongSection(np.array([0, 1]), np.array([2, 3]))],
      [5, 3, 11, 26, 32, 34, 33, 35, 12, 6, 5, 4, 11, 26, -1],
    ),
    (
      Pass(1, 1, 2),
      [SongSection(np.array([0, 1]), np.array([2, 3]))],
      [5, 4, 11, 26, -1],
    ),
  ],
)
def test_example_of_track_row(part, known, tokens):
  ids = tuple(np.array([n], np.int32) for n in (3, 4))
  row = song.track_row(
    Prompt(np.array([1, 2]), ids, NONE),
    dataclasses.replace(VOCAB, text_size=10),
    phrases=PHRASES,
    settings=SETTINGS,
    part=part,
    known=known,
  )
  assert row.tokens.tolist() == [1, 2, *tokens]
  guidance = [1.5, 1.2] if not known else [1.2]  # whatever it begins with
  np.testing.assert_array_equal(
    row.guidance[row.is_sampled], np.float32(guidance)
  )


@pytest.fixture(scope="module")
def long_song(decoder):
  """Twelve sections where nine of the longest kind fit."""
  (sections,) = generate(decoder, [prompt(12)], seeds=[3])
  return sections


def test_a_song_longer_than_the_context_is_sung_whole(long_song):
  assert len(long_song) == 12
  frames = sum(len(section.vocal) for section in long_song)
  # More than one pass: 7 ids of text and marks, and the sound, a section.
  assert 3 + 12 * 8 + 2 * frames > CFG.max_positions
  assert all(2 <= len(section.vocal) <= 5 for section in long_song)


def test_passes_of_a_long_song_do_not_depend_on_others(
  decoder, long_song, monkeypatch
):
  seeds = []

  def counted(*args, **options):
    seeds.append(options["seeds"].tolist())
    return decode.decode(*args, **options)

  monkeypatch.setattr(song, "decode", counted)
  long, short = generate(decoder, [prompt(12), prompt(2)], seeds=[3, 7])
  assert_same(long, long_song)
  # Draws of a pass are its own, and the short song is in the first alone.
  assert seeds[0] == [[3, 0], [7, 0]]
  assert all(len(rows) == 1 for rows in seeds[1:])
  assert len({tuple(rows[0]) for rows in seeds}) == len(seeds) > 1
  (alone,) = generate(decoder, [prompt(2)], seeds=[7])
  assert_same(short, alone)


@pytest.mark.parametrize("sung", [4, 9, 10])
def test_an_interrupted_song_goes_on_as_if_it_had_not_been(
  decoder, long_song, sung
):
  """Within the first pass, at its end, and within a later one."""
  begun = [Begun(sung=long_song[:sung])]
  (resumed,) = generate(decoder, [prompt(12)], seeds=[3], begun=begun)
  assert_same(resumed, long_song)


def test_given_sections_stay_and_others_follow_them(decoder):
  (one,) = generate(decoder, [prompt(3)], seeds=[3])
  begun = [Begun(given=one[:2]), Begun(given=one[1::-1])]
  songs = generate(decoder, [prompt(3)] * 2, seeds=[8, 8], begun=begun)
  for known, sections in zip(begun, songs, strict=True):
    assert_same(sections[:2], known.given)
    assert len(sections) == 3
  assert len(songs[0][2].vocal) != len(songs[1][2].vocal) or not (
    np.array_equal(np.stack(songs[0][2]), np.stack(songs[1][2]))
  )


def test_a_given_and_interrupted_song_goes_on_where_it_was(
  decoder, monkeypatch
):
  (one,) = generate(decoder, [prompt(2)], seeds=[3])
  seeds = []

  def counted(*args, **options):
    seeds.append(options["seeds"].tolist())
    return decode.decode(*args, **options)

  monkeypatch.setattr(song, "decode", counted)
  begun = Begun(given=one[:1])
  (whole,) = generate(decoder, [prompt(4)], seeds=[8], begun=[begun])
  begun = begun._replace(sung=whole[1:3])
  (resumed,) = generate(decoder, [prompt(4)], seeds=[8], begun=[begun])
  assert_same(resumed, whole)
  assert seeds == [[[8, 1]], [[8, 1]]]  # what follows the given section


def test_watching_sees_sections_as_they_end(decoder, monkeypatch):
  monkeypatch.setattr(decode, "_TURN", 8)
  seen = []
  songs = generate(
    decoder, [prompt(3), prompt(2)], watch=lambda *so_far: seen.append(so_far)
  )
  numbers = [sum(map(len, sections)) for sections, _ in seen]
  assert numbers == sorted(numbers)
  assert len(set(numbers)) > 3
  assert numbers[-1] == 5
  for sections, frames in seen:
    for so_far, whole, count in zip(sections, songs, frames, strict=True):
      assert_same(so_far, whole[: len(so_far)])
      sung = sum(len(section.vocal) for section in so_far)
      assert sung <= count <= sum(len(section.vocal) for section in whole)
  # Of unfinished sections as well.
  assert any(
    sum(frames) > sum(len(s.vocal) for song_ in sections for s in song_)
    for sections, frames in seen
  )


def test_a_section_that_could_outgrow_the_context_is_refused(decoder):
  """3 ids of the head, 6 around a section, and 2 x 75 + <EOA> drawn: 160."""
  for frames, remedy in (
    (75, None),
    (76, "2 tokens .* lower max_frames to 75$"),
  ):
    settings = dataclasses.replace(SETTINGS, max_frames=frames)
    if remedy is None:
      assert len(generate(decoder, [prompt(1)], settings)) == 1
    else:
      with pytest.raises(ValueError, match=f"song 0: section 1 .*{remedy}"):
        generate(decoder, [prompt(1)] * 2, settings)
  long = dataclasses.replace(prompt(1), reference=np.full(150, 63))
  with pytest.raises(ValueError, match=r"max_positions=160 .* shorten"):
    generate(decoder, [long])


def test_settings_name_what_is_wrong():
  with pytest.raises(ValueError, match="min_frames=6"):
    dataclasses.replace(SETTINGS, min_frames=6)


def test_greedy_needs_no_seed(decoder):
  greedy = dataclasses.replace(SETTINGS, sampling=GREEDY)
  a, b = generate(decoder, [prompt(2)] * 2, greedy, seeds=[1, 2])
  np.testing.assert_array_equal(np.hstack(a), np.hstack(b))
