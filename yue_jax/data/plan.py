"""The packing plan: which pieces of which documents share a sample.

A plan is computed from the lengths of documents alone, so that a sample can
be fetched by its number without having read those before it:

  lengths (documents,)                        from the index, no codes read
    └ pieces   documents longer than the context are cut, no others
       └ bins  best fit, longest first, on the histogram of lengths
          └ samples   which document fills which place, and the order of the
                      samples, drawn afresh in every epoch

How many samples there are depends on the histogram only; who sits beside whom
depends on (seed, epoch). Pure numpy, the same numbers on every machine.
"""

import bisect
import dataclasses

import numpy as np

from yue_jax.references import counter_hash

# A bin of the histogram: ((length, how often), ...) from long to short.
Pattern = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Pieces:
  """Piece i is `length[i]` tokens of `document[i]` from token `start[i]`."""

  document: np.ndarray
  start: np.ndarray
  length: np.ndarray

  def __len__(self) -> int:
    return len(self.document)

  def __getitem__(self, index) -> "Pieces":
    return Pieces(self.document[index], self.start[index], self.length[index])


@dataclasses.dataclass(frozen=True)
class Plan:
  """Samples of one epoch: sample n holds pieces offsets[n] to offsets[n+1]."""

  pieces: Pieces
  offsets: np.ndarray

  def __len__(self) -> int:
    return len(self.offsets) - 1

  def sample(self, number: int) -> Pieces:
    return self.pieces[self.offsets[number] : self.offsets[number + 1]]


def cut(lengths: np.ndarray, at: int) -> Pieces:
  """Cuts documents into pieces of at most `at` tokens.

  Only documents of more than `at` + 1 tokens are cut: a document's last token
  needs no place of its own, since it is only ever a target. Example: lengths
  [3, 5, 6] cut at 4 -> documents [0, 1, 2, 2], starts [0, 0, 0, 4], lengths
  [3, 4, 4, 2].
  """
  lengths = np.asarray(lengths, np.int64)
  count = np.maximum(1, -(-(lengths - 1) // at))
  document = np.repeat(np.arange(len(lengths)), count)
  first = np.cumsum(count) - count
  start = at * (np.arange(len(document)) - first[document])
  return Pieces(document, start, np.minimum(at, lengths[document] - start))


def best_fit(lengths: np.ndarray, capacity: int) -> list[tuple[Pattern, int]]:
  """Packs lengths into bins of `capacity`: patterns, and how often each.

  Longest first, each into the fullest bin that has room. Works on the
  histogram, hence fast for millions of documents of a few thousand lengths.
  Example: [4, 4, 3, 1, 1] into 5 -> [(((4, 1), (1, 1)), 2), (((3, 1),), 1)].
  """
  values, counts = np.unique(np.asarray(lengths), return_counts=True)
  if len(values) and (values[0] < 1 or values[-1] > capacity):
    raise ValueError(
      f"lengths span {values[0]}..{values[-1]}, bins hold 1..{capacity}"
    )
  bins = _Bins()
  for length, count in reversed(
    list(zip(values.tolist(), counts.tolist(), strict=True))
  ):
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


def count_samples(lengths: np.ndarray, *, context: int, cut_at: int) -> int:
  """Number of samples of `make_plan`, without making it."""
  packed = best_fit(cut(lengths, cut_at).length, context)
  return sum(count for _, count in packed)


def make_plan(
  lengths: np.ndarray, *, context: int, cut_at: int, seed: int, epoch: int
) -> Plan:
  """Packs every token of every document into samples, once each.

  Args:
    lengths: tokens of each document in this epoch.
    context: places in a sample.
    cut_at: longest piece of a document, at most `context`.
    seed: of the order, together with the epoch.
    epoch: counted from 0.
  """
  pieces = cut(lengths, cut_at)
  places, bins = _expand(best_fit(pieces.length, context))
  samples = int(bins[-1]) + 1 if len(bins) else 0

  def keys(count: int, purpose: str) -> np.ndarray:
    return counter_hash(seed, epoch, np.arange(count), purpose=purpose)

  # Both sides sorted by length: places and pieces of one length meet at random.
  taken = np.empty(len(pieces), np.int64)
  taken[np.argsort(places, kind="stable")] = np.lexsort(
    (keys(len(pieces), "piece"), pieces.length)
  )
  rank = _ranks(keys(samples, "sample"))[bins]
  order = np.lexsort((keys(len(pieces), "place"), rank))
  sizes = np.bincount(rank, minlength=samples)
  offsets = np.concatenate([[0], np.cumsum(sizes)])
  return Plan(pieces[taken[order]], offsets)


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
  """Lengths of all places, and the bin that each is in."""
  lengths, bins, first = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
  for pattern, count in groups:
    bin_lengths = np.repeat(*np.array(pattern, np.int64).T)
    lengths.append(np.tile(bin_lengths, count))
    bins.append(np.repeat(np.arange(first, first + count), len(bin_lengths)))
    first += count
  return np.concatenate(lengths), np.concatenate(bins)


def _ranks(keys: np.ndarray) -> np.ndarray:
  """Place of each key in their sorted order: [30, 10, 20] -> [2, 0, 1]."""
  ranks = np.empty(len(keys), np.int64)
  ranks[np.argsort(keys, kind="stable")] = np.arange(len(keys))
  return ranks
