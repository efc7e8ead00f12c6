"""Documents divided into sequences, as the released preprocessing does it.

  plain            one sequence per section
  cot, icl, ...    the head (with the clip), then one per section
  window           a document per track, one sequence per window
  any other kind   one per document

The EOD belongs to the last sequence. Megatron's own loader sees sequences
only; in its default order they are the same row of tokens as the documents.
"""

from collections.abc import Iterator
import itertools

import numpy as np

from yue_jax.data.dataset import Dataset
from yue_jax.data.records import TRACKS
from yue_jax.data.sources.kinds import REFERENCE_MODES, eligible
from yue_jax.data.sources.make import make_source

Sequences = list[np.ndarray]


def song_sequences(
  dataset: Dataset, kind: str, *, epoch: int, seed: int
) -> tuple[int, Iterator[Sequences]]:
  """Number of documents of a kind in an epoch, and each as its sequences."""
  source = make_source(dataset, kind, seed=seed)
  rows = np.flatnonzero(eligible(dataset, kind))
  lengths = source.lengths(epoch)

  def read() -> Iterator[Sequences]:
    for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
      [part] = source.read(epoch, number, start=0, length=int(length))
      places = divisions(dataset, kind, row=row, tokens=int(length))
      yield np.split(part.ids, places)

  return len(source), read()


def track_sequences(dataset: Dataset) -> tuple[int, Iterator[Sequences]]:
  """Number of tracks that have windows, and each as its windows."""
  source = make_source(dataset, "window", seed=0)
  lengths = source.lengths(0)
  index = dataset.index
  tracks = index["run_song"].astype(np.int64) * len(TRACKS) + index["run_track"]

  def read() -> Iterator[Sequences]:
    for _, runs in itertools.groupby(range(len(tracks)), tracks.__getitem__):
      windows = [
        part.ids
        for run in runs
        for part in source.read(0, run, start=0, length=int(lengths[run]))
      ]
      windows[-1] = np.append(windows[-1], np.int32(dataset.vocab.eod))
      yield windows

  return int(np.count_nonzero(np.diff(tracks, prepend=-1))), read()


def divisions(
  dataset: Dataset, kind: str, *, row: int, tokens: int
) -> np.ndarray:
  """Tokens with which all sequences of a song but the first begin, int64.

  Args:
    dataset: that the song is in.
    kind: of its document.
    row: of the song in the song table.
    tokens: of the document.

  Example: a cot document of 54 tokens, with a head of 3 and sections of 20
  and 30, is divided at tokens 3 and 23.
  """
  index, offsets = dataset.index, dataset.section_offsets
  sections = slice(int(offsets[row]), int(offsets[row + 1]))
  start, end = index["section_start"][sections], index["section_end"][sections]
  audio = 2 * (end - start).astype(np.int64) + 3
  if kind == "plain":
    lengths = index["section_plain_text"][sections] + audio
    return np.cumsum(lengths)[:-1]
  if kind == "cot" or kind in REFERENCE_MODES:
    phrases = dataset.phrases
    around = len(phrases.segment_start) + len(phrases.segment_end)
    lengths = around + index["section_text"][sections] + audio
    return tokens - 1 - np.cumsum(lengths[::-1])[::-1]
  return np.zeros(0, np.int64)
