"""The stream of every token, from the ids of a finished document alone.

Documents that others have built come as ids. Their sound tells where it is:
it stands between <SOA> <xcodec> and <EOA>, and the phrases right before and
after it say whether it is a section's, a reference clip or neither.

  head  [start_of_segment] text <SOA> <xcodec> v b v b <EOA> [end_of_segment]
  TEXT  MARK ............. RESTATED  MARK      VOCAL,   MARK ..............
                                               BACKING
"""

from collections.abc import Mapping

import numpy as np

from yue_jax.encoding import Phrases
from yue_jax.vocab import Stream, Vocab

TRACKS = {  # tracks that sound in turn
  "dual": (Stream.VOCAL, Stream.BACKING),
  "mixture": (Stream.MIXTURE,),
  "vocal": (Stream.VOCAL,),
  "backing": (Stream.BACKING,),
}
AUDIO = (*TRACKS, "window")
_TEXT, _MARK = np.uint8(Stream.TEXT), np.uint8(Stream.MARK)


def annotate(
  ids: np.ndarray, *, vocab: Vocab, phrases: Phrases, audio: str
) -> np.ndarray:
  """Streams of a whole document, (n,) uint8, as `documents` gives them.

  Args:
    ids: of a document from its first token on, (n,) integers.
    vocab: that the ids belong to.
    phrases: around sections and clips.
    audio: what sounds, one of `AUDIO`. The codebook 0 before a window's
      frames is taken for that of a mixture.

  Raises ValueError for an id that has no place in such a document. What ids
  cannot tell: if the lyrics of a first section contain the very phrase
  [start_of_segment], what stands before it is TEXT. Example, with the ids of
  `documents.cot`: 1 2 5 3 11 26 32 35 33 34 12 6 10 has the streams TEXT TEXT
  MARK RESTATED MARK MARK VOCAL BACKING VOCAL BACKING MARK MARK MARK.
  """
  if audio not in AUDIO:
    raise ValueError(f"audio={audio!r}, expected one of {AUDIO}")
  sounds = _is_sound(ids, vocab, audio)
  streams = np.where(ids < vocab.text_size, _TEXT, _MARK)
  if audio == "window":
    _fill_windows(streams, ids, sounds, vocab)
    return streams
  runs = _runs(sounds)
  clips = _fill_planned(streams, ids, runs, vocab, phrases)
  tracks = TRACKS[audio]
  for start, end in runs.items():
    if start in clips:
      streams[start:end] = Stream.REFERENCE
      continue
    if (end - start) % len(tracks):
      raise ValueError(
        f"token {start}: {end - start} codec tokens in a row, expected an even"
        " number, those of two tracks in turn; is it a single track?"
      )
    for turn, stream in enumerate(tracks):
      streams[start + turn : end : len(tracks)] = stream
  return streams


def _is_sound(ids: np.ndarray, vocab: Vocab, audio: str) -> np.ndarray:
  """Where the codec tokens are, (n,) bool; all others are text or specials."""
  books = vocab.window_codebooks if audio == "window" else 1
  first, stop = vocab.codebook(0).start, vocab.codebook(books - 1).stop
  sounds = (ids >= first) & (ids < stop)
  known = sounds | ((ids >= 0) & (ids < vocab.specials.stop))
  if not known.all():
    at = int(np.argmin(known))
    where = "in" if 0 <= ids[at] < vocab.size else "not in"
    raise ValueError(
      f"token {at}: id {ids[at]} is {where} the vocabulary of {vocab.size} ids;"
      f" expected text, special tokens or codebooks 0..{books - 1}, where"
      f" {audio!r} sounds"
    )
  return sounds


def _runs(sounds: np.ndarray) -> dict[int, int]:
  """Codec tokens in a row: where each run begins, and where it ends."""
  edges = np.flatnonzero(np.diff(sounds, prepend=False, append=False)).tolist()
  return dict(zip(edges[0::2], edges[1::2], strict=True))


def _fill_planned(
  streams: np.ndarray,
  ids: np.ndarray,
  runs: Mapping[int, int],
  vocab: Vocab,
  phrases: Phrases,
) -> set[int]:
  """Marks phrases and restated text; returns where reference clips begin."""
  opened = (ids[:-1] == vocab.soa) & (ids[1:] == vocab.xcodec)
  clips, at = set(), 0  # `at`: where what belongs to the sound before ends
  for start in (np.flatnonzero(opened) + 2).tolist():
    end, before = runs.get(start, start), start - 2
    if end == len(ids) or ids[end] != vocab.eoa:
      continue  # special tokens that somebody wrote into the tags
    clip = before - len(phrases.reference_start)
    if _stands(phrases.reference_start, ids, clip) and _stands(
      phrases.reference_end, ids, end + 1
    ):
      at = end + 1 + len(phrases.reference_end)
      streams[clip:before] = streams[end:at] = _MARK
      clips.add(start)
    elif _stands(phrases.segment_end, ids, end + 1):
      first = _find(phrases.segment_start, ids, at, before)
      at = end + 1 + len(phrases.segment_end)
      if first is not None:
        text = first + len(phrases.segment_start)
        streams[first:text] = streams[end:at] = _MARK
        streams[text:before] = Stream.RESTATED
    else:
      at = end + 1
  return clips


def _find(
  phrase: tuple[int, ...], ids: np.ndarray, start: int, stop: int
) -> int | None:
  """Where a section begins: at `start`, or after a head, the last place."""
  if _stands(phrase, ids, start):
    return start
  begins = np.flatnonzero(ids[start : stop - len(phrase) + 1] == phrase[0])
  for place in (begins[::-1] + start).tolist():
    if _stands(phrase, ids, place):
      return place
  return None


def _stands(phrase: tuple[int, ...], ids: np.ndarray, at: int) -> bool:
  return at >= 0 and tuple(ids[at : at + len(phrase)].tolist()) == phrase


def _fill_windows(
  streams: np.ndarray, ids: np.ndarray, sounds: np.ndarray, vocab: Vocab
) -> None:
  leads = np.flatnonzero(ids == vocab.stage_1)
  frames = np.flatnonzero(ids == vocab.stage_2)
  if (
    len(leads) != len(frames)
    or (leads > frames).any()
    or (frames[:-1] > leads[1:]).any()
    or sounds[: leads[0] if len(leads) else None].any()
  ):
    raise ValueError(
      f"{len(leads)} <stage_1> and {len(frames)} <stage_2>, expected them in"
      " turn, and no sound before the first"
    )
  codes = ids[sounds].astype(np.int32) - vocab.codebook(0).start
  streams[sounds] = Stream.CODEBOOK_0 + codes // vocab.codes()
  for lead, frame in zip(leads.tolist(), frames.tolist(), strict=True):
    leading = streams[lead + 1 : frame]
    if (leading != Stream.CODEBOOK_0).any():
      raise ValueError(
        f"token {lead}: between <stage_1> and <stage_2> is more than codebook 0"
      )
    leading[:] = Stream.MIXTURE
