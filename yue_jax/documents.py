"""Documents: token ids, and the stream of every token.

with lyrics
  plain    { instruction and section text, audio } of every section, EOD
  cot      head, { [start_of_segment], section text, audio, [end_of_segment] }
           of every section, EOD; the head is the instruction, the tags and
           the lyrics of the whole song
  icl      cot with [start_of_reference], clip, [end_of_reference] after the
           head: a stretch of the song's own sound
  prefix   head, audio of all sections and what is between them, EOD
without
  tagged   phrase, tags, audio of all frames, EOD
  unconditional  audio of all frames, EOD
  speech   transcript, audio of all frames; no EOD
  windows  one track in windows of a fixed number of frames, each with its
           codebook 0 first and its residual codebooks after; EOD at the end

where audio is <SOA> <xcodec> v0 b0 v1 b1 ... <EOA>, the vocal and backing
tracks in turn, or one track alone. Ids of plain, cot, icl and windows equal
those of the released preprocessing, the others follow the paper. A document of
some sections of a song restates the head and ends with EOD if they are the
last. Numpy only.

Codes and ids are not checked here: that is done where they are read first.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from yue_jax.encoding import EncodedSection, EncodedSong, Phrases
from yue_jax.references import MODE_TRACKS, Reference
from yue_jax.tokens import (
  Document,
  Filled,
  Piece,
  Sound,
  Text,
  Written,
  marks,
)
from yue_jax.vocab import Stream, Vocab, codebook_stream

TRACK_STREAMS = {
  "vocal": Stream.VOCAL,
  "backing": Stream.BACKING,
  "mixture": Stream.MIXTURE,
}
DUAL = ("vocal", "backing")
Tracks = Sequence[str]  # of TRACK_STREAMS
Sections = tuple[int, int]  # the first, and the one after the last


def plain(
  song: EncodedSong, vocab: Vocab, *, sections: Sections | None = None
) -> Document:
  """Every section on its own, without the rest of the song as a plan.

  With SOA, EOA, xcodec, EOD = 11, 12, 26, 10 and codebook 0 at 32, a section
  of plain text [4, 3], vocal codes 0 1 and backing codes 3 2 gives
  4 3 | 11 26 32 35 33 34 12 | 10.
  """
  pieces, audio = [], _Audio(song, DUAL, vocab)
  for section in _chosen(song, sections):
    pieces.append(Text(section.plain_text, vocab))
    pieces += audio.between(section.start, section.end)
  return Document([*pieces, _end(song, vocab, sections)])


def cot(
  song: EncodedSong,
  vocab: Vocab,
  *,
  phrases: Phrases,
  tracks: Tracks = DUAL,
  sections: Sections | None = None,
) -> Document:
  """The whole text first, then section by section.

  With the ids of `plain`, a head 1 2, text 3 and phrases 5 and 6:
  1 2 | 5 3 11 26 32 35 33 34 12 6 | 10. Of a mixture with codes 2 2 alone:
  1 2 | 5 3 11 26 34 34 12 6 | 10.
  """
  planned = _planned(song, vocab, phrases, tracks, sections)
  return Document([Text(song.head, vocab), *planned])


def icl(
  song: EncodedSong,
  vocab: Vocab,
  *,
  phrases: Phrases,
  reference: Reference,
  sections: Sections | None = None,
) -> Document:
  """`cot` with a clip of the song itself between the head and the sections.

  With the ids of `cot`, phrases 7 and 8 and a vocal reference of one frame
  from frame 1: 1 2 | 7 11 26 33 12 8 | 5 3 11 26 32 35 33 34 12 6 | 10.
  """
  first, last = reference.start, reference.start + reference.length
  tracks = MODE_TRACKS[reference.mode]
  heard = [Stream.REFERENCE] * len(tracks)
  return Document(
    [
      Text(song.head, vocab),
      marks(*phrases.reference_start),
      *_Audio(song, tracks, vocab, streams=heard).between(first, last),
      marks(*phrases.reference_end),
      *_planned(song, vocab, phrases, DUAL, sections),
    ]
  )


def prefix(song: EncodedSong, vocab: Vocab) -> Document:
  """The whole text first, then sound from the first section to the last end.

  With the ids of `cot`: 1 2 | 11 26 32 35 33 34 12 | 10.
  """
  start = min(section.start for section in song.sections)
  end = max(section.end for section in song.sections)
  return Document(
    [
      Text(song.head, vocab),
      *_Audio(song, DUAL, vocab).between(start, end),
      marks(vocab.eod),
    ]
  )


def tagged(
  song: EncodedSong,
  vocab: Vocab,
  *,
  phrase: Sequence[int],
  order: Sequence[int],
  tracks: Tracks,
) -> Document:
  """A phrase and the tags in the given order, then the whole song.

  With the ids of `plain`, a phrase 9, tags [1], [2, 4], the order 1 0 and the
  tracks of `plain`: 9 2 4 1 | 11 26 32 35 33 34 12 | 10.
  """
  return Document(
    [
      Filled(phrase, Stream.TEXT),
      *(Filled(song.tags[number], Stream.TEXT) for number in order),
      *_Audio(song, tracks, vocab).whole(),
      marks(vocab.eod),
    ]
  )


def unconditional(
  song: EncodedSong, vocab: Vocab, *, tracks: Tracks
) -> Document:
  """Sound and nothing else: 11 26 32 35 33 34 12 | 10 with `plain`'s ids."""
  return Document([*_Audio(song, tracks, vocab).whole(), marks(vocab.eod)])


def speech(song: EncodedSong, vocab: Vocab, *, instructed: bool) -> Written:
  """What is said, with or without the instruction, then its sound; no EOD.

  With the ids of `plain`, mixture codes 2 2 and a transcript of text 3 and
  plain text 4 3: 4 3 | 11 26 34 34 12, or without instruction 3 | 11 26 ...
  """
  [said] = song.sections
  text = said.plain_text if instructed else said.text
  codes, first = song.tracks["mixture"], len(text)
  # Written at once: a recording is short, and pieces would take longer to
  # make than their tokens to write.
  size = first + len(codes) + 3
  ids, streams = np.empty(size, np.int32), np.empty(size, np.uint8)
  streams.fill(TRACK_STREAMS["mixture"])
  Text(text, vocab).write(0, first, ids[:first], streams[:first])
  ids[first], ids[first + 1], ids[-1] = vocab.soa, vocab.xcodec, vocab.eoa
  streams[first : first + 2] = streams[-1] = Stream.MARK
  np.add(codes, vocab.codebook(0).start, out=ids[first + 2 : -1])
  return Written(ids, streams)


def window_document(
  codes: np.ndarray, vocab: Vocab, *, stream: Stream
) -> Document:
  """One window of a track, (codebooks, frames) codes, without EOD.

  <SOA> <stage_1> codebook 0 of all frames <stage_2> all codebooks of frame
  0, of frame 1, ... <EOA>; `stream` is that of the leading codebook 0. With
  stage_1, stage_2 = 23, 27 and codebooks at 32 and 36, [[0, 1], [2, 3]]
  gives 11 23 | 32 33 | 27 | 32 38 | 33 39 | 12.
  """
  return Document(_window(codes, vocab, stream, first=0))


def windows_teacher_forcing(
  codes: np.ndarray, vocab: Vocab, *, stream: Stream, window: int = 300
) -> Document:
  """A track (codebooks, frames) in windows, all codebooks in the frames.

  A rest shorter than `window` is left out, and so is a window of too few
  distinct codes (`varied_windows`); one EOD ends the track. Empty when no
  window remains.
  """
  return _windows(codes, vocab, stream, window, first=0)


def windows(
  codes: np.ndarray, vocab: Vocab, *, stream: Stream, window: int = 300
) -> Document:
  """`windows_teacher_forcing` with codebook 0 left out of the frames.

  The example of `window_document` becomes 11 23 | 32 33 | 27 | 38 | 39 | 12.
  """
  return _windows(codes, vocab, stream, window, first=1)


def varied_windows(codes: np.ndarray, window: int) -> np.ndarray:
  """First frames of the windows of (codebooks, frames) codes worth keeping.

  A window is skipped when codebook 0 has fewer distinct codes than a twelfth
  of its frames: 25 in the released windows of 300.
  """
  if window < 1:
    raise ValueError(f"window={window} frames, expected at least 1")
  starts = range(0, codes.shape[1] - window + 1, window)
  kept = [
    start
    for start in starts
    if len(np.unique(codes[0, start : start + window])) * 12 >= window
  ]
  return np.array(kept, np.int64)


def _planned(
  song: EncodedSong,
  vocab: Vocab,
  phrases: Phrases,
  tracks: Tracks,
  sections: Sections | None,
) -> Iterable[Piece]:
  start, end = marks(*phrases.segment_start), marks(*phrases.segment_end)
  audio = _Audio(song, tracks, vocab)
  for section in _chosen(song, sections):
    yield start
    yield Filled(section.text, Stream.RESTATED)
    yield from audio.between(section.start, section.end)
    yield end
  yield _end(song, vocab, sections)


def _chosen(
  song: EncodedSong, sections: Sections | None
) -> Sequence[EncodedSection]:
  return song.sections[slice(*sections)] if sections else song.sections


def _end(song: EncodedSong, vocab: Vocab, sections: Sections | None) -> Piece:
  last = sections is None or sections[1] == len(song.sections)
  return marks(vocab.eod) if last else marks()


class _Audio:
  """<SOA> <xcodec> ... <EOA> of stretches of some tracks of a song."""

  def __init__(
    self,
    song: EncodedSong,
    tracks: Tracks,
    vocab: Vocab,
    *,
    streams: Sequence[Stream] | None = None,
  ):
    self._song, self._tracks = song.id, tracks
    self._rows = [song.tracks[track] for track in tracks]
    self._frames = min(map(len, self._rows))
    self._first_ids = [vocab.codebook(0).start] * len(tracks)
    self._streams = streams or [TRACK_STREAMS[track] for track in tracks]
    self._before, self._after = marks(vocab.soa, vocab.xcodec), marks(vocab.eoa)

  def between(self, start: int, end: int) -> Sequence[Piece]:
    if not 0 <= start < end <= self._frames:
      raise ValueError(
        f"song {self._song}: frames {start}..{end} of {self._tracks}, of which"
        f" there are {self._frames}"
      )
    sound = Sound(
      self._rows,
      start=start,
      end=end,
      first_ids=self._first_ids,
      streams=self._streams,
    )
    return self._before, sound, self._after

  def whole(self) -> Sequence[Piece]:
    return self.between(0, self._frames)


def _windows(
  codes: np.ndarray, vocab: Vocab, stream: Stream, window: int, first: int
) -> Document:
  pieces = []
  for start in varied_windows(codes, window):
    frames = codes[:, start : start + window]
    pieces += _window(frames, vocab, stream, first)
  return Document([*pieces, marks(vocab.eod)] if pieces else [])


def _window(
  codes: np.ndarray, vocab: Vocab, stream: Stream, first: int
) -> Sequence[Piece]:
  ids = [vocab.codebook(k).start for k in range(len(codes))]
  books = [codebook_stream(k) for k in range(first, len(codes))]
  whole = {"start": 0, "end": codes.shape[1]}
  return (
    marks(vocab.soa, vocab.stage_1),
    Sound(codes[:1], **whole, first_ids=ids, streams=[stream]),
    marks(vocab.stage_2),
    Sound(codes[first:], **whole, first_ids=ids[first:], streams=books),
    marks(vocab.eoa),
  )
