"""A document as pieces, whose tokens are written when they are asked for.

A song fills several samples, and a sample needs a stretch of it only: pieces
(text, marks, sound) know their length and write any part of themselves.
Numpy only.
"""

import bisect
from collections.abc import Iterable, Sequence
import functools
import itertools
from typing import Protocol

import numpy as np

from yue_jax.vocab import Stream, Vocab


class Piece(Protocol):
  """Consecutive tokens of a document."""

  size: int

  def write(
    self, start: int, stop: int, ids: np.ndarray, streams: np.ndarray
  ) -> None:
    """Writes tokens `start` to `stop` into arrays of that length."""


class Document:
  """What a model is trained on: ids and the stream of every token.

  Example: pieces of marks 7 8 and of restated text 3 4 5 have the ids
  7 8 3 4 5, of which `read(1, 3)` gives 8 3 with streams MARK, RESTATED.
  """

  def __init__(self, pieces: Iterable[Piece]):
    self._pieces = [piece for piece in pieces if piece.size]
    self._ends = list(itertools.accumulate(p.size for p in self._pieces))

  def __len__(self) -> int:
    return self._ends[-1] if self._ends else 0

  def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens `start` to `stop`: ids int32 and streams uint8."""
    if not 0 <= start <= stop <= len(self):
      raise IndexError(f"tokens {start}..{stop} of {len(self)}")
    ids = np.empty(stop - start, np.int32)
    streams = np.empty(stop - start, np.uint8)
    number, at = bisect.bisect_right(self._ends, start), start
    while at < stop:
      piece, end = self._pieces[number], self._ends[number]
      first, last = end - piece.size, min(end, stop)
      here = slice(at - start, last - start)
      piece.write(at - first, last - first, ids[here], streams[here])
      number, at = number + 1, last
    return ids, streams

  @property
  def ids(self) -> np.ndarray:
    """All ids, (n,) int32."""
    return self._whole[0]

  @property
  def streams(self) -> np.ndarray:
    """Numbers of `vocab.Stream`, (n,) uint8."""
    return self._whole[1]

  @functools.cached_property
  def _whole(self) -> tuple[np.ndarray, np.ndarray]:
    return self.read(0, len(self))


class Written:
  """A document whose tokens are there already; it is read as others are."""

  def __init__(self, ids: np.ndarray, streams: np.ndarray):
    self.ids, self.streams = ids, streams

  def __len__(self) -> int:
    return len(self.ids)

  def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    return self.ids[start:stop], self.streams[start:stop]


class Text:
  """Ids that stand for the first time; special tokens in them are marks."""

  __slots__ = ("_ids", "_text_size", "size")

  def __init__(self, ids: np.ndarray, vocab: Vocab):
    self._ids, self._text_size, self.size = ids, vocab.text_size, len(ids)

  def write(self, start, stop, ids, streams):
    ids[:] = self._ids[start:stop]
    streams.fill(_TEXT)
    np.putmask(streams, ids >= self._text_size, _MARK)


class Filled:
  """Ids of one stream."""

  __slots__ = ("_ids", "_stream", "size")

  def __init__(self, ids: Sequence[int] | np.ndarray, stream: Stream):
    self._ids, self._stream, self.size = ids, int(stream), len(ids)

  def write(self, start, stop, ids, streams):
    ids[:] = self._ids[start:stop]
    streams.fill(self._stream)


class Sound:
  """Codes of several rows in turn, the first one first.

  Example: rows [0, 1] and [3, 2], both with ids from 32, are 32 35 33 34.
  """

  __slots__ = ("_first", "_first_ids", "_rows", "_streams", "size")

  def __init__(
    self,
    rows: Sequence[np.ndarray],
    *,
    start: int,
    end: int,
    first_ids: Sequence[int],
    streams: Sequence[Stream],
  ):
    """Frames `start` to `end` of rows of codes, (frames,) each.

    Code 0 of row k has the id first_ids[k].
    """
    self._rows, self._first_ids, self._streams = rows, first_ids, streams
    self._first, self.size = start, len(rows) * (end - start)

  def write(self, start, stop, ids, streams):
    turns = len(self._rows)
    for turn, codes in enumerate(self._rows):
      at = (turn - start) % turns  # its first token among those written
      mine = ids[at::turns]
      first = self._first + (start + at) // turns
      codes = codes[first : first + len(mine)]
      np.add(codes, self._first_ids[turn], out=mine, dtype=np.int32)
      streams[at::turns].fill(self._streams[turn])


@functools.lru_cache(256)  # documents have the same few, many times
def marks(*ids: int) -> Filled:
  """Special tokens, or the phrases around sections."""
  return Filled(np.array(ids, np.int32), Stream.MARK)


_TEXT, _MARK = int(Stream.TEXT), int(Stream.MARK)
