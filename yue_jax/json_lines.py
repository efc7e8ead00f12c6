"""Files of JSON records, one a line, that outlive kills and lie anywhere."""

from collections.abc import Callable, Iterable
import json
from typing import Any

from etils import epath

Record = dict[str, Any]


def in_bucket(path: epath.PathLike) -> bool:
  """Whether a path names an object store, as gs://bucket/runs/x does."""
  return "://" in str(path)


def read_lines(path: epath.PathLike) -> list[Record]:
  """The records of a file, in order; none if there is no file.

  A last line without its newline was cut off by a kill, and is not a record.

  Raises:
    ValueError: names a line that holds no record.
  """
  path = epath.Path(path)
  if not path.exists():
    return []
  lines = path.read_text().split("\n")[:-1]
  return [_record(path, n, line) for n, line in enumerate(lines, start=1)]


def write_lines(path: epath.PathLike, records: Iterable[Record]) -> None:
  """Writes a file anew in one move: a kill in between loses nothing."""
  path = epath.Path(path)
  temporary = path.with_suffix(".tmp")
  temporary.write_text("".join(map(_line, records)))
  temporary.replace(path)


class JsonLines:
  """Appends records to a file.

  A record is on disk when `write` returns. An object in a bucket cannot grow:
  there the file is written anew at every `flush`.
  """

  def __init__(self, path: epath.PathLike, *, keep: Callable[[Record], bool]):
    """Goes on after the records of `path` that `keep` holds."""
    self._path = epath.Path(path)
    kept = [r for r in read_lines(self._path) if keep(r)]
    self._lines = self._file = None
    if in_bucket(path):
      self._lines = [_line(r) for r in kept]
      return
    write_lines(self._path, kept)
    self._file = self._path.open("a")

  def write(self, record: Record) -> None:
    if self._file is None:
      self._lines.append(_line(record))
    else:
      self._file.write(_line(record))
      self._file.flush()

  def flush(self) -> None:
    """Call where the file must not be behind: before checkpoints."""
    if self._lines is not None:
      self._path.write_text("".join(self._lines))

  def close(self) -> None:
    self.flush()
    if self._file is not None:
      self._file.close()


def _record(path: epath.Path, number: int, line: str) -> Record:
  try:
    record = json.loads(line)
  except ValueError as error:
    raise ValueError(
      f"{path}, line {number} is damaged ({error}): {line[:60]!r}; remove the"
      " line, or restore the file from a copy"
    ) from error
  if not isinstance(record, dict):
    raise ValueError(f"{path}, line {number} holds {line[:60]!r}, no record")
  return record


def _line(record: Record) -> str:
  return json.dumps(record) + "\n"
