"""The list of rejected rows: those of the parts, and the duplicates."""

from collections import Counter
import dataclasses
import hashlib
import json
import pathlib

import numpy as np

from yue_jax.data.preparing.columns import PartColumns
from yue_jax.data.preparing.row_writer import rejection
from yue_jax.errors import SongError


@dataclasses.dataclass(frozen=True)
class RejectedList:
  """What rejected.jsonl holds: lines by reason, and the SHA-256 of all."""

  reasons: dict[str, int]
  sha256: str


def write_rejected(
  parts: PartColumns,
  path: pathlib.Path,
  *,
  duplicates: np.ndarray,
  firsts: np.ndarray,
) -> RejectedList:
  """Writes the list in the order of the manifests.

  A row that was rejected and repeats an id is listed once, as a duplicate:
  its windows are not used either.

  Args:
    parts: all of them.
    path: the file to write.
    duplicates: rows of the song table of all parts, rising.
    firsts: the rows whose ids these have.
  """
  reasons, digest, rows = Counter(), hashlib.sha256(), 0
  places = _find_places(parts, np.unique(np.append(duplicates, firsts)))
  several = len({s.manifest for _, c, *_ in parts for s in c.segments}) > 1
  with open(path, "wb") as file:
    for directory, chunk, _, columns in parts:
      last = rows + len(columns["line"])
      here = slice(*np.searchsorted(duplicates, [rows, last]))
      listed = {}
      with open(directory / "rejected.jsonl") as own:
        for rejected in map(json.loads, own):
          listed[rejected["manifest"], rejected["line"]] = rejected
      for row, first in zip(duplicates[here], firsts[here], strict=True):
        place = places[row]
        listed[place.manifest, place.line] = {
          "manifest": place.manifest,
          "line": place.line,
          **rejection(place.id, _repeated(place, places[first], several), {}),
        }
      order = {s.manifest: n for n, s in enumerate(chunk.segments)}
      for key in sorted(listed, key=lambda key: (order[key[0]], key[1])):
        reasons[listed[key]["reason"]] += 1
        line = f"{json.dumps(listed[key])}\n".encode()
        digest.update(line)
        file.write(line)
      rows = last
  return RejectedList(dict(reasons), digest.hexdigest())


@dataclasses.dataclass(frozen=True)
class _Place:
  manifest: str
  line: int
  id: str


def _repeated(place: _Place, first: _Place, several: bool) -> SongError:
  line = f"{first.manifest}:{first.line}" if several else f"line {first.line}"
  message = f"the id {place.id!r} is that of {line} already"
  return SongError("duplicate_id", message)


def _find_places(parts: PartColumns, rows: np.ndarray) -> dict[int, _Place]:
  """Where rows (rising) of the song table are, and their ids."""
  places, first = {}, 0
  for _, chunk, _, columns in parts:
    lines = columns["line"]
    here = rows[slice(*np.searchsorted(rows, [first, first + len(lines)]))]
    if len(here):
      ids, sizes = columns["ids"].tobytes(), columns["id_size"]
      ends = np.cumsum(sizes, dtype=np.int64)
      segments = columns["segment"]
    for row in here.tolist():
      at = row - first
      places[row] = _Place(
        chunk.segments[segments[at]].manifest,
        int(lines[at]),
        ids[int(ends[at] - sizes[at]) : int(ends[at])].decode(),
      )
    first += len(lines)
  return places
