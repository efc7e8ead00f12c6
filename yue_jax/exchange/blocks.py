"""One tensor between their files and our arrays, a block of rows at a time.

Their file holds a tensor row by row, and ours is cut into chunks that lie
across these rows. A matrix of one layer is therefore a block as a whole; the
embedding tables, which are not turned, come in blocks of whole chunks. Rows of
the tables that both sides have are copied, and others are padding: added at
the end as copies of the last, as `train.state.resize_vocabulary` does, or cut.
"""

from collections.abc import Callable, Iterator
import functools
import math

import jax
import numpy as np

from yue_jax.checkpoint_chunks import Box, boxes, read_ahead, whole
from yue_jax.config import ModelConfig
from yue_jax.exchange import table

_BLOCK_BYTES = 32 * 2**20
_SLAB_BYTES = 2 * 2**20  # are turned at once


def outgoing(
  tensor: table.Tensor, leaf, cfg: ModelConfig, dtype: np.dtype
) -> Iterator[np.ndarray]:
  """Their tensor, block after block.

  Args:
    tensor: of a model with `cfg`.
    leaf: our array: has a shape, may have chunks, and is read as leaf[box].
    cfg: its `vocab_size` is how many rows the tables are to have.
    dtype: of the blocks.

  Raises:
    ValueError: a number is not finite in `dtype`.
  """
  if tensor.is_table:
    yield from _table_rows(tensor, leaf, dtype)
    return
  block = np.empty(tensor.shape, dtype)
  ours = table.to_ours(tensor.row, block, cfg)
  layer, box = _layer(tensor), whole(ours.shape)
  order = np.argsort([-stride for stride in ours.strides])  # axes of theirs
  for at, part in _parts(leaf, layer, box, dtype, tensor.name):
    _turn(ours[at].transpose(order), part.transpose(order))
  yield block


def outgoing_bytes(tensor: table.Tensor, leaf, dtype: np.dtype) -> int:
  """The size of the largest block of `outgoing`."""
  rows = tensor.shape[0]
  if tensor.is_table:
    rows = min(rows, _rows_at_once(leaf))
  return rows * math.prod(tensor.shape[1:]) * dtype.itemsize


def incoming(
  tensor: table.Tensor,
  read: Callable[[int, int], np.ndarray],
  cfg: ModelConfig,
  *,
  rows: int,
  chunk: tuple[int, ...],
) -> Iterator[tuple[Box, np.ndarray]]:
  """Our array in boxes of whole chunks, as float32.

  Args:
    tensor: of a model with `cfg`.
    read: gives rows of their tensor from a start to a stop; called in order,
      until all rows were read.
    cfg: its `vocab_size` is how many rows our tables are to have.
    rows: how many theirs has.
    chunk: of our array.

  Raises:
    ValueError: a number is not finite.
  """
  if tensor.is_table:
    yield from _our_rows(tensor, read, rows, chunk[0])
    return
  ours = table.to_ours(tensor.row, read(0, rows), cfg)
  layer = _layer(tensor)
  for box in boxes(whole(ours.shape), chunk[len(layer) :]):
    part = np.empty(ours[box].shape, np.float32)  # exact from 16 bits
    _turn(part, ours[box])
    _refuse_infinities(part, tensor.name)
    yield layer + box, part.reshape((1,) * len(layer) + part.shape)


def _table_rows(tensor, leaf, dtype) -> Iterator[np.ndarray]:
  stored, (rows, width) = leaf.shape[0], tensor.shape
  step = _rows_at_once(leaf)
  for start in range(0, rows, step):
    block = np.empty((min(step, rows - start), width), dtype)
    known = min(max(stored - start, 0), len(block))
    box = (slice(start, start + known), slice(0, width))
    for at, part in _parts(leaf, (), box, dtype, tensor.name):
      block[at] = part
    if known < len(block):
      last = (slice(stored - 1, stored), slice(0, width))
      for (_, columns), part in _parts(leaf, (), last, dtype, tensor.name):
        block[known:, columns] = part
    yield block


def _our_rows(
  tensor, read, rows: int, chunk_rows: int
) -> Iterator[tuple[Box, np.ndarray]]:
  wanted, width = tensor.shape
  last = None
  for start in range(0, wanted, chunk_rows):
    part = np.empty((min(chunk_rows, wanted - start), width), np.float32)
    known = min(max(rows - start, 0), len(part))
    if known:
      part[:known] = read(start, start + known)
      last = part[known - 1].copy()
    part[known:] = last
    _refuse_infinities(part, tensor.name)
    yield (slice(start, start + len(part)), slice(0, width)), part
  for start in range(wanted, rows, chunk_rows):
    read(start, min(start + chunk_rows, rows))


def _rows_at_once(leaf) -> int:
  """Rows of whole chunks that make about a block; at least one row of them."""
  chunk_rows = _chunk(leaf)[0]
  bytes_each = chunk_rows * leaf.shape[1] * 4
  return chunk_rows * max(1, _BLOCK_BYTES // bytes_each)


def _parts(
  leaf, layer: Box, box: Box, dtype: np.dtype, name: str
) -> Iterator[tuple[Box, np.ndarray]]:
  """A box of one layer of our array, chunk by chunk: where in it, and what."""
  pieces = boxes(layer + box, _chunk(leaf))
  for piece, part in read_ahead(functools.partial(_start, leaf), pieces):
    part = part[0] if layer else part
    _check_range(part, dtype, name)
    at = tuple(
      slice(p.start - b.start, p.stop - b.start)
      for p, b in zip(piece[len(layer) :], box, strict=True)
    )
    yield at, part


def _turn(into: np.ndarray, part: np.ndarray) -> None:
  """Copies and converts into an array whose axes lie in memory in their order.

  Those of `part` may not, and are put in order on the way through a JAX array,
  for which PJRT copies by squares of registers, several times as fast as
  NumPy. As 16 bits where either has them, and a slab at a time, which stays in
  the caches and is small enough for memory to be given back.
  """
  host = jax.local_devices(backend="cpu")[0]
  narrow = min(into.dtype, part.dtype, key=lambda dtype: dtype.itemsize)
  bits = np.dtype(f"u{narrow.itemsize}")
  rows = max(1, _SLAB_BYTES * len(part) // (part.size * narrow.itemsize))
  for start in range(0, len(part), rows):
    slab = part[start : start + rows].astype(narrow, order="K").view(bits)
    turned = np.asarray(jax.device_put(slab, host)).view(narrow)
    into[start : start + rows] = turned


def _check_range(part: np.ndarray, dtype: np.dtype, name: str) -> None:
  """Refuses what `dtype` cannot hold; rounding keeps the order of numbers."""
  extremes = np.array([part.min(), part.max()])
  with np.errstate(over="ignore"):  # what is looked for
    stored = extremes.astype(dtype).astype(np.float32)
  if not np.isfinite(stored).all():
    raise ValueError(
      f"{name} is not finite in {dtype}: its largest magnitude is"
      f" {np.abs(extremes).max()}; use a dtype with a wider range, or other"
      " weights"
    )


def _refuse_infinities(part: np.ndarray, name: str) -> None:
  if not np.isfinite([part.min(), part.max()]).all():
    raise ValueError(f"{name} has infinities or NaNs; use other weights")


def _layer(tensor: table.Tensor) -> Box:
  if tensor.layer is None:
    return ()
  return (slice(tensor.layer, tensor.layer + 1),)


def _start(leaf, box: Box) -> Callable[[], np.ndarray]:
  """Begins to read a box; in memory it is there."""
  if hasattr(leaf, "start"):
    return leaf.start(box)
  return lambda: leaf[box]


def _chunk(leaf) -> tuple[int, ...]:
  """Of an array in memory, all of it."""
  return getattr(leaf, "chunk", leaf.shape)
