"""Documents: token ids, and the stream of every token.

  plain    { instruction and section text, audio } of every section, EOD
  cot      head, { [start_of_segment], section text, audio, [end_of_segment] }
           of every section, EOD; the head is the instruction, the tags and
           the lyrics of the whole song
  icl      cot with [start_of_reference], clip, [end_of_reference] after the
           head: a stretch of the song's own sound
  windows  one track in windows of a fixed number of frames, each with its
           codebook 0 first and its residual codebooks after; EOD at the end

where audio is <SOA> <xcodec> v0 b0 v1 b1 ... <EOA>, the vocal and backing
tracks in turn. Ids equal those of the released preprocessing. Numpy only.
"""

from collections.abc import Iterable, Sequence
import dataclasses

import numpy as np

from yue_jax import codec
from yue_jax.encoding import EncodedSection, EncodedSong, Phrases
from yue_jax.references import Reference
from yue_jax.vocab import Stream, Vocab, codebook_stream

TRACK_STREAMS = {
  "vocal": Stream.VOCAL,
  "backing": Stream.BACKING,
  "mixture": Stream.MIXTURE,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Document:
  """What a model is trained on: ids (n,) int32, streams (n,) uint8."""

  ids: np.ndarray
  streams: np.ndarray

  def __len__(self) -> int:
    return len(self.ids)


def plain(song: EncodedSong, vocab: Vocab) -> Document:
  """Every section on its own, without the rest of the song as a plan.

  With SOA, EOA, xcodec, EOD = 11, 12, 26, 10 and codebook 0 at 32, a section
  of plain text [4, 3], vocal codes 0 1 and backing codes 3 2 gives
  4 3 | 11 26 32 35 33 34 12 | 10.
  """
  parts = []
  for section in song.sections:
    parts.append(_text(section.plain_text, vocab))
    parts.extend(_section_audio(song, section, vocab))
  return _join([*parts, _marks(vocab.eod)])


def cot(song: EncodedSong, vocab: Vocab, *, phrases: Phrases) -> Document:
  """The whole text first, then section by section.

  With the ids of `plain`, a head 1 2, text 3 and phrases 5 and 6:
  1 2 | 5 3 11 26 32 35 33 34 12 6 | 10.
  """
  return _join([_text(song.head, vocab), *_planned(song, vocab, phrases)])


def icl(
  song: EncodedSong, vocab: Vocab, *, phrases: Phrases, reference: Reference
) -> Document:
  """`cot` with a clip of the song itself between the head and the sections.

  With the ids of `cot`, phrases 7 and 8 and a vocal reference of one frame
  from frame 1: 1 2 | 7 11 26 33 12 8 | 5 3 11 26 32 35 33 34 12 6 | 10.
  """
  clip = _filled(_reference_ids(song, vocab, reference), Stream.REFERENCE)
  return _join(
    [
      _text(song.head, vocab),
      _marks(*phrases.reference_start),
      *_audio(clip, vocab),
      _marks(*phrases.reference_end),
      *_planned(song, vocab, phrases),
    ]
  )


def window_document(
  codes: np.ndarray, vocab: Vocab, *, stream: Stream
) -> Document:
  """One window of a track, (codebooks, frames) codes, without EOD.

  <SOA> <stage_1> codebook 0 of all frames <stage_2> all codebooks of frame
  0, of frame 1, ... <EOA>; `stream` is that of the leading codebook 0. With
  stage_1, stage_2 = 23, 27 and codebooks at 32 and 36, [[0, 1], [2, 3]]
  gives 11 23 | 32 33 | 27 | 32 38 | 33 39 | 12.
  """
  return _window(codec.frames_to_ids(codes, vocab), vocab, stream, first=0)


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


def plain_length(
  plain_texts: np.ndarray, frames: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
  """Lengths of `plain` documents, (songs,).

  Text lengths and frames are (sections,), over all songs; the sections of
  song i are offsets[i] to offsets[i + 1].
  """
  return _sums(plain_texts + 2 * frames + 3, offsets) + 1


def cot_length(
  heads: np.ndarray,
  texts: np.ndarray,
  frames: np.ndarray,
  offsets: np.ndarray,
  *,
  phrases: Phrases,
) -> np.ndarray:
  """Lengths of `cot` documents, (songs,); heads are (songs,) lengths."""
  around = len(phrases.segment_start) + 3 + len(phrases.segment_end)
  return heads + _sums(texts + 2 * frames + around, offsets) + 1


def icl_extra_length(
  lengths: np.ndarray, *, tracks: np.ndarray | int, phrases: Phrases
) -> np.ndarray:
  """What a clip of `lengths` frames of `tracks` tracks adds to `cot`."""
  around = len(phrases.reference_start) + 3 + len(phrases.reference_end)
  return lengths * tracks + around


def window_length(window: int, *, codebooks: int = 8) -> int:
  """Length of `window_document`: 2,704 for 300 frames of eight codebooks."""
  return 4 + window * (1 + codebooks)


def _planned(
  song: EncodedSong, vocab: Vocab, phrases: Phrases
) -> Iterable[Document]:
  for section in song.sections:
    yield _marks(*phrases.segment_start)
    yield _filled(section.text, Stream.RESTATED)
    yield from _section_audio(song, section, vocab)
    yield _marks(*phrases.segment_end)
  yield _marks(vocab.eod)


def _section_audio(
  song: EncodedSong, section: EncodedSection, vocab: Vocab
) -> Sequence[Document]:
  ids = _dual_ids(song, section.start, section.end, vocab)
  streams = np.tile(_DUAL_STREAMS, section.end - section.start)
  return _audio(Document(ids, streams), vocab)


_DUAL_STREAMS = np.array([Stream.VOCAL, Stream.BACKING], np.uint8)


def _dual_ids(
  song: EncodedSong, start: int, end: int, vocab: Vocab
) -> np.ndarray:
  return codec.interleave(
    _track_ids(song, "vocal", start, end, vocab),
    _track_ids(song, "backing", start, end, vocab),
  )


def _track_ids(
  song: EncodedSong, track: str, start: int, end: int, vocab: Vocab
) -> np.ndarray:
  codes = song.tracks[track]
  if not 0 <= start < end <= len(codes):
    raise ValueError(
      f"song {song.id}: frames {start}..{end} of the {track} track, "
      f"which has {len(codes)}"
    )
  return codec.frames_to_ids(codes[None, start:end], vocab)[0]


def _reference_ids(
  song: EncodedSong, vocab: Vocab, reference: Reference
) -> np.ndarray:
  start, end = reference.start, reference.start + reference.length
  if reference.mode == "dual":
    return _dual_ids(song, start, end, vocab)
  return _track_ids(song, reference.mode, start, end, vocab)


def _windows(
  codes: np.ndarray, vocab: Vocab, stream: Stream, window: int, first: int
) -> Document:
  ids = codec.frames_to_ids(codes, vocab)
  parts = [
    _window(ids[:, start : start + window], vocab, stream, first)
    for start in varied_windows(codes, window)
  ]
  return _join([*parts, _marks(vocab.eod)] if parts else [_marks()])


def _window(
  ids: np.ndarray, vocab: Vocab, stream: Stream, first: int
) -> Document:
  books = [codebook_stream(k) for k in range(first, len(ids))]
  frames = Document(
    codec.flatten(ids[first:]),
    np.tile(np.array(books, np.uint8), ids.shape[1]),
  )
  return _join(
    [
      _marks(vocab.soa, vocab.stage_1),
      _filled(ids[0], stream),
      _marks(vocab.stage_2),
      frames,
      _marks(vocab.eoa),
    ]
  )


def _audio(sound: Document, vocab: Vocab) -> Sequence[Document]:
  return _marks(vocab.soa, vocab.xcodec), sound, _marks(vocab.eoa)


def _text(ids: np.ndarray, vocab: Vocab) -> Document:
  streams = np.where(ids < vocab.text_size, Stream.TEXT, Stream.MARK)
  return Document(ids, streams.astype(np.uint8))


def _marks(*ids: int) -> Document:
  return _filled(np.array(ids, np.int32), Stream.MARK)


def _filled(ids: np.ndarray, stream: Stream) -> Document:
  return Document(ids, np.full(len(ids), stream, np.uint8))


def _join(parts: Iterable[Document]) -> Document:
  parts = list(parts)
  return Document(
    np.concatenate([part.ids for part in parts]),
    np.concatenate([part.streams for part in parts]),
  )


def _sums(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
  totals = np.concatenate([[0], np.cumsum(values)])
  return totals[offsets[1:]] - totals[offsets[:-1]]
