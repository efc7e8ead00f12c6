"""Manifests: files of one JSON object on each line, .jsonl or .jsonl.gz.

A manifest is read from front to back and a line at a time, whatever its size.
Lines that are no rows are SongErrors in their place; what is missing of a
compressed file that breaks off is one such line at the end.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
import dataclasses
import glob
import gzip
import itertools
import json
import os
import pathlib
import reprlib
import threading
from typing import Any, BinaryIO, NamedTuple
import zlib

from yue_jax.errors import SongError

_MAX_LINE = 2**26  # bytes
Row = dict[str, Any]


class Line(NamedTuple):
  """A line that is not blank, and the byte it begins with (uncompressed)."""

  number: int  # from 1
  offset: int
  content: bytes | SongError


@dataclasses.dataclass(frozen=True)
class Segment:
  """So many rows of a manifest, from a line on that begins at `offset`."""

  manifest: str
  line: int
  offset: int
  rows: int


def find_manifests(patterns: Iterable[str | os.PathLike[str]]) -> list[str]:
  """Files by names or globs, in the order given; those of a glob sorted.

  Raises FileNotFoundError for a name or glob without a file, ValueError for
  a file that is named twice.
  """
  found = []
  for pattern in map(os.fspath, patterns):
    names = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern))
    if not names or not all(map(os.path.isfile, names)):
      raise FileNotFoundError(f"no manifest {pattern}")
    found += names
  for name, count in Counter(found).items():
    if count > 1:
      raise ValueError(f"manifest {name} is named {count} times; name it once")
  return found


def read_manifest(
  path: str | os.PathLike[str],
) -> Iterator[tuple[int, Row | SongError]]:
  """Yields (line number from 1, row), or a SongError in place of the row.

  Blank lines are no rows. Lines are read one at a time and none is kept.
  """
  with ManifestFile(path) as file:
    for line in file.lines():
      yield line.number, parse_row(line.content)


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
  """All rows of a small manifest; ValueError names a line that is none."""
  rows = []
  for number, row in read_manifest(path):
    if isinstance(row, SongError):
      raise ValueError(f"{path}, line {number}: {row}")
    rows.append(row)
  return rows


def parse_row(content: bytes | SongError) -> Row | SongError:
  """The object of a line of JSON, or a SongError that says why it is none."""
  if isinstance(content, SongError):
    return content
  try:
    row = json.loads(content)
  except (ValueError, RecursionError) as error:
    return SongError("bad_json", f"not a line of JSON: {error}")
  if not isinstance(row, dict):
    message = f"expected an object, got {reprlib.repr(row)}"
    return SongError("bad_json", message)
  return row


_BROKEN = (EOFError, gzip.BadGzipFile, zlib.error)


class ManifestFile:
  """A manifest that is open for reading; `broken` where it breaks off."""

  def __init__(self, path: str | os.PathLike[str]):
    self.path = pathlib.Path(path)
    self.broken = False
    self._raw = open(self.path, "rb")  # noqa: SIM115
    self._file: BinaryIO = self._raw
    if self.path.suffix == ".gz":
      self._file = gzip.GzipFile(fileobj=self._raw)

  @property
  def position(self) -> int:
    """Bytes of the file that have been read."""
    return self._raw.tell()

  def lines(self, *, line: int = 1, offset: int = 0) -> Iterator[Line]:
    """Lines from the one that begins at `offset`, whose number is `line`.

    A compressed file has to be read up to there.
    """
    try:
      self._file.seek(offset)
    except _BROKEN as error:
      yield Line(line, offset, self._broken(error))
      return
    if self._raw is not self._file and not os.path.getsize(self.path):
      yield Line(line, offset, self._broken(EOFError("the file is empty")))
      return
    while True:
      try:
        content, size = self._read_line()
      except _BROKEN as error:
        yield Line(line, offset, self._broken(error))
        return
      if not size:
        return
      if isinstance(content, SongError) or content.strip():
        yield Line(line, offset, content)
      line, offset = line + 1, offset + size

  def _read_line(self) -> tuple[bytes | SongError, int]:
    """A line, or an error in place of one that is too long, and its bytes."""
    content = self._file.readline(_MAX_LINE)
    size = len(content)
    if size < _MAX_LINE or content.endswith(b"\n"):
      return content, size
    while not content.endswith(b"\n"):
      content = self._file.readline(_MAX_LINE)
      size += len(content)
      if not content:
        break
    message = f"a line of {size} bytes, {_MAX_LINE - 1} are the most"
    return SongError("long_line", message), size

  def _broken(self, error: Exception) -> SongError:
    self.broken = True
    reason = "truncated_file" if isinstance(error, EOFError) else "damaged_file"
    return SongError(
      reason,
      f"{self.path} cannot be read from this line on: {error}; copy it again,"
      " or restore it; the rows before this line count",
    )

  def close(self) -> None:
    self._file.close()
    self._raw.close()

  def __enter__(self) -> "ManifestFile":
    return self

  def __exit__(self, *_) -> None:
    self.close()


def read_segment(segment: Segment) -> Iterator[Line]:
  """The lines of a segment.

  A compressed file is read from its beginning, hence kept open for the
  segments that follow in it.
  """
  if not segment.manifest.endswith(".gz"):
    with ManifestFile(segment.manifest) as file:
      yield from _lines_of(file, segment)
    return
  found = os.stat(segment.manifest)
  key = segment.manifest, found.st_ino, found.st_size, found.st_mtime_ns
  if getattr(_kept, "key", None) != key:
    if hasattr(_kept, "file"):
      _kept.file.close()
    _kept.file, _kept.key = ManifestFile(segment.manifest), key
  yield from _lines_of(_kept.file, segment)
  if _kept.file.broken:
    _kept.key = None  # it cannot be rewound


_kept = threading.local()  # the compressed manifest that a thread read last


def _lines_of(file: ManifestFile, segment: Segment) -> Iterator[Line]:
  lines = file.lines(line=segment.line, offset=segment.offset)
  return itertools.islice(lines, segment.rows)
