"""From manifests to a prepared data set (see `data.layout`).

  manifests ─► chunks of consecutive rows       (`chunks`)
     └ parts, each a task on its own            (`parts`)
        └ in the work folder OUT.parts          (`work`)
           └ joined to OUT                      (`join`)

What is written depends on manifests and settings alone: not on the number of
processes or machines, nor on how often they were interrupted. Rows read =
songs written + rows rejected, always. Windows come from the tracks of both.
Of rows with one id the first is kept.
"""

from collections.abc import Sequence
import dataclasses
import math
import os
import pathlib
from typing import Any

from yue_jax.data.layout import FORMAT
from yue_jax.data.preparing.chunks import Chunk, find_chunks
from yue_jax.data.preparing.join import join
from yue_jax.data.preparing.parts import Part, PartTask, write_part
from yue_jax.data.preparing.pool import map_on_processes
from yue_jax.data.preparing.recipe import Recipe
from yue_jax.data.preparing.work import WorkFolder
from yue_jax.manifest import find_manifests
from yue_jax.progress import Progress

Manifests = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def prepare(
  manifests: Manifests,
  out: str | os.PathLike[str],
  *,
  recipe: Recipe,
  root: str | os.PathLike[str] | None = None,
  workers: int = 1,
  shard_mib: float = 256,
  songs_per_shard: int = 8192,
) -> dict[str, Any]:
  """Prepares all rows of the manifests into the new directory `out`.

  Interrupted at any moment, it continues when called again.

  Args:
    manifests: one or more files or globs of JSON lines, or of these
      compressed with gzip.
    out: must not exist; it appears when everything in it is complete.
    recipe: everything else that decides what is written.
    root: the folder that arrays lie in, to which relative paths relate; None
      for the folder of the manifest that names them.
    workers: processes; one means this one.
    shard_mib: about the size of a song shard and its window shard together.
    songs_per_shard: rows that share a shard at most.

  Returns:
    The contents of dataset.json.

  Raises FileExistsError when `out` exists, ValueError when not a single row
  gives a song or a window, or when `out` was begun with other settings.
  """
  _expect_positive(workers=workers)
  run = open_run(
    manifests,
    out,
    recipe=recipe,
    root=root,
    shard_mib=shard_mib,
    songs_per_shard=songs_per_shard,
  )
  run.write(run.chunks, workers)
  return run.join()


def prepare_shard(
  manifests: Manifests,
  out: str | os.PathLike[str],
  *,
  shard: tuple[int, int],
  workers: int = 1,
  **settings,
) -> tuple[int, int]:
  """Writes only the parts whose number is i modulo n, for `shard` (i, n).

  Any number of machines may do so at once in a folder that they share; then
  `prepare` joins. Returns how many parts are there, and of how many.
  """
  index, count = shard
  _expect_positive(workers=workers, n=count)
  if not 0 <= index < count:
    raise ValueError(f"shard {index}/{count}, expected 0/n to {count - 1}/n")
  run = open_run(manifests, out, **settings)
  run.write([c for c in run.chunks if c.number % count == index], workers)
  return len(run.work.finished(run.chunks)), len(run.chunks)


@dataclasses.dataclass(frozen=True)
class Run:
  """A data set that is being prepared."""

  out: pathlib.Path
  work: WorkFolder
  chunks: Sequence[Chunk]
  recipe: Recipe
  root: pathlib.Path | None

  def tasks(self, chunks: Sequence[Chunk]) -> list[PartTask]:
    """Of the chunks whose parts are not there yet."""
    done = self.work.finished(chunks)
    return [self.task(chunk) for chunk in chunks if chunk.number not in done]

  def task(self, chunk: Chunk) -> PartTask:
    """To write the part of a chunk."""
    return PartTask(
      chunk,
      self.work.directory(chunk),
      self.recipe,
      self.root,
      self.work.settings_sha256(),
    )

  def write(self, chunks: Sequence[Chunk], workers: int) -> None:
    """Writes the parts of some chunks that are not there yet."""
    tasks = self.tasks(chunks)
    left, rejected = sum(task.chunk.rows for task in tasks), 0
    rows = sum(chunk.rows for chunk in chunks)
    with Progress(rows, "songs", "preparing", start=rows - left) as progress:
      for part in map_on_processes(write_part, tasks, workers):
        rejected += sum(part.rejected.values())
        progress.advance(part.rows, note=f"{rejected} rejected")

  def join(self) -> dict[str, Any]:
    """Joins the parts, all of which must be there."""
    parts: dict[int, Part] = self.work.finished(self.chunks)
    return join(
      self.work,
      self.out,
      self.recipe,
      self.chunks,
      [parts[chunk.number] for chunk in self.chunks],
    )


def open_run(
  manifests: Manifests,
  out: str | os.PathLike[str],
  *,
  recipe: Recipe,
  root: str | os.PathLike[str] | None = None,
  shard_mib: float = 256,
  songs_per_shard: int = 8192,
) -> Run:
  """Begins or continues to prepare; arguments are those of `prepare`."""
  _expect_positive(songs_per_shard=songs_per_shard)
  if not 0 < shard_mib < math.inf:
    raise ValueError(f"shard_mib={shard_mib}, expected more than 0")
  if isinstance(manifests, str | os.PathLike):
    manifests = [manifests]
  out, names = pathlib.Path(out), find_manifests(manifests)
  if out.exists():
    raise FileExistsError(
      f"{out} exists already; remove it, or choose another directory"
    )
  if root is not None and not pathlib.Path(root).is_dir():
    raise FileNotFoundError(f"no folder {root} for --root")
  work = WorkFolder(out)
  work.open(
    {
      "format": FORMAT,
      "manifests": [[name, os.path.getsize(name)] for name in names],
      "root": None if root is None else os.fspath(root),
      "shard_mib": shard_mib,
      "songs_per_shard": songs_per_shard,
      "recipe": recipe.to_json(),
    }
  )
  found = find_chunks(
    names,
    recipe,
    chunk_bytes=int(shard_mib * 2**20),
    max_rows=songs_per_shard,
  )
  root = None if root is None else pathlib.Path(root)
  return Run(out, work, list(found), recipe, root)


def _expect_positive(**numbers: int) -> None:
  for name, number in numbers.items():
    if number < 1:
      raise ValueError(f"{name}={number}, expected 1 or more")
