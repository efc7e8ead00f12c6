"""Records: what one sample reads, as bytes, in ArrayRecord shards.

  song     uint32  magic, sections, frames of vocal, backing and mixture,
                   ids in the head, bytes in the song's id
           uint32  by section: ids of its text, ids of its plain text, first
                   frame, end frame, whether it is a chorus
           uint32  text ids: the head, then both texts, section by section
           uint16  codebook 0: vocal, backing, mixture
           bytes   the song's id, UTF-8
  windows  uint32  magic, windows, codebooks, frames
           uint16  codes (windows, codebooks, frames)

All little endian, without compression: codes hardly shrink, and records are
read at random. A record is whole or refused, never half understood.
"""

import dataclasses
import hashlib
import pathlib
from typing import Self

from array_record.python import array_record_module
import numpy as np

from yue_jax.encoding import EncodedSection, EncodedSong

TRACKS = ("vocal", "backing", "mixture")

_SONG = 0x31474E53  # "SNG1"
_WINDOWS = 0x31444E57  # "WND1"
_SONG_NUMBERS = 2 + len(TRACKS) + 2  # of a song's first line above
_SECTION_NUMBERS = 5
_OPTIONS = "group_size:1,uncompressed"


def encode_song_record(song: EncodedSong) -> bytes:
  """One song as bytes; a track it lacks has no frames."""
  tracks = [song.tracks.get(t, np.zeros(0, np.uint16)) for t in TRACKS]
  name = song.id.encode()
  texts = [t for s in song.sections for t in (s.text, s.plain_text)]
  table = [
    (len(s.text), len(s.plain_text), s.start, s.end, s.chorus)
    for s in song.sections
  ]
  header = [_SONG, len(table), *map(len, tracks), len(song.head), len(name)]
  numbers = np.concatenate([header, np.ravel(table), song.head, *texts])
  codes = np.concatenate(tracks)
  return numbers.astype("<u4").tobytes() + codes.astype("<u2").tobytes() + name


def decode_song_record(record: bytes) -> EncodedSong:
  """Inverse of `encode_song_record`; ValueError for any other bytes."""
  header = _header(record, _SONG, _SONG_NUMBERS, "song")
  sections, *frames, head_size, name_size = header
  at = _SONG_NUMBERS
  table = _numbers(record, at, sections * _SECTION_NUMBERS)
  table = table.reshape(sections, _SECTION_NUMBERS)
  at += table.size
  ends = np.cumsum([head_size, *table[:, :2].ravel()])
  text = _numbers(record, at, int(ends[-1])).astype(np.int32)
  at = 4 * (at + text.size)  # in bytes from here on
  _expect_size(record, at + 2 * sum(frames) + name_size, "song")
  codes = np.frombuffer(record, "<u2", sum(frames), at)
  tracks = np.split(codes, np.cumsum(frames)[:-1])
  head, *texts = np.split(text, ends[:-1])
  rows = zip(texts[0::2], texts[1::2], table[:, 2:].tolist(), strict=True)
  return EncodedSong(
    id=record[at + codes.nbytes :].decode(),
    head=head,
    sections=tuple(
      EncodedSection(own, plain, start, end, bool(chorus))
      for own, plain, (start, end, chorus) in rows
    ),
    tracks={t: c for t, c in zip(TRACKS, tracks, strict=True) if c.size},
  )


def encode_windows_record(windows: np.ndarray) -> bytes:
  """Codes (windows, codebooks, frames) as bytes."""
  header = np.array([_WINDOWS, *windows.shape], "<u4")
  return header.tobytes() + windows.astype("<u2").tobytes()


def decode_windows_record(record: bytes) -> np.ndarray:
  """Inverse of `encode_windows_record`: (windows, codebooks, frames) uint16."""
  shape = _header(record, _WINDOWS, 4, "run of windows")
  size = int(np.prod(shape))
  _expect_size(record, 16 + 2 * size, "run of windows")
  return np.frombuffer(record, "<u2", size, 16).reshape(shape)


@dataclasses.dataclass(frozen=True)
class Shard:
  """One file of records; `sha256` is of the records, not of the file."""

  name: str
  records: int
  sha256: str


class ShardWriter:
  """Writes one shard; records are numbered in the order of `write`."""

  def __init__(self, path: pathlib.Path):
    self.path = path
    self.records = 0
    self._hash = hashlib.sha256()
    self._writer = array_record_module.ArrayRecordWriter(str(path), _OPTIONS)

  def write(self, record: bytes) -> None:
    self._writer.write(record)
    self._hash.update(len(record).to_bytes(8, "little") + record)
    self.records += 1

  def close(self) -> Shard:
    self._writer.close()
    return Shard(self.path.name, self.records, self._hash.hexdigest())

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_) -> None:
    if self._writer.is_open():
      self._writer.close()


def _header(record: bytes, magic: int, size: int, what: str) -> list[int]:
  """The numbers after the magic one, as Python integers."""
  if len(record) < 4 * size:
    raise ValueError(f"{len(record)} bytes are too few for a {what} record")
  found, *numbers = _numbers(record, 0, size).tolist()
  if found != magic:
    raise ValueError(
      f"expected a {what} record, which begins with {magic:#x}, got {found:#x}"
    )
  return numbers


def _numbers(record: bytes, start: int, count: int) -> np.ndarray:
  if len(record) < 4 * (start + count):
    raise ValueError(
      f"record of {len(record)} bytes ends before number {start + count}"
    )
  return np.frombuffer(record, "<u4", count, 4 * start)


def _expect_size(record: bytes, size: int, what: str) -> None:
  if len(record) != size:
    raise ValueError(
      f"{what} record has {len(record)} bytes, its header says {size}"
    )
