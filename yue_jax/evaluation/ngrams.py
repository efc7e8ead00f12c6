"""An index of n-grams of codes, over more songs than fit in memory.

    index/index.json     n, names of the songs, where each begins
          codes.bin      uint16, all songs one after another
          0.hashes.npy   uint64, sorted, of the n-grams of a few million frames
          0.places.npy   uint32, where in codes.bin each of them begins
          1.hashes.npy   ...

Built and read shard by shard: memory is a few shards', however many there are.
A hash that is found is compared with the codes themselves, so that nothing is
taken for a copy by accident.

N-grams in which the code changes fewer than twice are left out, of songs and of
questions: held notes and silence are everywhere and are nobody's.
"""

from collections.abc import Iterable
import dataclasses
import functools
import json
import pathlib
from typing import NamedTuple

import numpy as np

from yue_jax.whole_directory import whole_directory

SHARD_FRAMES = 2**22  # 50 MB on disk; three times that to build
_FORMAT = 1
_LEAST_CHANGES = 2
_MOST_PLACES = 64  # of one n-gram in one shard that are looked at
_MOST_FRAMES = 2**32  # places are uint32: two and a half years of sound


class Matches(NamedTuple):
  """N-grams of a song that the index has too.

  Attributes:
    asked: (matches,) frames at which they begin in the song asked for.
    places: (matches,) where they begin in the codes of the index.
  """

  asked: np.ndarray
  places: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
  """A finished index; see above.

  Attributes:
    root: its folder.
    n: frames of an n-gram.
    names: of its songs.
    starts: (songs + 1,) where in the codes each begins, and the end.
  """

  root: pathlib.Path
  n: int
  names: tuple[str, ...]
  starts: np.ndarray

  @functools.cached_property
  def codes(self) -> np.ndarray:
    """(frames,) of all songs, on disk."""
    return np.memmap(self.root / "codes.bin", np.uint16, mode="r")

  def song_at(self, places: np.ndarray) -> np.ndarray:
    """Indices of the songs in which places lie."""
    return np.searchsorted(self.starts, places, side="right") - 1

  def find(self, codes: np.ndarray) -> Matches:
    """Where the n-grams of a song occur; of very common ones, 64 a shard."""
    hashes, frames = ngrams(codes, self.n)
    order = np.argsort(hashes)
    hashes, frames = hashes[order], frames[order]
    found = [
      self._find(shard, hashes, frames)
      for shard in range(len(list(self.root.glob("*.hashes.npy"))))
    ]
    asked, places = (np.concatenate(x) for x in zip(*found, strict=True))
    same = np.ones(len(asked), bool)
    for k in range(self.n):
      same &= codes[asked + k] == self.codes[places + k]
    return Matches(asked[same], places[same])

  def _find(self, shard: int, hashes: np.ndarray, frames: np.ndarray):
    known = np.load(self.root / f"{shard}.hashes.npy", mmap_mode="r")
    places = np.load(self.root / f"{shard}.places.npy", mmap_mode="r")
    first = np.searchsorted(known, hashes, side="left")
    count = np.searchsorted(known, hashes, side="right") - first
    taken = np.minimum(count, _MOST_PLACES)
    rank = np.arange(taken.sum()) - np.repeat(taken.cumsum() - taken, taken)
    # spread over all occurrences, not the first songs only
    spread = rank * np.repeat(count, taken) // np.repeat(taken, taken)
    at = np.repeat(first, taken) + spread
    return np.repeat(frames, taken), places[at].astype(np.int64)


def ngrams(codes: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
  """Hashes of the n-grams that say anything, and the frames they begin at."""
  codes = checked_codes(codes)
  if n < 2:
    raise ValueError(f"n-grams of n={n} frames; expected at least 2")
  if len(codes) < n:
    return np.zeros(0, np.uint64), np.zeros(0, np.int64)
  windows = len(codes) - n + 1
  hashes = np.zeros(windows, np.uint64)
  mixed = _mixed(codes.astype(np.uint64) + np.uint64(1))
  for k in range(n):
    hashes *= np.uint64(0x9E3779B97F4A7C15)  # odd: multiplying loses nothing
    hashes += mixed[k : k + windows]
  changes = np.concatenate([[0], np.cumsum(codes[1:] != codes[:-1])])
  frames = np.flatnonzero(
    changes[n - 1 :] - changes[:windows] >= _LEAST_CHANGES
  )
  return hashes[frames], frames


def build_index(
  songs: Iterable[tuple[str, np.ndarray]],
  out: pathlib.Path,
  *,
  n: int,
  shard_frames: int = SHARD_FRAMES,
) -> Index:
  """Writes the index of songs, (name, (frames,) codes of one codebook) each.

  Raises:
    ValueError: codes are none, or there are no songs.
    FileExistsError: `out` exists.
  """
  names: list[str] = []
  starts = [0]
  with whole_directory(out) as partial:
    with (partial / "codes.bin").open("wb") as file:
      writer = _ShardWriter(partial, n, shard_frames)
      for name, codes in songs:
        codes = checked_codes(codes)
        codes.tofile(file)
        writer.add(codes, starts[-1])
        names.append(name)
        starts.append(starts[-1] + len(codes))
    writer.flush()
    if not names:
      raise ValueError("no songs to index; expected some")
    described = {"format": _FORMAT, "n": n, "songs": names, "starts": starts}
    (partial / "index.json").write_text(json.dumps(described) + "\n")
  return Index(out, n, tuple(names), np.array(starts))


def open_index(root: pathlib.Path) -> Index:
  """The index in a folder.

  Raises ValueError if it is none, or of another version.
  """
  try:
    found = json.loads((root / "index.json").read_text())
  except FileNotFoundError:
    raise ValueError(f"{root} is no index: it has no index.json") from None
  if found.get("format") != _FORMAT:
    raise ValueError(
      f"{root} has format {found.get('format')}, expected {_FORMAT}; remove it"
      " and build it again"
    )
  starts = np.array(found["starts"])
  size = (root / "codes.bin").stat().st_size
  if size != 2 * starts[-1]:
    raise ValueError(
      f"{root}/codes.bin has {size} bytes, expected {2 * starts[-1]}; remove"
      " the index and build it again"
    )
  return Index(root, found["n"], tuple(found["songs"]), starts)


def checked_codes(codes: np.ndarray) -> np.ndarray:
  """Codes of one codebook as uint16; ValueError if they are none."""
  codes = np.asarray(codes)
  if codes.ndim != 1 or codes.dtype.kind not in "iu" or not len(codes):
    raise ValueError(
      f"codes of shape {codes.shape} and type {codes.dtype}; expected"
      " (frames,) integers of one codebook"
    )
  if codes.min() < 0 or codes.max() >= 2**16:
    raise ValueError(
      f"codes from {codes.min()} to {codes.max()}, expected 0 to {2**16 - 1}"
    )
  return codes.astype(np.uint16)


class _ShardWriter:
  """Collects the n-grams of songs and writes them by the shard."""

  def __init__(self, root: pathlib.Path, n: int, frames: int):
    self._root, self._n, self._frames = root, n, frames
    self._shards = 0
    self._hashes: list[np.ndarray] = []
    self._places: list[np.ndarray] = []
    self._size = 0

  def add(self, codes: np.ndarray, start: int) -> None:
    if start + len(codes) > _MOST_FRAMES:
      raise ValueError(f"more than {_MOST_FRAMES} frames do not fit an index")
    hashes, frames = ngrams(codes, self._n)
    self._hashes.append(hashes)
    self._places.append((frames + start).astype(np.uint32))
    self._size += len(hashes)
    if self._size >= self._frames:
      self.flush()

  def flush(self) -> None:
    if not self._size:
      return
    hashes, places = map(np.concatenate, (self._hashes, self._places))
    order = np.argsort(hashes, kind="stable")
    np.save(self._root / f"{self._shards}.hashes.npy", hashes[order])
    np.save(self._root / f"{self._shards}.places.npy", places[order])
    self._hashes, self._places, self._size = [], [], 0
    self._shards += 1


def _mixed(x: np.ndarray) -> np.ndarray:
  """Spreads small numbers over 64 bits (the finaliser of SplitMix64)."""
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))
