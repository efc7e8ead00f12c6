"""From finished parts to a data set.

Shards are moved, columns are written piece by piece. A join that was killed
is begun again: shards that it has moved are found where they belong.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
import dataclasses
import json
import pathlib
import shutil
from typing import Any

import numpy as np

from yue_jax.codec import FRAME_RATE
from yue_jax.data.dataset import Dataset, describe, read_index
from yue_jax.data.layout import (
  FORMAT,
  NO_RECORD,
  checksum,
  fingerprint,
  to_text,
)
from yue_jax.data.preparing.chunks import Chunk
from yue_jax.data.preparing.columns import (
  CODES,
  PartColumns,
  find_duplicates,
  write_index,
)
from yue_jax.data.preparing.groups import group_songs
from yue_jax.data.preparing.parts import Part, expect_languages
from yue_jax.data.preparing.recipe import Recipe
from yue_jax.data.preparing.rejected import write_rejected
from yue_jax.data.preparing.work import WorkFolder
from yue_jax.data.records import TRACKS
from yue_jax.data.sources.kinds import KINDS
from yue_jax.data.sources.make import make_source
from yue_jax.encoding import Phrases


def join(
  work: WorkFolder,
  out: pathlib.Path,
  recipe: Recipe,
  chunks: Sequence[Chunk],
  parts: Sequence[Part],
) -> dict[str, Any]:
  """Makes the data set `out` of all parts; returns its dataset.json.

  Raises ValueError when not a single row gives a song or a window.
  """
  directories = [work.directory(chunk) for chunk in chunks]
  languages = _join_languages(parts)
  columns = PartColumns(directories, chunks, parts)
  table = columns.song_table() if chunks else {"id_hash": np.zeros(0)}
  if not len(table["id_hash"]):
    message = _nothing_usable(directories, parts)
    shutil.rmtree(work.path)
    raise ValueError(message)
  duplicates, firsts = find_duplicates(table["id_hash"])
  keep = np.ones(len(table["id_hash"]), bool)
  keep[duplicates] = False
  folder = work.joined
  folder.mkdir(exist_ok=True)
  shards = {
    what: _move_shards(folder, directories, parts, what)
    for what in ("songs", "windows")
  }
  rejected = write_rejected(
    columns, folder / "rejected.jsonl", duplicates=duplicates, firsts=firsts
  )
  groups = group_songs(table["id_hash"][keep], [table[c][keep] for c in CODES])
  index = write_index(
    columns, folder, keep=keep, groups=groups, languages=languages
  )
  songs = int(np.sum(table["record"][keep] != NO_RECORD))
  unused = {
    "song_records_of_duplicates": sum(p.songs.records for p in parts) - songs,
    "window_records_of_duplicates": sum(p.windows.records for p in parts)
    - index["run_record"]["rows"],
  }
  info = {
    "format": FORMAT,
    "rows": sum(part.rows for part in parts),
    "songs": songs,
    "rejected": rejected.reasons,
    "left_out": _sum(part.left_out for part in parts) | +Counter(unused),
    "hours": 0.0,
    "windows": {},
    "tokens": {},
    "languages": list(languages),
    **recipe.to_json(),
    "phrases": dataclasses.asdict(Phrases.encode(recipe.tokenizer)),
    "rejected_sha256": rejected.sha256,
    "index": index,
    "shards": shards,
  }
  if info["rows"] != songs + sum(rejected.reasons.values()):
    raise AssertionError(f"rows are not songs and rejected ones: {info}")
  info["fingerprint"] = fingerprint(info)
  dataset = describe(folder, info, read_index(folder, index))
  info |= {
    "hours": _hours(dataset),
    "windows": _windows_by_track(dataset),
    "tokens": _tokens(dataset),
  }
  info["checksum"] = checksum(info)
  (folder / "dataset.json").write_bytes(to_text(info))
  folder.rename(out)
  shutil.rmtree(work.path)
  return info


def _join_languages(parts: Sequence[Part]) -> dict[str, int]:
  languages: dict[str, int] = {"": 0}
  for part in parts:
    for name in part.languages:
      languages.setdefault(name, len(languages))
  expect_languages(languages)
  return languages


def _move_shards(
  folder: pathlib.Path,
  directories: Sequence[pathlib.Path],
  parts: Sequence[Part],
  what: str,
) -> list[dict[str, Any]]:
  """Gives shards their final names; those without records stay behind."""
  found = [
    (directory / f"{what}.array_record", getattr(part, what))
    for directory, part in zip(directories, parts, strict=True)
    if getattr(part, what).records
  ]
  moved = []
  for number, (path, shard) in enumerate(found):
    name = f"{what}-{number:05}-of-{len(found):05}.array_record"
    if path.exists():
      path.replace(folder / name)
    elif not (folder / name).exists():  # nor has an earlier join moved it
      raise ValueError(
        f"{path} does not exist; remove {path.parent} and start again"
      )
    moved.append(dataclasses.asdict(dataclasses.replace(shard, name=name)))
  return moved


def _sum(counts) -> dict[str, int]:
  return dict(sum(map(Counter, counts), Counter()))


def _hours(dataset: Dataset) -> float:
  frames = int(dataset.index["frames"].sum(dtype=np.int64))
  return frames / FRAME_RATE / 3600


def _windows_by_track(dataset: Dataset) -> dict[str, int]:
  index = dataset.index
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
  directories: Sequence[pathlib.Path], parts: Sequence[Part]
) -> str:
  if not parts:
    return "there are no rows; expected a JSON object on each line"
  with open(directories[0] / "rejected.jsonl") as file:
    first: Mapping[str, Any] = json.loads(file.readline())
  return (
    f"none of the {sum(part.rows for part in parts)} rows can be used:"
    f" {_sum(part.rejected for part in parts)};"
    f" {first['manifest']}, line {first['line']}: {first['message']}"
  )
