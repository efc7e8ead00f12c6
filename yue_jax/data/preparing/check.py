"""Is a data set on disk still what was written, to the last bit?

  dataset.json      its checksum, and its counts against the index
  index/*.npy       SHA-256, and what columns say of each other
  rejected.jsonl    SHA-256
  shards            SHA-256; every record that the index lists is decoded and
                    what the index says of it computed anew

Every fault is a sentence that names the file, and the record where there is
one. Nothing is repaired.
"""

from collections.abc import Iterator
import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from yue_jax.data.dataset import Dataset, open_dataset
from yue_jax.data.layout import (
  COLUMNS,
  NO_RECORD,
  RUN_COLUMNS,
  SECTION_COLUMNS,
  SONG_COLUMNS,
  checksum,
  column_path,
  hash_bytes,
  to_text,
)
from yue_jax.data.preparing.columns import CODES
from yue_jax.data.preparing.groups import group_songs
from yue_jax.data.preparing.pool import map_on_processes
from yue_jax.data.preparing.row_writer import section_columns, song_columns
from yue_jax.data.records import (
  Records,
  Shard,
  decode_song_record,
  decode_windows_record,
)
from yue_jax.progress import Progress

_NAMED = 5  # records named in one shard; the others are counted


def check_dataset(directory: pathlib.Path, *, workers: int = 1) -> list[str]:
  """All that is wrong with a prepared data set; an empty list if nothing is.

  Reads every byte of it, shards on as many processes as there are workers.
  """
  directory = pathlib.Path(directory)
  if not directory.is_dir():
    return [f"{directory} is no directory"]
  if damaged := [*_check_description(directory / "dataset.json")]:
    return damaged  # nothing else could be believed
  try:
    dataset = open_dataset(directory)
  except (ValueError, OSError) as error:
    return [str(error)]
  faults = [*_check_files(dataset)]
  compare = not faults  # columns that are damaged tell nothing of records
  if compare:
    faults += _check_columns(dataset)
  tasks = [
    _ShardTask(directory, what, number, compare)
    for what in ("songs", "windows")
    for number in range(len(dataset.info["shards"][what]))
  ]
  records = len(dataset.songs) + len(dataset.windows)
  with Progress(records, "records", "checking") as progress:
    for found, count in map_on_processes(_check_shard, tasks, workers):
      faults += found
      progress.advance(count, note=f"{len(faults)} faults")
  return faults


def _check_description(path: pathlib.Path) -> Iterator[str]:
  if not path.is_file():
    yield f"{path} does not exist, so {path.parent} is no prepared data set"
    return
  try:
    content = path.read_bytes()
    info = json.loads(content)
    whole = info["checksum"] == checksum(info) and content == to_text(info)
  except (ValueError, TypeError, KeyError) as error:
    yield f"{path} is not as it was written: {error!r}"
  else:
    if not whole:
      yield f"{path} is not as it was written: its checksum differs"


def _check_files(dataset: Dataset) -> Iterator[str]:
  """Of columns and rejected rows: are they as written?"""
  info = dataset.info
  files = {
    column_path(dataset.directory, name): info["index"][name]["sha256"]
    for name in COLUMNS
  } | {dataset.directory / "rejected.jsonl": info["rejected_sha256"]}
  for path, expected in files.items():
    if not path.is_file():
      yield f"{path} does not exist"
    elif _sha256(path) != expected:
      yield f"{path} is not as it was written: its SHA-256 differs"


def _check_columns(dataset: Dataset) -> Iterator[str]:
  """What columns and counts say of each other."""
  index, info = dataset.index, dataset.info
  record, run_record = index["record"], index["run_record"]
  numbered = record[record != NO_RECORD]
  by_track = np.bincount(index["run_track"], index["run_windows"], minlength=3)
  groups = group_songs(index["id_hash"], [index[name] for name in CODES])
  sizes = {
    names[0]: {len(index[name]) for name in names}
    for names in map(list, (SONG_COLUMNS, SECTION_COLUMNS, RUN_COLUMNS))
  }
  rejected = sum(info["rejected"].values())
  claims = {
    "columns of one table are of one length": all(
      len(lengths) == 1 for lengths in sizes.values()
    ),
    "every song has its sections": len(index["section_text"])
    == index["section_count"].sum(dtype=np.int64),
    "song records rise": _rise(numbered, len(dataset.songs)),
    "window records rise": _rise(run_record, len(dataset.windows)),
    "runs are of rows that are there": bool(
      np.all(index["run_song"] < len(record))
    ),
    "languages have names": bool(
      np.all(index["language"] < len(dataset.languages))
    ),
    "groups are those of the codes": np.array_equal(groups, index["group"]),
    "ids are there once": len(np.unique(index["id_hash"])) == len(record),
    "songs are as many as dataset.json says": len(numbered) == info["songs"],
    "windows are as many as dataset.json says": by_track.tolist()
    == list(info["windows"].values()),
    "rows are songs or rejected": info["rows"] == info["songs"] + rejected,
  }
  for claim, holds in claims.items():
    if not holds:
      yield f"{dataset.directory / 'index'}: expected that {claim}"


def _rise(records: np.ndarray, count: int) -> bool:
  rising = bool(np.all(np.diff(records) > 0))
  return rising and (not len(records) or 0 <= records[0] <= records[-1] < count)


@dataclasses.dataclass(frozen=True)
class _ShardTask:
  directory: pathlib.Path
  what: str  # "songs" or "windows"
  number: int
  compare: bool  # with the index


def _check_shard(task: _ShardTask) -> tuple[list[str], int]:
  """What is wrong with a shard, and how many records it should have."""
  dataset = open_dataset(task.directory)
  shards = [Shard(**shard) for shard in dataset.info["shards"][task.what]]
  shard = shards[task.number]
  path = task.directory / shard.name
  first = sum(before.records for before in shards[: task.number])
  records, faults = Records(task.directory, [shard]), []
  if _sha256(path) != shard.file_sha256:
    faults.append(f"{path} is not as it was written: its SHA-256 differs")
  expected = _described(dataset, task.what, first, shard.records)
  digest, named = hashlib.sha256(), []
  for number in range(shard.records):
    try:
      content = records[number]
      digest.update(len(content).to_bytes(8, "little") + content)
      row = expected.get(first + number)
      if row is not None and task.compare:
        fault = _CHECKS[task.what](dataset, row, content)
        named += [f"record {number} of {path}: {fault}"] if fault else []
    except ValueError as error:
      named.append(f"record {number} of {path}: {error}")
  if len(named) > _NAMED:
    named[_NAMED:] = [f"{path}: {len(named) - _NAMED} more records are damaged"]
  if not named and digest.hexdigest() != shard.sha256:
    faults.append(f"the records of {path} are not those that were written")
  return faults + named, shard.records


def _described(
  dataset: Dataset, what: str, first: int, count: int
) -> dict[int, int]:
  """Row of the index by number of the record, for those in a shard."""
  name = {"songs": "record", "windows": "run_record"}[what]
  numbers = dataset.index[name]
  rows = np.flatnonzero((numbers >= first) & (numbers < first + count))
  return dict(zip(numbers[rows].tolist(), rows.tolist(), strict=True))


def _check_song(dataset: Dataset, row: int, record: bytes) -> str | None:
  song, index = decode_song_record(record), dataset.index
  found = song_columns(song) | {"id_hash": hash_bytes(song.id.encode())}
  told = {name: int(index[name][row]) for name in found}
  if found != told:
    return _differences(found, told)
  here = slice(*dataset.section_offsets[row : row + 2])
  sections = {name: index[name][here].tolist() for name in SECTION_COLUMNS}
  if sections != section_columns(song):
    return "its sections are not those of the index"
  codes = dataset.vocab.codes()
  if any(track.max() >= codes for track in song.tracks.values()):
    return "it has codes that the vocabulary has not"
  return None


def _check_run(dataset: Dataset, row: int, record: bytes) -> str | None:
  windows = decode_windows_record(record)
  told = int(dataset.index["run_windows"][row])
  expected = (told, dataset.codebooks, dataset.window)
  if windows.shape != expected:
    return f"shape {windows.shape}, the index says {expected}"
  if windows.max() >= dataset.vocab.codes():
    return "it has codes that the vocabulary has not"
  return None


_CHECKS = {"songs": _check_song, "windows": _check_run}


def _differences(found: dict[str, Any], told: dict[str, Any]) -> str:
  return "; ".join(
    f"{name} is {value}, the index says {told[name]}"
    for name, value in found.items()
    if value != told[name]
  )


def _sha256(path: pathlib.Path) -> str:
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
