"""Megatron's indexed data sets, read where they lie and as they are.

  PREFIX.bin   the ids of all documents, one after the other
  PREFIX.idx   9 bytes   magic
               uint64    version, 1
               uint8     code of the ids' dtype
               uint64    sequences S, and entries D of the document index
               int32[S]  ids of each sequence
               int64[S]  where each begins, in bytes of PREFIX.bin
               int64[D]  sequence with which each document begins; in the end S

A document is a row of sequences (as released: the head of a song, then each
of its sections), and may be empty. Opening reads the whole of PREFIX.idx once,
in pieces, and keeps one number per document; ids are memory-mapped.
"""

from collections.abc import Sequence
import functools
import hashlib
import pathlib
import struct

import numpy as np

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
HEADER = struct.Struct(f"<{len(MAGIC)}sQBQQ")
_CHUNK = 1 << 20  # sequences read at once
_SAMPLES, _SAMPLE_BYTES = 256, 4096  # of PREFIX.bin, for the fingerprint


class MegatronDocuments(Sequence[np.ndarray]):
  """The documents of PREFIX.bin and PREFIX.idx, by number.

  Attributes:
    prefix: both paths without their endings.
    dtype: of the ids.
    offsets: token with which each document begins, and in the end the number
      of tokens: (documents + 1,) int64.
  """

  def __init__(self, prefix: str | pathlib.Path):
    """Opens a data set; an error says which file is wrong, and how.

    Raises FileNotFoundError when a file is missing, ValueError when one is
    damaged or the two do not belong together.
    """
    self.prefix = str(prefix)
    self._idx = _expect_file(f"{prefix}.idx")
    self._bin = _expect_file(f"{prefix}.bin")
    self.dtype, self._sequences, entries = _read_header(self._idx)
    self._documents_at = HEADER.size + 12 * self._sequences
    self._starts = _read_document_index(
      self._idx, self._documents_at, entries, self._sequences
    )
    self.offsets = _read_offsets(
      self._idx, self._starts, self._sequences, self.dtype
    )
    size, expected = self._bin.stat().st_size, self.tokens * self.dtype.itemsize
    if size != expected:
      raise ValueError(
        f"{self._bin} has {size} bytes; {self._idx} expects {expected},"
        f" {self.tokens} ids of {self.dtype}; copy both files again"
      )
    self._ids = np.zeros(0, self.dtype)
    if size:  # np.memmap refuses empty files
      self._ids = np.asarray(np.memmap(self._bin, self.dtype, mode="r"))

  @property
  def tokens(self) -> int:
    """Ids of all documents together."""
    return int(self.offsets[-1])

  @property
  def lengths(self) -> np.ndarray:
    """Ids of each document, (documents,) int64."""
    return np.diff(self.offsets)

  def __len__(self) -> int:
    return len(self.offsets) - 1

  def __getitem__(self, number: int) -> np.ndarray:
    """Ids of a document as they lie in the file, (n,) read-only."""
    if not 0 <= number < len(self):
      raise IndexError(
        f"document {number} of {self.prefix}: 0..{len(self) - 1}"
      )
    return self._ids[self.offsets[number] : self.offsets[number + 1]]

  def sequence_lengths(self, number: int) -> np.ndarray:
    """Ids of each sequence of a document, (sequences,) int32."""
    first, last = self._starts[number : number + 2].tolist()
    return _read(self._idx, "<i4", last - first, HEADER.size + 4 * first)

  @functools.cached_property
  def fingerprint(self) -> str:
    """Sixteen hex digits of PREFIX.idx and of samples of PREFIX.bin."""
    size = self._bin.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(self._idx, "rb") as file:
      while chunk := file.read(1 << 24):
        digest.update(chunk)
    last = max(0, size - _SAMPLE_BYTES)
    with open(self._bin, "rb") as file:
      for i in range(_SAMPLES):
        file.seek(last * i // (_SAMPLES - 1))
        digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def _expect_file(name: str) -> pathlib.Path:
  path = pathlib.Path(name)
  if not path.is_file():
    raise FileNotFoundError(
      f"{path} does not exist; a Megatron data set is named by what its .bin"
      " and its .idx have in common"
    )
  return path


def _read_header(path: pathlib.Path) -> tuple[np.dtype, int, int]:
  """Dtype of the ids, number of sequences, entries of the document index."""
  size = path.stat().st_size
  with open(path, "rb") as file:
    start = file.read(HEADER.size)
  magic = start[: len(MAGIC)]
  if magic != MAGIC:
    raise ValueError(
      f"{path} begins with {magic!r}, expected {MAGIC!r}; it is no index of a"
      " memory-mapped Megatron data set"
    )
  if size < HEADER.size:
    raise ValueError(
      f"{path} has {size} bytes, expected {HEADER.size} or more; copy it again"
    )
  _, version, code, sequences, entries = HEADER.unpack(start)
  if version != VERSION:
    raise ValueError(f"{path} has version {version}, expected {VERSION}")
  if code not in DTYPES:
    raise ValueError(
      f"{path}: ids of dtype code {code}, expected one of {sorted(DTYPES)}"
      " (integers)"
    )
  expected = HEADER.size + 12 * sequences + 8 * entries
  if size != expected:
    hint = "copy it again"
    if size == expected + sequences:
      hint = "those of multimodal data have a mode per sequence, not read here"
    raise ValueError(
      f"{path} has {size} bytes, expected {expected} for {sequences} sequences"
      f" and {entries} entries of the document index; {hint}"
    )
  return np.dtype(DTYPES[code]), sequences, entries


def _read_document_index(
  path: pathlib.Path, at: int, entries: int, sequences: int
) -> np.ndarray:
  """Sequence with which each document begins, in the end all, int64."""
  starts = _read(path, "<i8", entries, at)
  if not entries or starts[0] != 0 or starts[-1] != sequences:
    ends = f"from {starts[0]} to {starts[-1]}" if entries else "nowhere"
    raise ValueError(
      f"{path}: the document index goes {ends}, expected from 0 to {sequences},"
      " the number of sequences; copy it again"
    )
  falls = starts[1:] < starts[:-1]
  if falls.any():
    at = int(np.argmax(falls))
    raise ValueError(
      f"{path}: document {at} begins with sequence {starts[at]}, the next one"
      f" with {starts[at + 1]}, expected the same or a later one; copy it again"
    )
  return starts


def _read_offsets(
  path: pathlib.Path, starts: np.ndarray, sequences: int, dtype: np.dtype
) -> np.ndarray:
  """Token with which each document begins, and in the end their number.

  Sequences have to follow one another without gaps, so that a document is one
  stretch of the file; every writer of this format does so.
  """
  offsets = np.empty(len(starts), np.int64)
  total = 0
  for first in range(0, sequences, _CHUNK):
    count = min(_CHUNK, sequences - first)
    sizes = _read(path, "<i4", count, HEADER.size + 4 * first)
    pointers = _read(
      path, "<i8", count, HEADER.size + 4 * sequences + 8 * first
    )
    if (sizes < 0).any():
      at = int(np.argmax(sizes < 0))
      raise ValueError(
        f"{path}: sequence {first + at} has {sizes[at]} ids, expected 0 or"
        " more; copy it again"
      )
    begins = np.cumsum(sizes, dtype=np.int64) + total
    end = int(begins[-1])
    begins -= sizes
    wrong = pointers != begins * dtype.itemsize
    if wrong.any():
      at = int(np.argmax(wrong))
      raise ValueError(
        f"{path}: sequence {first + at} begins at byte {pointers[at]}, expected"
        f" {begins[at] * dtype.itemsize}, where the one before ends; copy it"
        " again"
      )
    low, high = np.searchsorted(starts, [first, first + count])
    offsets[low:high] = begins[starts[low:high] - first]
    total = end
  offsets[np.searchsorted(starts, sequences) :] = total
  return offsets


def _read(path: pathlib.Path, dtype: str, count: int, at: int) -> np.ndarray:
  return np.fromfile(path, dtype, count, offset=at)
