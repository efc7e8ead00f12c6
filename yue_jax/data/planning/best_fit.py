"""Best fit: every document whole where it can be, and little padding.

  lengths (documents,)
    └ whole samples   of documents longer than the context, cut at multiples
    └ tails           the rest of these, and all others whole
        └ bins        best fit, longest first, on the histogram of lengths

How many samples there are depends on the histogram only. A whole sample is
found by arithmetic, a bin by its documents.
"""

import bisect
import dataclasses

import numpy as np

from yue_jax.data.planning.permutation import Permutation
from yue_jax.data.planning.plan import (
  Counts,
  Draw,
  Piece,
  drawn_order,
  smallest_dtype,
)
from yue_jax.references import counter_hash

# A bin of the histogram: ((length, how often), ...) from long to short.
Pattern = tuple[tuple[int, int], ...]
_ROWS = 1 << 20  # documents at a time, where arrays are needed only briefly


@dataclasses.dataclass(frozen=True, eq=False)
class BestFitPlan:
  """Samples 0 .. whole - 1 are whole ones, the others bins, in drawn order.

  Attributes:
    draw: what it was drawn with.
    lengths: of documents.
    ends: number of whole samples of the documents up to each; empty if there
      are none at all.
    documents: whose tails are in bins, bin after bin.
    offsets: bin b holds documents[offsets[b] : offsets[b + 1]].
    order: of samples, if it is not a drawn one; else empty.
  """

  draw: Draw
  lengths: np.ndarray
  ends: np.ndarray
  documents: np.ndarray
  offsets: np.ndarray
  order: np.ndarray

  def __len__(self) -> int:
    return self._whole() + len(self.offsets) - 1

  def pieces(self, sample: int) -> list[Piece]:
    draw = self.draw
    if len(self.order):
      number = int(self.order[sample])
    else:
      order = Permutation(len(self), draw.seed, draw.epoch, purpose="sample")
      number = order[sample]
    if number < self._whole():
      document = int(np.searchsorted(self.ends, number, side="right"))
      part = number - self._whole_before(document)
      return [Piece(document, part * draw.context, draw.context)]
    number -= self._whole()
    first, last = self.offsets[number : number + 2].tolist()
    pieces = [self._tail(d) for d in self.documents[first:last].tolist()]
    keys = counter_hash(
      draw.seed, draw.epoch, number, np.arange(len(pieces)), purpose="place"
    )
    return [pieces[i] for i in np.argsort(keys, kind="stable").tolist()]

  def following(self, sample: int) -> list[Piece]:
    del sample  # nothing follows: samples are sets of documents
    return []

  def arrays(self) -> dict[str, np.ndarray]:
    names = [field.name for field in dataclasses.fields(self)]
    return {name: getattr(self, name) for name in names if name != "draw"}

  def _whole(self) -> int:
    return int(self.ends[-1]) if len(self.ends) else 0

  def _whole_before(self, document: int) -> int:
    return int(self.ends[document - 1]) if document else 0

  def _tail(self, document: int) -> Piece:
    whole = 0
    if len(self.ends):
      whole = int(self.ends[document]) - self._whole_before(document)
    start = whole * self.draw.context
    left = int(self.lengths[document]) - start
    return Piece(document, start, min(left, self.draw.context))


def whole_counts(lengths: np.ndarray, draw: Draw) -> np.ndarray:
  """Whole samples that each document fills before its tail.

  A document's last token needs no place of its own unless another document
  follows: it is only ever a target. Example: lengths 4, 5, 6 and context 4
  give 0, 0, 1, and 0, 1, 1 if documents are joined.
  """
  last = lengths - (1 if draw.joined else 2)
  return np.maximum(last, 0) // draw.context


def tail_lengths(lengths: np.ndarray, draw: Draw) -> np.ndarray:
  """Places of each document's tail, at most the context.

  Example: lengths 4, 5, 6 and context 4 give 4, 4, 2.
  """
  rest = lengths - whole_counts(lengths, draw) * draw.context
  return np.minimum(rest, draw.context)


def histogram(lengths: np.ndarray, draw: Draw) -> np.ndarray:
  """How many tails there are of each length, (context + 1,)."""
  counts = np.zeros(draw.context + 1, np.int64)
  for block in _blocks(lengths):
    if len(block) and block.min() < 1:
      shortest = block.min()
      raise ValueError(f"a document of {shortest} tokens, expected 1 or more")
    counts += np.bincount(tail_lengths(block, draw), minlength=len(counts))
  return counts


def best_fit(counts: np.ndarray) -> list[tuple[Pattern, int]]:
  """Packs lengths into bins of `len(counts) - 1`: patterns, and how often each.

  Longest first, each into the fullest bin that has room. counts[n] is how many
  have length n. Example: two of length 1, one of 3 and two of 4 in bins of 5,
  counts [0, 2, 0, 1, 2, 0], give [(((4, 1), (1, 1)), 2), (((3, 1),), 1)].
  """
  capacity, bins = len(counts) - 1, _Bins()
  for length in np.flatnonzero(counts)[::-1].tolist():
    count = int(counts[length])
    while count:
      room, pattern, opened = bins.take(length) or (
        capacity,
        (),
        -(-count // (capacity // length)),
      )
      fits = room // length
      full, rest = divmod(min(count, opened * fits), fits)
      bins.put(room - fits * length, (*pattern, (length, fits)), full)
      bins.put(room - rest * length, (*pattern, (length, rest)), int(rest > 0))
      bins.put(room, pattern, opened - full - (rest > 0))
      count -= full * fits + rest
  return bins.groups()


def count_best_fit(lengths: np.ndarray, draw: Draw) -> Counts:
  """Of the samples of `plan_best_fit`, without making it."""
  tails = histogram(lengths, draw)
  whole = _whole_samples(lengths, draw)
  return Counts(
    samples=whole + sum(count for _, count in best_fit(tails)),
    places=whole * draw.context + int(tails @ np.arange(len(tails))),
  )


def plan_best_fit(lengths: np.ndarray, draw: Draw) -> BestFitPlan:
  """Packs every token of every document into samples, once each."""
  lengths = lengths.astype(np.int32, copy=False)
  places, offsets = _expand(best_fit(histogram(lengths, draw)))
  # Both sides sorted by length: tails and places of one length meet at random.
  documents = np.empty(len(lengths), np.uint32)
  documents[np.argsort(places, kind="stable")] = _drawn_by_tail(lengths, draw)
  ends = _whole_ends(lengths, draw)
  order = np.zeros(0, np.uint32)
  if draw.order == "length":
    order = drawn_order(
      draw, _longest(lengths, ends, documents, offsets), "sample"
    )
  return BestFitPlan(draw, lengths, ends, documents, offsets, order)


def _drawn_by_tail(lengths: np.ndarray, draw: Draw) -> np.ndarray:
  """Documents by the length of their tail, drawn where it is the same."""
  dtype = np.uint16 if draw.context < 2**16 else np.uint32
  tails = np.empty(len(lengths), dtype)
  for at in range(0, len(lengths), _ROWS):
    here = slice(at, at + _ROWS)
    tails[here] = tail_lengths(lengths[here], draw)
  drawn = dataclasses.replace(draw, order="random")
  order = drawn_order(drawn, tails, "piece")
  return order[np.argsort(tails[order], kind="stable")]


def _whole_ends(lengths: np.ndarray, draw: Draw) -> np.ndarray:
  if not len(lengths) or not whole_counts(lengths.max(), draw):
    return np.zeros(0, np.uint32)
  dtype = smallest_dtype(_whole_samples(lengths, draw))
  return np.cumsum(whole_counts(lengths, draw), dtype=dtype)


def _whole_samples(lengths: np.ndarray, draw: Draw) -> int:
  return sum(
    int(whole_counts(block, draw).sum(dtype=np.int64))
    for block in _blocks(lengths)
  )


def _longest(
  lengths: np.ndarray,
  ends: np.ndarray,
  documents: np.ndarray,
  offsets: np.ndarray,
) -> np.ndarray:
  """Of every sample, the length of its longest document."""
  bins = np.zeros(0, np.int32)
  if len(documents):
    bins = np.maximum.reduceat(lengths[documents], offsets[:-1])
  if not len(ends):
    return bins
  return np.concatenate([np.repeat(lengths, np.diff(ends, prepend=0)), bins])


class _Bins:
  """Groups of bins filled alike, by the room they have left."""

  def __init__(self):
    self._rooms: list[int] = []  # sorted, each once
    self._groups: dict[int, list[tuple[Pattern, int]]] = {}

  def take(self, length: int) -> tuple[int, Pattern, int] | None:
    """Removes and returns a group with the least room that is enough."""
    at = bisect.bisect_left(self._rooms, length)
    if at == len(self._rooms):
      return None
    room = self._rooms[at]
    pattern, count = self._groups[room].pop()
    if not self._groups[room]:
      del self._groups[room], self._rooms[at]
    return room, pattern, count

  def put(self, room: int, pattern: Pattern, count: int) -> None:
    if not count:
      return
    if room not in self._groups:
      bisect.insort(self._rooms, room)
      self._groups[room] = []
    self._groups[room].append((pattern, count))

  def groups(self) -> list[tuple[Pattern, int]]:
    return [group for room in self._rooms for group in self._groups[room]]


def _expand(
  groups: list[tuple[Pattern, int]],
) -> tuple[np.ndarray, np.ndarray]:
  """Lengths of all places, and the offsets of bins in them."""
  capacity = max((p[0][0] for p, _ in groups), default=0)
  dtype = np.uint16 if capacity < 2**16 else np.uint32
  lengths, sizes = [np.zeros(0, dtype)], [np.zeros(1, np.uint32)]
  for pattern, count in groups:
    bin_lengths = [length for length, times in pattern for _ in range(times)]
    lengths.append(np.tile(np.array(bin_lengths, dtype), count))
    sizes.append(np.full(count, len(bin_lengths), np.uint32))
  return np.concatenate(lengths), np.cumsum(
    np.concatenate(sizes), dtype=np.uint32
  )


def _blocks(lengths: np.ndarray):
  for at in range(0, len(lengths), _ROWS):
    yield lengths[at : at + _ROWS]
