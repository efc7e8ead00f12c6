"""Lengths from counts are those of the documents that are built."""

import numpy as np
import pytest

from tests.test_documents import PHRASES, SMALL, random_song
from yue_jax import documents, lengths
from yue_jax.references import MODE_TRACKS, Reference
from yue_jax.vocab import RELEASED, Stream


@pytest.fixture(scope="module")
def songs():
  rng = np.random.default_rng(1)
  return [random_song(rng, number) for number in range(50)]


def total(song, name):
  return sum(len(getattr(section, name)) for section in song.sections)


def sung(song):
  return sum(section.end - section.start for section in song.sections)


def test_plain_and_its_example(songs):
  assert lengths.plain(plain_text=2, frames=2, sections=1) == 10
  for song in songs:
    assert len(documents.plain(song, SMALL)) == lengths.plain(
      plain_text=total(song, "plain_text"),
      frames=sung(song),
      sections=len(song.sections),
    )


@pytest.mark.parametrize("tracks", [documents.DUAL, ("mixture",)])
def test_cot_and_clips(songs, tracks):
  for song in songs:
    length = lengths.cot(
      head=len(song.head),
      text=total(song, "text"),
      frames=sung(song),
      sections=len(song.sections),
      phrases=PHRASES,
      tracks=len(tracks),
    )
    built = documents.cot(song, SMALL, phrases=PHRASES, tracks=tracks)
    assert len(built) == length
    if len(tracks) == 1:
      continue
    for mode, heard in MODE_TRACKS.items():
      clip = song.sections[0].end
      with_clip = documents.icl(
        song, SMALL, phrases=PHRASES, reference=Reference(mode, 0, clip)
      )
      extra = lengths.reference(clip, tracks=len(heard), phrases=PHRASES)
      assert len(with_clip) == length + extra


def test_the_others(songs):
  for song in songs:
    span = song.sections[-1].end - song.sections[0].start
    prefix = documents.prefix(song, SMALL)
    assert len(prefix) == lengths.prefix(head=len(song.head), span=span)
    frames = len(song.tracks["vocal"])
    for tracks in (documents.DUAL, ("vocal",)):
      alone = documents.unconditional(song, SMALL, tracks=tracks)
      count = len(tracks)
      assert len(alone) == lengths.unconditional(frames=frames, tracks=count)
      tagged = documents.tagged(
        song, SMALL, phrase=(9, 9), order=[1, 0, 2], tracks=tracks
      )
      assert len(tagged) == lengths.tagged(
        tags=sum(map(len, song.tags)), frames=frames, tracks=count, phrase=2
      )
    if len(song.sections) == 1:
      text = total(song, "text")
      speech = documents.speech(song, SMALL, instructed=False)
      assert len(speech) == lengths.speech(text=text, frames=frames)


@pytest.mark.parametrize(("codebooks", "window"), [(8, 25), (2, 7), (8, 300)])
def test_window(codebooks, window):
  track = np.zeros((codebooks, window), np.uint16)
  document = documents.window_document(track, RELEASED, stream=Stream.VOCAL)
  assert len(document) == lengths.window(window, codebooks=codebooks)
  assert lengths.window(300) == 2704
