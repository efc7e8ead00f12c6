"""Records: what one sample reads, as bytes, in ArrayRecord shards.

  song     uint32  magic, sections, frames of vocal, backing and mixture,
                   ids in the head, tags, bytes in the song's id
           uint32  by section: ids of its text, ids of its plain text, first
                   frame, end frame, whether it is a chorus
           uint32  by tag: its ids
           uint32  text ids: the head, the tags, then both texts, section by
                   section
           uint16  codebook 0: vocal, backing, mixture
           bytes   the song's id, UTF-8
  windows  uint32  magic, windows, codebooks, frames
           uint16  codes (windows, codebooks, frames)

All little endian, without compression: codes hardly shrink, and records are
read at random. A record is whole or refused, never half understood.
"""

import bisect
from collections.abc import Iterable, Sequence
import dataclasses
import hashlib
import itertools
import pathlib
import struct
import threading
from typing import Self

from array_record.python import array_record_module
import numpy as np

from yue_jax.encoding import EncodedSection, EncodedSong

TRACKS = ("vocal", "backing", "mixture")

_SONG = 0x32474E53  # "SNG2"
_WINDOWS = 0x31444E57  # "WND1"
_SONG_HEADER = struct.Struct(f"<{2 + len(TRACKS) + 3}I")  # first line above
_WINDOWS_HEADER = struct.Struct("<4I")
_SECTION_NUMBERS = 5
_Reader = array_record_module.ArrayRecordReader
_ID, _CODE = np.dtype("<i4"), np.dtype("<u2")  # strings are parsed each time
_WRITING = "group_size:1,uncompressed"
_READING = "readahead_buffer_size:0,max_parallelism:0"  # at random
_BUFFER = 1 << 15  # bytes that a reader asks the file for at a time


def encode_song_record(song: EncodedSong) -> bytes:
  """One song as bytes; a track it lacks has no frames."""
  tracks = [song.tracks.get(t, np.zeros(0, np.uint16)) for t in TRACKS]
  name = song.id.encode()
  texts = [t for s in song.sections for t in (s.text, s.plain_text)]
  table = [
    (len(s.text), len(s.plain_text), s.start, s.end, s.chorus)
    for s in song.sections
  ]
  header = [
    _SONG,
    len(table),
    *map(len, tracks),
    len(song.head),
    len(song.tags),
    len(name),
  ]
  tags = [len(tag) for tag in song.tags]
  numbers = np.concatenate(
    [header, np.ravel(table), tags, song.head, *song.tags, *texts]
  )
  codes = np.concatenate(tracks)
  return numbers.astype("<u4").tobytes() + codes.astype("<u2").tobytes() + name


def decode_song_record(record: bytes) -> EncodedSong:
  """Inverse of `encode_song_record`; ValueError for any other bytes."""
  header = _header(record, _SONG_HEADER, _SONG, "song")
  sections, *frames, head_size, tags, name_size = header
  by_section = sections * _SECTION_NUMBERS
  at = _SONG_HEADER.size  # bytes from here on
  table = _numbers(record, at, by_section + tags)
  rows = [
    table[first : first + _SECTION_NUMBERS]
    for first in range(0, by_section, _SECTION_NUMBERS)
  ]
  sizes = [head_size, *table[by_section:]]
  for own, plain, *_ in rows:
    sizes += own, plain
  at += 4 * len(table)
  end = at + 4 * sum(sizes)
  _expect_size(record, end + 2 * sum(frames) + name_size, "song")
  head, *texts = _arrays(record, _ID, at, sizes)
  codes = _arrays(record, _CODE, end, frames)
  own_tags, texts = tuple(texts[:tags]), iter(texts[tags:])
  return EncodedSong(
    id=record[len(record) - name_size :].decode(),
    head=head,
    tags=own_tags,
    sections=tuple(
      [
        EncodedSection(next(texts), next(texts), start, end, chorus != 0)
        for _, _, start, end, chorus in rows
      ]
    ),
    tracks={
      track: own for track, own in zip(TRACKS, codes, strict=True) if own.size
    },
  )


def encode_windows_record(windows: np.ndarray) -> bytes:
  """Codes (windows, codebooks, frames) as bytes."""
  header = np.array([_WINDOWS, *windows.shape], "<u4")
  return header.tobytes() + windows.astype("<u2").tobytes()


def decode_windows_record(record: bytes) -> np.ndarray:
  """Inverse of `encode_windows_record`: (windows, codebooks, frames) uint16."""
  shape = _header(record, _WINDOWS_HEADER, _WINDOWS, "run of windows")
  size = int(np.prod(shape))
  _expect_size(record, 16 + 2 * size, "run of windows")
  return np.frombuffer(record, "<u2", size, 16).reshape(shape)


@dataclasses.dataclass(frozen=True)
class Shard:
  """One file of records.

  Attributes:
    bytes: size of the file, by which a part of it is told from the whole.
    sha256: of the records, whoever wrote them.
    file_sha256: of the file.
  """

  name: str
  records: int
  bytes: int
  sha256: str
  file_sha256: str


class ShardWriter:
  """Writes one shard; records are numbered in the order of `write`."""

  def __init__(self, path: pathlib.Path):
    self.path = path
    self.records = 0
    self._hash = hashlib.sha256()
    self._writer = array_record_module.ArrayRecordWriter(str(path), _WRITING)

  def write(self, record: bytes) -> None:
    self._writer.write(record)
    self._hash.update(len(record).to_bytes(8, "little") + record)
    self.records += 1

  def close(self) -> Shard:
    self._writer.close()
    with open(self.path, "rb") as file:
      whole = hashlib.file_digest(file, "sha256").hexdigest()
    return Shard(
      name=self.path.name,
      records=self.records,
      bytes=self.path.stat().st_size,
      sha256=self._hash.hexdigest(),
      file_sha256=whole,
    )

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_) -> None:
    if self._writer.is_open():
      self._writer.close()


class Records(Sequence[bytes]):
  """The records of several shards, by number.

  Raises FileNotFoundError or ValueError when a shard is missing or has not
  its size; no file is opened before a record of it is read.
  """

  def __init__(self, directory: pathlib.Path, shards: Sequence[Shard]):
    for shard in shards:
      _expect_whole(directory / shard.name, shard.bytes)
    self._paths = [directory / shard.name for shard in shards]
    self._ends = list(itertools.accumulate(s.records for s in shards))
    self._readers: list[_Reader | None] = [None] * len(shards)
    self._opening = threading.Lock()

  def __len__(self) -> int:
    return self._ends[-1] if self._ends else 0

  def __getitem__(self, number: int) -> bytes:
    if not 0 <= number < len(self):
      raise IndexError(f"record {number} of {len(self)}")
    shard = bisect.bisect_right(self._ends, number)
    number -= self._ends[shard - 1] if shard else 0
    try:
      # A list of numbers would be looked up in the list of all records of the
      # shard, each time; seeking would hold the interpreter's lock.
      return self._reader(shard).read(number, number + 1)[0]
    except Exception as error:  # the reader has no class of its own for them
      raise ValueError(
        f"record {number} of {self._paths[shard]} cannot be read: {error};"
        " copy the data set again, or prepare the songs anew"
      ) from error

  def _reader(self, shard: int) -> _Reader:
    if self._readers[shard] is None:
      with self._opening:
        path = str(self._paths[shard])
        self._readers[shard] = self._readers[shard] or _Reader(
          path, _READING, file_reader_buffer_size=_BUFFER
        )
    return self._readers[shard]


def _expect_whole(path: pathlib.Path, size: int) -> None:
  if not path.is_file():
    raise FileNotFoundError(f"{path} does not exist; copy the data set again")
  found = path.stat().st_size
  if found != size:
    raise ValueError(
      f"{path} has {found} bytes, dataset.json says {size}; copy the data set"
      " again, or prepare the songs anew"
    )


def _header(
  record: bytes, layout: struct.Struct, magic: int, what: str
) -> list[int]:
  """The numbers after the magic one."""
  if len(record) < layout.size:
    raise ValueError(f"{len(record)} bytes are too few for a {what} record")
  found, *numbers = layout.unpack_from(record)
  if found != magic:
    raise ValueError(
      f"expected a {what} record, which begins with {magic:#x}, got {found:#x}"
    )
  return numbers


def _numbers(record: bytes, at: int, count: int) -> tuple[int, ...]:
  """So many, from a byte on."""
  if len(record) < at + 4 * count:
    raise ValueError(
      f"record of {len(record)} bytes ends before byte {at + 4 * count}"
    )
  return struct.unpack_from(f"<{count}I", record, at)


def _arrays(
  record: bytes, dtype: np.dtype, at: int, sizes: Iterable[int]
) -> list[np.ndarray]:
  """Arrays of these sizes, one after the other from a byte on."""
  values = np.frombuffer(record, dtype, sum(sizes), at)
  parts, start = [], 0
  for size in sizes:
    parts.append(values[start : start + size])
    start += size
  return parts


def _expect_size(record: bytes, size: int, what: str) -> None:
  if len(record) != size:
    raise ValueError(
      f"{what} record has {len(record)} bytes, its header says {size}"
    )
