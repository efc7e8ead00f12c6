"""One part of a data set: consecutive rows become two shards and columns.

  part-00000042/
    songs.array_record, windows.array_record
    columns.npz       the columns of `layout`, numbered from 0 in every part
    rejected.jsonl    rows that became no song
    part.json         counts and checksums; written last

A part is a task on its own: what it writes depends on its rows alone, not on
which process works on it or how many there are. Its folder gets its name when
all of it is there. A row that cannot become a song is listed with its reason
and stops nothing. Windows need a single track only: as released, they are cut
from every track that can be read, as long as it is, whether or not its row
becomes a song.
"""

from collections import Counter
from collections.abc import Mapping
import dataclasses
import hashlib
import json
import pathlib
from typing import Self

import numpy as np

from yue_jax.data.layout import MAX_LANGUAGES
from yue_jax.data.preparing.chunks import Chunk, hash_line
from yue_jax.data.preparing.recipe import Recipe
from yue_jax.data.preparing.row_writer import RowWriter
from yue_jax.data.records import Shard, ShardWriter
from yue_jax.manifest import read_segment
from yue_jax.whole_directory import whole_directory


@dataclasses.dataclass(frozen=True)
class PartTask:
  """What to write into the new directory `directory`."""

  chunk: Chunk
  directory: pathlib.Path
  recipe: Recipe
  root: pathlib.Path | None  # of paths; None: the folder of their manifest
  settings: str  # SHA-256 of all settings


@dataclasses.dataclass(frozen=True)
class Part:
  """The contents of part.json.

  Attributes:
    rows: of the manifest.
    lines: SHA-256 of them.
    settings: SHA-256 of all settings.
    songs, windows: the shards.
    languages: names of those in the column "language".
    rejected: rows by reason.
    left_out: counts of what was left out of songs and tracks.
    files: SHA-256 of the other files by name.
  """

  rows: int
  lines: str
  settings: str
  songs: Shard
  windows: Shard
  languages: list[str]
  rejected: dict[str, int]
  left_out: dict[str, int]
  files: dict[str, str]

  @classmethod
  def read(cls, directory: pathlib.Path) -> Self:
    """Of a finished part; ValueError if it is not as it was written."""
    path = directory / "part.json"
    try:
      fields = json.loads(path.read_bytes())
      shards = {name: Shard(**fields[name]) for name in ("songs", "windows")}
      part = cls(**fields | shards)
      for name, expected in part.files.items():
        if _sha256(directory / name) != expected:
          raise ValueError(f"{name} has changed")
      for shard in shards.values():
        file = directory / shard.name  # until it is joined
        if file.exists() and file.stat().st_size != shard.bytes:
          raise ValueError(f"{shard.name} has not {shard.bytes} bytes")
    except (OSError, ValueError, TypeError, KeyError) as error:
      raise ValueError(
        f"{directory} is damaged ({error}); remove it and start again"
      ) from error
    return part


def write_part(task: PartTask) -> Part:
  """Writes one part, unless it is there; a function of the task alone."""
  try:
    with whole_directory(task.directory) as folder:
      _write_files(task, folder)
  except OSError:
    # Somebody else may have written the same, just now or long ago.
    if not (task.directory / "part.json").is_file():
      raise
  return Part.read(task.directory)


def _write_files(task: PartTask, folder: pathlib.Path) -> None:
  lines = hashlib.sha256()
  with (
    ShardWriter(folder / "songs.array_record") as songs,
    ShardWriter(folder / "windows.array_record") as windows,
    open(folder / "rejected.jsonl", "w") as file,
  ):
    writer = RowWriter(task.recipe, songs, windows)
    rejected = Counter()
    for number, segment in enumerate(task.chunk.segments):
      root = task.root or pathlib.Path(segment.manifest).parent
      for line in read_segment(segment):
        lines.update(hash_line(line))
        place = {"manifest": segment.manifest, "line": line.number}
        try:
          fault = writer.write_row(number, line, root)
        except Exception as error:
          error.add_note(f"while preparing {segment.manifest}:{line.number}")
          raise
        if fault:
          rejected[fault["reason"]] += 1
          file.write(json.dumps(place | fault) + "\n")
    if lines.hexdigest() != task.chunk.sha256:
      raise ValueError(
        f"{task.chunk.describe()} has changed since it was first read;"
        " leave manifests as they are until the data set is complete"
      )
    expect_languages(writer.languages)
    shards = {"songs": songs.close(), "windows": windows.close()}
  np.savez(folder / "columns.npz", **writer.arrays())
  part = Part(
    rows=task.chunk.rows,
    lines=task.chunk.sha256,
    settings=task.settings,
    **shards,
    languages=list(writer.languages),
    rejected=dict(rejected),
    left_out=dict(+writer.counts),
    files={n: _sha256(folder / n) for n in ("columns.npz", "rejected.jsonl")},
  )
  text = json.dumps(dataclasses.asdict(part), indent=2)
  (folder / "part.json").write_text(text + "\n")


def expect_languages(languages: Mapping[str, int]) -> None:
  """Raises ValueError for more names of languages than a column holds."""
  if len(languages) > MAX_LANGUAGES + 1:
    raise ValueError(
      f"the manifest names more than {MAX_LANGUAGES} languages, among them"
      f' {list(languages)[1:9]}; expected names as "en" in `language`'
    )


def _sha256(path: pathlib.Path) -> str:
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
