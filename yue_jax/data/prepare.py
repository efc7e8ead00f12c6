"""From a manifest of songs to a prepared data set (see `data.layout`).

  manifest ─► parts of consecutive rows ─► worker processes (`data.parts`)
     └ in a hidden directory beside the data set: shards and columns by part
        └ shards renamed, columns joined, dataset.json written
           └ the directory gets its name

What is written does not depend on the number of workers, and rows read =
songs written + rows rejected, always. Windows come from the tracks of both.
Of rows with one id the first is kept.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
import concurrent.futures
import dataclasses
import itertools
import json
import multiprocessing
import os
import pathlib
from typing import Any, TypeVar

import numpy as np

from yue_jax.codec import FRAME_RATE
from yue_jax.data.dataset import Dataset, describe
from yue_jax.data.groups import group_songs
from yue_jax.data.layout import (
  COLUMNS,
  FORMAT,
  NO_RECORD,
  RUN_COLUMNS,
  SECTION_COLUMNS,
  ColumnWriter,
  fingerprint,
)
from yue_jax.data.parts import (
  PART_COLUMNS,
  Part,
  PartTask,
  Recipe,
  expect_languages,
  rejection,
  write_part,
)
from yue_jax.data.records import TRACKS, Shard
from yue_jax.data.sources import KINDS, make_source
from yue_jax.encoding import Phrases
from yue_jax.manifest import read_manifest
from yue_jax.progress import Progress
from yue_jax.songs import SongError
from yue_jax.whole_directory import whole_directory

_Task, _Result = TypeVar("_Task"), TypeVar("_Result")


def prepare(
  manifest: str | os.PathLike[str],
  out: str | os.PathLike[str],
  *,
  recipe: Recipe,
  workers: int = 1,
  songs_per_shard: int = 512,
) -> dict[str, Any]:
  """Prepares all songs of a manifest into the new directory `out`.

  Args:
    manifest: JSON lines; the arrays they name lie relative to it.
    out: must not exist; it appears when everything in it is complete.
    recipe: everything else that decides what is written.
    workers: processes; one means this one.
    songs_per_shard: rows of the manifest that share a file.

  Returns:
    The contents of dataset.json.

  Raises FileExistsError when `out` exists, ValueError when not a single row
  of the manifest gives a song or a window.
  """
  manifest, out = pathlib.Path(manifest), pathlib.Path(out)
  _expect_positive(workers=workers, songs_per_shard=songs_per_shard)
  rows = _count_rows(manifest)
  with whole_directory(out) as directory:
    tasks = _tasks(manifest, directory, recipe, songs_per_shard)
    parts, rejected = [], 0
    with Progress(rows, "songs", "preparing") as progress:
      for part in _map(write_part, tasks, workers):
        parts.append(part)
        rejected += len(part.rejected)
        progress.advance(part.rows, note=f"{rejected} rejected")
    return _finish(manifest, directory, recipe, parts)


def _count_rows(manifest: pathlib.Path) -> int:
  if not manifest.is_file():
    raise FileNotFoundError(f"no manifest {manifest}")
  with open(manifest, "rb") as file:
    return sum(1 for line in file if line.strip())


def _tasks(
  manifest: pathlib.Path, directory: pathlib.Path, recipe: Recipe, size: int
) -> Iterator[PartTask]:
  rows = read_manifest(manifest)
  for number in itertools.count():
    chunk = list(itertools.islice(rows, size))
    if not chunk:
      return
    yield PartTask(number, chunk, manifest.parent, directory, recipe)


def _map(
  function: Callable[[_Task], _Result], tasks: Iterable[_Task], workers: int
) -> Iterator[_Result]:
  """Results in the order of the tasks, with few of them waiting in memory."""
  if workers == 1:
    yield from map(function, tasks)
    return
  # Forked children may inherit locks that another thread holds: spawn.
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
    waiting = deque()
    for task in tasks:
      waiting.append(pool.submit(function, task))
      if len(waiting) > 2 * workers:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()


def _finish(
  manifest: pathlib.Path,
  directory: pathlib.Path,
  recipe: Recipe,
  parts: Sequence[Part],
) -> dict[str, Any]:
  """Joins the parts; dataset.json is the last file written."""
  languages = _join_languages(parts)
  columns = _join_columns(parts, languages)
  lines, duplicates = columns["line"], _duplicates(columns["id_hash"])
  songs = int(np.sum(columns["record"] != NO_RECORD))
  rejected = _all_rejected(parts, lines, duplicates)
  index = _without(columns, np.isin(np.arange(len(lines)), list(duplicates)))
  if not len(index["record"]):
    raise ValueError(_nothing_usable(manifest, rejected))
  with open(directory / "rejected.jsonl", "w") as file:
    file.writelines(json.dumps(r) + "\n" for r in rejected)
  shards = {
    "songs": _name_shards(directory, "songs", [p.songs for p in parts]),
    "windows": _name_shards(directory, "windows", [p.windows for p in parts]),
  }
  info = _info(recipe, parts, index, rejected, shards, list(languages))
  info["left_out"] += +Counter(
    song_records_of_duplicates=songs - info["songs"],
    window_records_of_duplicates=sum(part.windows.records for part in parts)
    - len(index["run_record"]),
  )
  info["index"] = _write_index(directory, index)
  info["fingerprint"] = fingerprint(info)
  info["tokens"] = _tokens(describe(directory, info, index))
  (directory / "dataset.json").write_text(json.dumps(info, indent=2) + "\n")
  return info


def _join_languages(parts: Sequence[Part]) -> dict[str, int]:
  languages: dict[str, int] = {}
  for part in parts:
    for name in part.languages:
      languages.setdefault(name, len(languages))
  expect_languages(languages)
  return languages


def _join_columns(
  parts: Sequence[Part], languages: dict[str, int]
) -> dict[str, np.ndarray]:
  """Columns of all parts, with the numbers of the whole; no groups yet."""
  columns = {name: [np.zeros(0, d)] for name, d in PART_COLUMNS.items()}
  rows = songs = windows = 0
  for part in parts:
    own = dict(part.columns)
    record = own["record"]
    own["record"] = np.where(record == NO_RECORD, NO_RECORD, record + songs)
    numbers = [languages[name] for name in part.languages]
    own["language"] = np.array(numbers, np.uint8)[own["language"]]
    own["run_song"] = own["run_song"] + np.uint32(rows)
    own["run_record"] = own["run_record"] + windows
    rows += len(record)
    songs += part.songs.records
    windows += part.windows.records
    for name, pieces in columns.items():
      pieces.append(own[name])
  return {name: np.concatenate(pieces) for name, pieces in columns.items()}


def _duplicates(id_hashes: np.ndarray) -> dict[int, int]:
  """Rows whose id an earlier row has, and the first row that has it."""
  _, firsts, which = np.unique(
    id_hashes, return_index=True, return_inverse=True
  )
  first = firsts[which]
  again = np.flatnonzero(first != np.arange(len(first)))
  return dict(zip(again.tolist(), first[again].tolist(), strict=True))


def _all_rejected(
  parts: Sequence[Part], lines: np.ndarray, duplicates: dict[int, int]
) -> list[dict[str, Any]]:
  """What the parts rejected, and the duplicates, by line."""
  rejected = {r["line"]: r for part in parts for r in part.rejected}
  ids = list(itertools.chain.from_iterable(part.ids for part in parts))
  for row, first in duplicates.items():
    line = int(lines[row])
    message = f"the id {ids[row]!r} is that of line {lines[first]} already"
    rejected[line] = rejection(
      line, ids[row], SongError("duplicate_id", message), {}
    )
  return [rejected[line] for line in sorted(rejected)]


def _without(
  columns: dict[str, np.ndarray], drop: np.ndarray
) -> dict[str, np.ndarray]:
  """The index: columns without the rows to drop, and with groups."""
  keep = {name: ~drop for name in columns}
  sections = np.repeat(~drop, columns["section_count"])
  keep |= dict.fromkeys(SECTION_COLUMNS, sections)
  keep |= dict.fromkeys(RUN_COLUMNS, ~drop[columns["run_song"]])
  number = (np.cumsum(~drop) - 1).astype(np.uint32)
  renumbered = columns | {"run_song": number[columns["run_song"]]}
  index = {name: c[keep[name]] for name, c in renumbered.items()}
  index["group"] = group_songs(
    index["id_hash"], [index[f"codes_{track}"] for track in TRACKS]
  )
  return {name: index[name] for name in COLUMNS}


def _write_index(
  directory: pathlib.Path, index: dict[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
  (directory / "index").mkdir()
  written = {}
  for name, column in index.items():
    writer = ColumnWriter(directory, name, len(column))
    writer.append(column)
    written[name] = writer.close()
  return written


def _name_shards(
  directory: pathlib.Path, what: str, shards: Sequence[Shard]
) -> list[dict[str, Any]]:
  """Gives shards their final names; those without records are removed."""
  kept = [shard for shard in shards if shard.records]
  for shard in shards:
    if not shard.records:
      (directory / shard.name).unlink()
  named = []
  for number, shard in enumerate(kept):
    name = f"{what}-{number:05}-of-{len(kept):05}.array_record"
    (directory / shard.name).rename(directory / name)
    named.append(dataclasses.asdict(dataclasses.replace(shard, name=name)))
  return named


def _info(
  recipe: Recipe,
  parts: Sequence[Part],
  index: dict[str, np.ndarray],
  rejected: Sequence[dict[str, Any]],
  shards: dict[str, list[dict[str, Any]]],
  languages: list[str],
) -> dict[str, Any]:
  phrases = Phrases.encode(recipe.tokenizer)
  left_out = sum((part.counts for part in parts), Counter())
  return {
    "format": FORMAT,
    "content": recipe.content,
    "rows": sum(part.rows for part in parts),
    "songs": int(np.sum(index["record"] != NO_RECORD)),
    "rejected": Counter(r["reason"] for r in rejected),
    "left_out": left_out,
    "hours": int(index["frames"].sum(dtype=np.int64)) / FRAME_RATE / 3600,
    "languages": languages,
    "windows": _windows_by_track(index),
    "vocab": recipe.vocab.to_json(),
    "vocab_fingerprint": recipe.vocab.fingerprint(),
    "tokenizer_fingerprint": recipe.tokenizer.fingerprint(),
    "instruction": recipe.instruction,
    "phrases": dataclasses.asdict(phrases),
    "window": recipe.window,
    "windows_per_record": recipe.windows_per_record,
    "codebooks": recipe.codebooks,
    "rules": dataclasses.asdict(recipe.rules),
    "shards": shards,
  }


def _windows_by_track(index: dict[str, np.ndarray]) -> dict[str, int]:
  windows = np.bincount(
    index["run_track"], index["run_windows"], minlength=len(TRACKS)
  )
  return {t: int(n) for t, n in zip(TRACKS, windows, strict=True)}


def _tokens(dataset: Dataset) -> dict[str, int]:
  """Tokens in all documents by kind; with clips as in epoch 0 of seed 0."""
  return {
    kind: int(make_source(dataset, kind, seed=0).lengths(0).sum())
    for kind in KINDS
  }


def _nothing_usable(
  manifest: pathlib.Path, rejected: Sequence[dict[str, Any]]
) -> str:
  if not rejected:
    return f"{manifest} has no rows; expected one JSON object on each line"
  first, reasons = rejected[0], Counter(r["reason"] for r in rejected)
  return (
    f"none of the {len(rejected)} rows of {manifest} can be used:"
    f" {dict(reasons)}; line {first['line']}: {first['message']}"
  )


def _expect_positive(**numbers: int) -> None:
  for name, number in numbers.items():
    if number < 1:
      raise ValueError(f"{name}={number}, expected 1 or more")
