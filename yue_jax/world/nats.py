"""Nats of documents, token by token, and their sums by stream."""

from collections.abc import Iterable, Sequence
import dataclasses
import math

import numpy as np

from yue_jax.references import Reference
from yue_jax.vocab import Stream
from yue_jax.world.generator import WorldSong

Totals = dict[str, tuple[float, int]]
"""Sum of nats and number of tokens, by lower-case name of the stream."""


@dataclasses.dataclass(frozen=True, eq=False)
class DocumentNats:
  """-log p of the tokens of one stage-1 document.

  Attributes:
    text: of the whole text; how it spreads over tokens is the tokenizer's.
      Text that stands for the second time is certain.
    vocal: (frames,) of the vocal codes.
    backing: (frames,) of the backing codes.
    end: (n,) of each <EOA>, which competes with a vocal code. All other
      marks are certain.
    counted_frames: (frames,) False where a frame is left out of the sums.
    counted_ends: (n,) the same for `end`.
  """

  text: float
  vocal: np.ndarray
  backing: np.ndarray
  end: np.ndarray
  counted_frames: np.ndarray
  counted_ends: np.ndarray

  def totals(self, streams: np.ndarray) -> Totals:
    """Sums over one document whose tokens have the given streams.

    The first token is nobody's target and is not counted.
    """
    tokens = np.bincount(streams[1:], minlength=len(Stream))
    frames = tokens[Stream.VOCAL]
    if frames != len(self.vocal) or tokens[Stream.BACKING] != frames:
      raise ValueError(
        f"a document with {frames} vocal and {tokens[Stream.BACKING]} backing"
        f" tokens, expected {len(self.vocal)} of both; is it another song's?"
      )
    counted = int(self.counted_frames.sum())
    left_out = int(np.sum(~self.counted_ends))
    return {
      "text": (self.text, int(tokens[Stream.TEXT])),
      "restated": (0.0, int(tokens[Stream.RESTATED])),
      "mark": (
        float(self.end[self.counted_ends].sum()),
        int(tokens[Stream.MARK]) - left_out,
      ),
      "vocal": (float(self.vocal[self.counted_frames].sum()), counted),
      "backing": (float(self.backing[self.counted_frames].sum()), counted),
    }


def of_documents(
  songs: Sequence[WorldSong],
  *,
  text: float,
  vocal: np.ndarray,
  backing: np.ndarray,
) -> list[DocumentNats]:
  """Unpads (N, S, T + 1) nats; everything is counted.

  The <EOA> of a section stands in `vocal` after its last frame.
  """
  documents = []
  for song, vocal_st, backing_st in zip(songs, vocal, backing, strict=True):
    frames, end = unpadded(song, vocal_st)
    documents.append(
      DocumentNats(
        text=text,
        vocal=frames,
        backing=unpadded(song, backing_st)[0],
        end=end,
        counted_frames=np.ones(song.frames, bool),
        counted_ends=np.ones(len(end), bool),
      )
    )
  return documents


def unpadded(
  song: WorldSong, nats_st: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """(frames,) of all sections, and (S,) of what follows the last of each."""
  lengths = np.diff(song.bounds)
  sounding = np.arange(nats_st.shape[1]) < lengths[:, None]
  end = np.take_along_axis(nats_st, lengths[:, None], axis=1)[:, 0]
  return nats_st[sounding], end


def outside(
  document: DocumentNats, song: WorldSong, reference: Reference
) -> DocumentNats:
  """Counts only frames outside a clip, and ends that do not touch it."""
  ends = song.bounds[1:]
  clip_end = reference.start + reference.length
  return dataclasses.replace(
    document,
    counted_frames=~span(song, reference),
    counted_ends=(ends < reference.start) | (ends > clip_end),
  )


def span(song: WorldSong, reference: Reference) -> np.ndarray:
  """(frames,) True inside the clip; ValueError when it leaves the song."""
  end = reference.start + reference.length
  if not 0 <= reference.start < end <= song.frames:
    raise ValueError(
      f"a clip of frames {reference.start} to {end}, expected a part of the"
      f" song's 0 to {song.frames}; is it another song's?"
    )
  frames = np.arange(song.frames)
  return (frames >= reference.start) & (frames < end)


def window_totals(nats: np.ndarray) -> Totals:
  """Sums by codebook of (..., codebooks, frames) nats of stage-2 windows."""
  rows = np.moveaxis(nats, -2, 0).reshape(nats.shape[-2], -1)
  return {
    f"codebook_{k}": (float(row.sum()), row.size) for k, row in enumerate(rows)
  }


def add(many: Iterable[Totals]) -> Totals:
  """Sums of sums; streams that one of them lacks count as empty there."""
  summed: Totals = {}
  for totals in many:
    for stream, (nats, tokens) in totals.items():
      before = summed.get(stream, (0.0, 0))
      summed[stream] = (before[0] + nats, before[1] + tokens)
  return summed


def per_token(totals: Totals) -> dict[str, float]:
  """Nats per token by stream, divided once; nan where there is no token."""
  return {
    stream: nats / tokens if tokens else math.nan
    for stream, (nats, tokens) in totals.items()
  }
