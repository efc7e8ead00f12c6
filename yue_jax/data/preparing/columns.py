"""Columns of finished parts, joined without having all of them in memory.

Only the columns by song that tell duplicates and groups are read as a whole;
all others go from the parts to the index piece by piece.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import pathlib
import shutil
from typing import Any

import numpy as np

from yue_jax.data.layout import (
  COLUMNS,
  NO_RECORD,
  RUN_COLUMNS,
  SECTION_COLUMNS,
  SONG_COLUMNS,
  ColumnWriter,
)
from yue_jax.data.preparing.chunks import Chunk
from yue_jax.data.preparing.parts import Part
from yue_jax.data.records import TRACKS

Columns = dict[str, np.ndarray]
CODES = tuple(f"codes_{track}" for track in TRACKS)
_WHOLE = ("id_hash", "record", *CODES)


class PartColumns:
  """The columns of finished parts, one part at a time."""

  def __init__(
    self,
    directories: Sequence[pathlib.Path],
    chunks: Sequence[Chunk],
    parts: Sequence[Part],
  ):
    self._found = list(zip(directories, chunks, parts, strict=True))

  def __iter__(
    self,
  ) -> Iterator[tuple[pathlib.Path, Chunk, Part, Mapping[str, np.ndarray]]]:
    """Directory, chunk and description of every part, and its columns."""
    for directory, chunk, part in self._found:
      path = directory / "columns.npz"
      with np.load(path, allow_pickle=False) as columns:
        yield directory, chunk, part, columns

  def song_table(self) -> Columns:
    """Those columns by song that are needed as a whole."""
    pieces = [[columns[n] for n in _WHOLE] for *_, columns in self]
    joined = [np.concatenate(column) for column in zip(*pieces, strict=True)]
    return dict(zip(_WHOLE, joined, strict=True))


def find_duplicates(id_hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Rows whose id an earlier row has, rising, and the first row of each id.

  Example: [5, 7, 5, 5] -> [2, 3], [0, 0].
  """
  order = np.argsort(id_hashes, kind="stable")
  new = np.ones(len(order), bool)
  new[1:] = id_hashes[order[1:]] != id_hashes[order[:-1]]
  firsts = order[new][np.cumsum(new) - 1]
  again, firsts = order[~new], firsts[~new]
  rising = np.argsort(again)
  return again[rising], firsts[rising]


def write_index(
  parts: PartColumns,
  folder: pathlib.Path,
  *,
  keep: np.ndarray,
  groups: np.ndarray,
  languages: Mapping[str, int],
) -> dict[str, dict[str, Any]]:
  """Writes the columns; returns the number of rows and the SHA-256 of each.

  Args:
    parts: all of them.
    folder: of the data set.
    keep: which rows of the song table of all parts, (rows,) bool; their
      sections and runs are kept with them.
    groups: of the rows kept.
    languages: numbers of their names.
  """
  shutil.rmtree(folder / "index", ignore_errors=True)
  (folder / "index").mkdir()
  rows = _count_rows(parts, keep)
  with contextlib.ExitStack() as stack:
    writers = {
      name: stack.enter_context(ColumnWriter(folder, name, rows[name]))
      for name in COLUMNS
    }
    writers["group"].append(groups)
    for piece in _pieces(parts, keep, languages):
      for name, column in piece.items():
        writers[name].append(column)
    return {name: writer.finish() for name, writer in writers.items()}


def _count_rows(parts: PartColumns, keep: np.ndarray) -> dict[str, int]:
  """Of each column of the data set."""
  first = sections = runs = 0
  for *_, columns in parts:
    section_count = columns["section_count"]
    here = keep[first : first + len(section_count)]
    sections += int(section_count[here].sum(dtype=np.int64))
    runs += int(here[columns["run_song"]].sum())
    first += len(here)
  return {
    **dict.fromkeys(SONG_COLUMNS, int(keep.sum())),
    **dict.fromkeys(SECTION_COLUMNS, sections),
    **dict.fromkeys(RUN_COLUMNS, runs),
  }


def _pieces(
  parts: PartColumns, keep: np.ndarray, languages: Mapping[str, int]
) -> Iterator[Columns]:
  """Columns of each part, with the numbers of the whole; no groups."""
  number = (np.cumsum(keep) - 1).astype(np.uint32)  # of the rows kept
  rows = songs = windows = 0
  for _, _, part, columns in parts:
    own = {name: columns[name] for name in COLUMNS if name != "group"}
    record, run_song = own["record"], own["run_song"]
    here = slice(rows, rows + len(record))
    numbers = np.array([languages[name] for name in part.languages], np.uint8)
    own["record"] = np.where(record == NO_RECORD, NO_RECORD, record + songs)
    own["language"] = numbers[own["language"]]
    own["run_song"] = number[here][run_song]
    own["run_record"] = own["run_record"] + windows
    by_section = np.repeat(keep[here], own["section_count"])
    masks = dict.fromkeys(own, keep[here])
    masks |= dict.fromkeys(SECTION_COLUMNS, by_section)
    masks |= dict.fromkeys(RUN_COLUMNS, keep[here][run_song])
    yield {name: column[masks[name]] for name, column in own.items()}
    rows = here.stop
    songs += part.songs.records
    windows += part.windows.records
