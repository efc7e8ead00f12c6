"""Streams found from ids alone are those that documents are built with."""

import numpy as np
import pytest

from yue_jax import documents
from yue_jax.encoding import (
  RELEASED_PHRASES,
  EncodedSection,
  EncodedSong,
  Phrases,
)
from yue_jax.references import MODE_TRACKS, MODES, Reference
from yue_jax.streams import annotate
from yue_jax.tokenizer import Tokenizer
from yue_jax.tokens import Document
from yue_jax.vocab import RELEASED, Stream, Vocab

SMALL = Vocab.small(40, codes=16, codebooks=8)
# One and several ids, some of which stand in texts as well.
PHRASES = [
  Phrases((30,), (31,), (32,), (33,), (34,), (35,)),
  Phrases((1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7)),
  RELEASED_PHRASES,
]


def random_song(rng, *, phrases, vocab, specials=True) -> EncodedSong:
  """Texts have no phrase but, in the head, pieces of one and specials."""
  sizes = rng.integers(1, 30, rng.integers(1, 5))
  ends = np.cumsum(sizes)

  def text(least=0):
    return rng.integers(8, 30, rng.integers(least, 9)).astype(np.int32)

  head = [text(1), np.array(phrases.segment_start[:-1], np.int32), text()]
  if specials:  # as when tags name them
    head.append(np.array([vocab.soa, vocab.xcodec, vocab.eod], np.int32))
  rng.shuffle(head)
  return EncodedSong(
    id="a",
    head=np.concatenate(head),
    tags=tuple(text(1) for _ in range(3)),
    sections=tuple(
      EncodedSection(text(), text(1), int(end - size), int(end), False)
      for size, end in zip(sizes, ends, strict=True)
    ),
    tracks={
      name: rng.integers(0, vocab.codes(), ends[-1]).astype(np.uint16)
      for name in ("vocal", "backing", "mixture")
    },
  )


def reference(rng, song, mode) -> Reference:
  frames = len(song.tracks["vocal"])
  start = int(rng.integers(0, frames))
  return Reference(mode, start, int(rng.integers(1, frames - start + 1)))


def assert_found(document, *, vocab, phrases, audio):
  found = annotate(document.ids, vocab=vocab, phrases=phrases, audio=audio)
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found, document.streams)


def build(kind, song, *, vocab, phrases, rng) -> tuple[Document, str]:
  """A document of a kind, and what sounds in it."""
  if kind == "plain":
    return documents.plain(song, vocab), "dual"
  if kind == "cot":
    return documents.cot(song, vocab, phrases=phrases), "dual"
  if kind == "cot_mixture":
    tracks = ("mixture",)
    document = documents.cot(song, vocab, phrases=phrases, tracks=tracks)
    return document, "mixture"
  if kind == "prefix":
    return documents.prefix(song, vocab), "dual"
  if kind == "speech":
    song = song._replace(sections=song.sections[:1])
    return documents.speech(song, vocab, instructed=True), "mixture"
  if kind.startswith("icl_"):
    clip = reference(rng, song, kind.removeprefix("icl_"))
    built = documents.icl(song, vocab, phrases=phrases, reference=clip)
    return built, "dual"
  how, audio = kind.split("_")
  tracks = MODE_TRACKS[audio]
  if how == "all":
    return documents.unconditional(song, vocab, tracks=tracks), audio
  phrase, order = phrases.tags_dual, rng.permutation(3).tolist()
  built = documents.tagged(
    song, vocab, phrase=phrase, order=order, tracks=tracks
  )
  return built, audio


KINDS = ("plain", "cot", "cot_mixture", "prefix", "speech")
KINDS += tuple(f"{how}_{m}" for how in ("icl", "all", "tags") for m in MODES)


@pytest.mark.parametrize("phrases", PHRASES, ids=["one", "two", "released"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(10))
def test_songs(seed, kind, phrases):
  vocab = RELEASED if phrases is RELEASED_PHRASES else SMALL
  rng = np.random.default_rng(seed)
  song = random_song(rng, phrases=phrases, vocab=vocab)
  document, audio = build(kind, song, vocab=vocab, phrases=phrases, rng=rng)
  assert_found(document, vocab=vocab, phrases=phrases, audio=audio)


def test_some_sections_of_a_song():
  """Songs that are divided by section: only the last part has an EOD."""
  rng = np.random.default_rng(3)
  song = random_song(rng, phrases=PHRASES[0], vocab=SMALL)
  assert len(song.sections) > 2
  for sections in ((0, 1), (1, 3)):
    document = documents.cot(song, SMALL, phrases=PHRASES[0], sections=sections)
    assert_found(document, vocab=SMALL, phrases=PHRASES[0], audio="dual")


@pytest.mark.parametrize("seed", range(5))
def test_windows(seed):
  rng = np.random.default_rng(seed)
  codes = rng.integers(0, 16, (8, 65))
  for build in (documents.windows, documents.windows_teacher_forcing):
    document = build(codes, SMALL, stream=Stream.MIXTURE, window=10)
    assert len(document) > 1
    assert_found(document, vocab=SMALL, phrases=PHRASES[0], audio="window")


def test_example():
  phrases = Phrases((5,), (6,), (7,), (8,), (9,), (9,))
  vocab = Vocab.small(10, codes=4)
  ids = np.array([1, 2, 5, 3, 11, 26, 32, 35, 33, 34, 12, 6, 10])
  found = annotate(ids, vocab=vocab, phrases=phrases, audio="dual")
  assert " ".join(Stream(s).name for s in found) == (
    "TEXT TEXT MARK RESTATED MARK MARK VOCAL BACKING VOCAL BACKING MARK MARK"
    " MARK"
  )


@pytest.mark.parametrize("track", ["mixture", "vocal", "backing"])
def test_single_tracks(track):
  ids = np.array([SMALL.soa, SMALL.xcodec, 62, 63, 64, SMALL.eoa, SMALL.eod])
  found = annotate(ids, vocab=SMALL, phrases=PHRASES[0], audio=track)
  assert found.tolist() == [2, 2, *[Stream[track.upper()]] * 3, 2, 2]


def test_a_section_that_quotes_the_phrase():
  """Later sections begin where the one before ends, whatever they say."""
  rng = np.random.default_rng(0)
  phrases = PHRASES[0]
  song = random_song(rng, phrases=phrases, vocab=SMALL)
  first = song.sections[0]
  quoting = first._replace(text=np.array([9, 30, 9], np.int32))
  head = np.array([9, 30, 9], np.int32)
  song = song._replace(head=head, sections=(first, quoting, quoting))
  document = documents.cot(song, SMALL, phrases=phrases)
  assert_found(document, vocab=SMALL, phrases=phrases, audio="dual")
  # In an in-context document even the first, since it follows the clip.
  song = song._replace(sections=(quoting, first))
  clip = Reference("mixture", 0, 1)
  document = documents.icl(song, SMALL, phrases=phrases, reference=clip)
  assert_found(document, vocab=SMALL, phrases=phrases, audio="dual")


def test_sound_that_only_tags_speak_of():
  ids = [SMALL.soa, SMALL.xcodec, 9, 30, 9, 30, 8, SMALL.soa, SMALL.xcodec]
  ids += [62, 63, SMALL.eoa, 31, SMALL.eod]
  found = annotate(np.array(ids), vocab=SMALL, phrases=PHRASES[0], audio="dual")
  assert found.tolist() == [2, 2, 1, 1, 1, 2, 15, 2, 2, 4, 5, 2, 2, 2]


def test_an_empty_clip_is_marked():
  """As in a released document whose reference went wrong."""
  ids = [9, 32, SMALL.soa, SMALL.xcodec, SMALL.eoa, 33, 30, 8, 9]
  ids += [SMALL.soa, SMALL.xcodec, 62, 63, SMALL.eoa, 31, SMALL.eod]
  found = annotate(np.array(ids), vocab=SMALL, phrases=PHRASES[0], audio="dual")
  assert found.tolist() == [1, 2, 2, 2, 2, 2, 2, 15, 15, 2, 2, 4, 5, 2, 2, 2]


@pytest.mark.parametrize(
  "ids, audio, message",
  [
    ([1, -1], "dual", "token 1: id -1 is not in the vocabulary"),
    ([1, SMALL.size], "dual", f"token 1: id {SMALL.size} is not in the"),
    ([1, 1, 62 + 16], "dual", "token 2: id 78 is in the vocabulary"),
    ([11, 62, 63, 64], "dual", "token 1: 3 codec tokens in a row"),
    ([62], "window", "0 <stage_1> and 0 <stage_2>"),
    ([53, 62, 53, 57, 57], "window", "expected them in turn"),
    ([53, 62, 78, 57], "window", "more than codebook 0"),
    ([1], "stereo", "audio='stereo', expected one of"),
  ],
)
def test_ids_without_a_place(ids, audio, message):
  assert (SMALL.stage_1, SMALL.stage_2) == (53, 57)
  with pytest.raises(ValueError, match=message):
    annotate(np.array(ids), vocab=SMALL, phrases=PHRASES[0], audio=audio)


def test_released_phrases_are_those_of_the_released_tokenizer(reference):
  tokenizer = Tokenizer(reference / "tokenizer.model")
  assert Phrases.encode(tokenizer) == RELEASED_PHRASES
