"""All tensors of a model: to safetensors files, and to arrays of a checkpoint.

A few threads take a tensor each, and a matrix of one layer is all that each
holds. Where an earlier attempt was interrupted, what it has finished is
checked and kept.
"""

from collections import deque
from collections.abc import Mapping
import contextlib
import functools
import hashlib
import math
import pathlib
import threading
from typing import Any

import numpy as np

from yue_jax.checkpoint_chunks import ArrayWriter, whole
from yue_jax.config import ModelConfig
from yue_jax.exchange import blocks, checksums, shards, table
from yue_jax.exchange.workers import for_each
from yue_jax.progress import Progress

_LARGE = 256 * 2**20  # bytes; of larger blocks there is one at a time
_HASHED = 32 * 2**20  # bytes that are hashed at once
_IN_FLIGHT = 1  # chunks that a thread has given away when it makes the next


def write_shards(
  folder: pathlib.Path,
  leaves: Mapping[str, Any],
  cfg: ModelConfig,
  *,
  dtype: str,
  shard_bytes: int,
  workers: int,
) -> None:
  """Writes the files of the tensors, their checksums and their index.

  Args:
    folder: where to; may have files of an earlier attempt.
    leaves: our arrays by path, in memory or on disk.
    cfg: its `vocab_size` is how many rows the tables are to have.
    dtype: one of shards.DTYPES.
    shard_bytes: most bytes of tensors in one file.
    workers: how many tensors are written at once.
  """
  tensors = {tensor.name: tensor for tensor in table.tensors(cfg)}
  sizes = {
    name: math.prod(tensor.shape) * shards.DTYPES[dtype].itemsize
    for name, tensor in tensors.items()
  }
  plan = shards.plan(sizes, shard_bytes)
  files = dict(zip(shards.names_of_files(len(plan)), plan, strict=True))
  sums = checksums.read(folder)
  one_at_a_time = threading.Lock()
  with Progress(len(tensors), "tensors", "exporting") as progress:
    for file, names in files.items():
      shapes = {name: tensors[name].shape for name in names}
      if _is_whole(folder / file, shapes, dtype, sums):
        progress.advance(len(names), note=f"{file} was there")
        continue
      with shards.ShardFile(folder / file, shapes, dtype) as shard:
        write = functools.partial(
          _write_tensor, shard, leaves, cfg, dtype, one_at_a_time, sums
        )
        # The disk has its share at once, and not when the file is closed.
        for_each(
          [tensors[name] for name in names],
          write,
          workers=workers,
          progress=progress,
          after=shard.sync,
        )
      checksums.write(folder, sums)  # what it vouches for is on the disk
  shards.write_index(folder, files, sum(sizes.values()))


def read_arrays(
  stored: Mapping[str, shards.StoredTensor],
  sums: Mapping[str, str],
  cfg: ModelConfig,
  writer: ArrayWriter,
  *,
  workers: int,
) -> None:
  """Writes tensors as arrays of a checkpoint.

  Args:
    stored: all tensors of a model.
    sums: their checksums, or none.
    cfg: its `vocab_size` is how many rows our tables are to have.
    writer: of our arrays; may have some of an earlier attempt.
    workers: how many tensors are read at once.

  Raises:
    ValueError: a tensor is not finite, or differs from its checksum.
  """
  tensors = list(table.tensors(cfg))
  with Progress(len(tensors), "tensors", "importing") as progress:
    for_each(
      tensors,
      lambda t: _read_tensor(t, stored[t.name], sums.get(t.name), cfg, writer),
      workers=workers,
      progress=progress,
    )


def _write_tensor(
  shard: shards.ShardFile,
  leaves: Mapping[str, Any],
  cfg: ModelConfig,
  dtype: str,
  one_at_a_time: threading.Lock,
  sums: dict[str, str],
  tensor: table.Tensor,
) -> None:
  """Writes one tensor, and puts down its checksum."""
  leaf, stored_as = leaves[tensor.row.ours], shards.DTYPES[dtype]
  large = blocks.outgoing_bytes(tensor, leaf, stored_as) > _LARGE
  offset, sha256 = 0, hashlib.sha256()
  with one_at_a_time if large else contextlib.nullcontext():
    for block in blocks.outgoing(tensor, leaf, cfg, stored_as):
      data = _bytes(block)
      sha256.update(data)
      shard.write(tensor.name, offset, data)
      offset += len(data)
  sums[tensor.name] = sha256.hexdigest()


def _is_whole(
  path: pathlib.Path, shapes: shards.Shapes, dtype: str, sums: Mapping
) -> bool:
  """Whether an earlier attempt has finished a file, every byte of it."""
  if not path.is_file() or not set(shapes) <= set(sums):
    return False
  try:
    found = shards.open_file(path)
  except ValueError:  # it is written again
    return False
  return set(found) == set(shapes) and all(
    (found[name].shape, found[name].dtype) == (shape, dtype)
    and _sha256(found[name]) == sums[name]
    for name, shape in shapes.items()
  )


def _read_tensor(
  tensor: table.Tensor,
  stored: shards.StoredTensor,
  expected: str | None,
  cfg: ModelConfig,
  writer: ArrayWriter,
) -> None:
  """Writes one tensor as ours, unless it is there, and checks it."""
  ours, sha256, waiting = tensor.row.ours, hashlib.sha256(), deque()
  box = whole(table.our_shape(tensor.row, cfg))
  if tensor.layer is not None:
    box = (slice(tensor.layer, tensor.layer + 1), *box[1:])

  def read(start: int, stop: int) -> np.ndarray:
    rows = stored.read(start, stop)
    if expected is not None:
      sha256.update(_bytes(rows))
    return rows

  if not writer.has(ours, box):
    try:
      for part_box, part in blocks.incoming(
        tensor, read, cfg, rows=stored.shape[0], chunk=writer.chunk(ours)
      ):
        waiting.append(writer.write(ours, part_box, part))
        if len(waiting) > _IN_FLIGHT:
          waiting.popleft()()
    finally:  # nothing is written any more when an error is dealt with
      for wait in waiting:
        wait()
    found = sha256.hexdigest()
  else:
    found = None if expected is None else _sha256(stored)
  if expected not in (None, found):
    raise ValueError(
      f"{tensor.name} in {stored.path} is damaged: it has the SHA-256 {found},"
      f" and {checksums.NAME} says {expected}; fetch the file again"
    )


def _sha256(stored: shards.StoredTensor) -> str:
  sha256, rows = hashlib.sha256(), stored.shape[0]
  step = max(1, _HASHED // (4 * math.prod(stored.shape[1:])))
  for start in range(0, rows, step):
    sha256.update(_bytes(stored.read(start, min(start + step, rows))))
  return sha256.hexdigest()


def _bytes(array: np.ndarray) -> memoryview:
  return memoryview(array.reshape(-1).view(np.uint8))
