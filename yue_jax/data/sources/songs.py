"""Documents that are made of one song each, whatever their kind."""

import abc
from collections.abc import Iterator
import hashlib
from typing import NamedTuple

import numpy as np

from yue_jax.data.dataset import Dataset
from yue_jax.data.records import decode_song_record
from yue_jax.data.sources.sections import divide
from yue_jax.data.sources.source import Part, cuts
from yue_jax.documents import Document, Sections
from yue_jax.encoding import EncodedSong

_ROWS = 1 << 20  # songs at a time, so that what is needed briefly is small


class SongSource(abc.ABC):
  """One document per song, or several of whole sections.

  Subclasses say how long a document is (`_fixed` and what `_drawn` adds in an
  epoch) and how it is built; rows are numbers in the song table.
  """

  varies = False
  unit = 1
  joined = False

  def __init__(
    self,
    dataset: Dataset,
    kind: str,
    *,
    seed: int,
    members: np.ndarray,
    longest: int | None,
  ):
    """Args as those of `make_source`; all members are eligible."""
    self.eod = dataset.vocab.eod
    self.fingerprint = fingerprint(
      dataset, kind, seed=seed, members=members, longest=longest
    )
    self._dataset, self._kind, self._seed = dataset, kind, seed
    self._members = members.astype(np.uint32, copy=False)
    self._documents = _Documents(self._members)
    if longest is not None and len(members):
      self._documents = self._divided(longest)

  def __len__(self) -> int:
    return len(self._documents.songs)

  def lengths(self, epoch: int) -> np.ndarray:
    divided = self._documents
    result = np.empty(len(self), np.int32)
    for here in _blocks(len(self)):
      rows = divided.songs[here]
      whole = divided.tokens is None
      result[here] = self._fixed(rows) if whole else divided.tokens[here]
      result[here] += self._drawn(epoch, rows)
    return result

  def read(
    self, epoch: int, document: int, *, start: int, length: int
  ) -> list[Part]:
    row = int(self._documents.songs[document])
    record = int(self._dataset.index["record"][row])
    song = decode_song_record(self._dataset.songs[record])
    built = self._build(epoch, row, song, self._documents.sections(document))
    ids, streams = built.read(start, min(start + length + 1, len(built)))
    return [Part(ids, streams, start, length)]

  def overlong(self, epoch: int, context: int) -> tuple[int, int]:
    songs = 0
    for here in _blocks(len(self._members)):
      rows = self._members[here]
      whole = self._fixed(rows) + self._drawn(epoch, rows)
      songs += np.count_nonzero(cuts(whole, context))
    return songs, int(cuts(self.lengths(epoch), context).sum(dtype=np.int64))

  @abc.abstractmethod
  def _fixed(self, rows: np.ndarray) -> np.ndarray:
    """Tokens that are the same in every epoch, of whole songs."""

  def _drawn(self, epoch: int, rows: np.ndarray) -> np.ndarray | int:
    """Tokens that documents have besides in an epoch."""
    return 0

  def _most_drawn(self, rows: np.ndarray) -> np.ndarray | int:
    """At least as many as `_drawn` in any epoch."""
    return 0

  @abc.abstractmethod
  def _build(
    self, epoch: int, row: int, song: EncodedSong, sections: Sections | None
  ) -> Document:
    """The document of a song, or of some of its sections."""

  def _column(self, name: str, rows: np.ndarray) -> np.ndarray:
    return self._dataset.index[name][rows].astype(np.int32)

  def _section_lengths(self, sections: slice) -> np.ndarray:
    """What each of these sections adds to a document."""
    raise NotImplementedError

  def _divided(self, longest: int) -> "_Documents":
    parts = [
      self._divided_block(self._members[here], longest)
      for here in _blocks(len(self._members))
    ]
    songs, first, end, tokens = map(np.concatenate, zip(*parts, strict=True))
    return _Documents(songs, first, end, tokens)

  def _divided_block(
    self, rows: np.ndarray, longest: int
  ) -> tuple[np.ndarray, ...]:
    offsets = self._dataset.section_offsets
    begin, stop = int(offsets[rows[0]]), int(offsets[int(rows[-1]) + 1])
    sizes = self._section_lengths(slice(begin, stop))
    starts, counts = offsets[rows] - begin, self._column("section_count", rows)
    whole, most = self._fixed(rows), self._most_drawn(rows)
    sums = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    around = whole - (sums[starts + counts] - sums[starts])  # head and EOD
    # A song that fits is not divided, whatever its sections are.
    room = np.where(whole + most > longest, longest - around - most, 2**31)
    division = divide(sizes, starts, counts, room=room)
    ended = division.end == counts[division.song]
    tokens = division.tokens + around[division.song] - ~ended
    songs = rows[division.song]
    return songs, division.first, division.end, tokens.astype(np.int32)


class _Documents(NamedTuple):
  """Which songs, or which of their sections, documents consist of.

  Attributes:
    songs: rows of the song table, (documents,) uint32.
    first: their first section; None where documents are whole songs.
    end: the section after their last.
    tokens: that are the same in every epoch.
  """

  songs: np.ndarray
  first: np.ndarray | None = None
  end: np.ndarray | None = None
  tokens: np.ndarray | None = None

  def sections(self, document: int) -> Sections | None:
    if self.first is None:
      return None
    return int(self.first[document]), int(self.end[document])


def fingerprint(
  dataset: Dataset,
  kind: str,
  *,
  seed: int,
  members: np.ndarray,
  longest: int | None = None,
) -> str:
  """Sixteen hex digits of all that a source depends on."""
  told = f"{dataset.info['fingerprint']} {kind} {seed} {longest} "
  chosen = np.ascontiguousarray(members, "<u4").tobytes()
  return hashlib.sha256(told.encode() + chosen).hexdigest()[:16]


def _blocks(count: int) -> Iterator[slice]:
  for at in range(0, count, _ROWS):
    yield slice(at, min(at + _ROWS, count))
