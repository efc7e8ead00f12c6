"""Tensors in safetensors files: model-0000i-of-0000n and their index.

A file is eight bytes with the length of a JSON header, the header (name,
dtype, shape and place of each tensor), and the tensors one after the other.
It is written tensor by tensor, so that one tensor is in memory at a time, and
read through the safetensors library, which checks all lengths.
"""

from collections.abc import Callable, Mapping
import json
import math
import os
import pathlib

import ml_dtypes
import numpy as np
import safetensors

from yue_jax.exchange.config import read_json, write_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
DTYPES = {
  "float32": np.dtype(np.float32),
  "bfloat16": np.dtype(ml_dtypes.bfloat16),
  "float16": np.dtype(np.float16),
}
_CODES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}

Shapes = Mapping[str, tuple[int, ...]]


def plan(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
  """Cuts names into runs of at most `limit` bytes, in the order given.

  A tensor larger than the limit is alone in its shard. Example: sizes
  a: 3, b: 3, c: 9, d: 1 and limit 6 -> [a, b], [c], [d].
  """
  shards, room = [], -1
  for name, size in sizes.items():
    if size > room:
      shards.append([])
      room = limit
    shards[-1].append(name)
    room -= size
  return shards


def write(
  folder: pathlib.Path,
  shapes: Shapes,
  read: Callable[[str], np.ndarray],
  *,
  dtype: str,
  shard_bytes: int,
) -> None:
  """Writes all shards and the index.

  Args:
    folder: where to; must exist.
    shapes: of all tensors by name, in the order of writing.
    read: gives a tensor, already of `dtype`; called once for each.
    dtype: one of DTYPES.
    shard_bytes: most bytes of tensors in one file.
  """
  sizes = {
    name: math.prod(shape) * DTYPES[dtype].itemsize
    for name, shape in shapes.items()
  }
  shards = plan(sizes, shard_bytes)
  weight_map = {}
  for number, names in enumerate(shards, start=1):
    file = f"model-{number:05}-of-{len(shards):05}.safetensors"
    _write_file(folder / file, {n: shapes[n] for n in names}, read, dtype)
    weight_map |= dict.fromkeys(names, file)
  index = {
    "metadata": {"total_size": sum(sizes.values())},
    "weight_map": weight_map,
  }
  write_json(folder / INDEX, index)


class Shards:
  """The tensors of a folder, read one at a time."""

  def __init__(self, folder: pathlib.Path):
    """Opens every file; ValueError unless index and files agree."""
    self._file_of = _weight_map(folder)
    self._files = {
      file: _open(folder / file) for file in sorted({*self._file_of.values()})
    }
    for file, opened in self._files.items():
      promised = {name for name, of in self._file_of.items() if of == file}
      if promised != set(opened.keys()):
        differ = sorted(promised ^ set(opened.keys()))
        raise ValueError(
          f"{folder / file} and {INDEX} do not name the same tensors; they"
          f" differ in {differ[:4]}. Fetch both files again."
        )

  @property
  def names(self) -> set[str]:
    return set(self._file_of)

  def shape(self, name: str) -> tuple[int, ...]:
    return tuple(self._file(name).get_slice(name).get_shape())

  def dtype(self, name: str) -> str:
    """One of DTYPES where it is known there, else safetensors' own name."""
    code = self._file(name).get_slice(name).get_dtype()
    return {code: dtype for dtype, code in _CODES.items()}.get(code, code)

  def read(self, name: str) -> np.ndarray:
    return self._file(name).get_tensor(name)

  def _file(self, name: str):
    return self._files[self._file_of[name]]


def _write_file(
  path: pathlib.Path, shapes: Shapes, read: Callable, dtype: str
) -> None:
  header, end = {"__metadata__": {"format": "pt"}}, 0
  for name, shape in shapes.items():
    begin, end = end, end + math.prod(shape) * DTYPES[dtype].itemsize
    header[name] = {
      "dtype": _CODES[dtype],
      "shape": list(shape),
      "data_offsets": [begin, end],
    }
  blob = json.dumps(header, separators=(",", ":")).encode()
  blob += b" " * (-len(blob) % 8)  # the tensors begin aligned
  with open(path, "xb") as file:
    file.write(len(blob).to_bytes(8, "little") + blob)
    for name, shape in shapes.items():
      tensor = read(name)
      if tensor.shape != shape or tensor.dtype != DTYPES[dtype]:
        raise ValueError(
          f"{name} is {tensor.dtype} {tensor.shape}, expected {dtype} {shape}"
        )
      file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    file.flush()
    os.fsync(file.fileno())


def _weight_map(folder: pathlib.Path) -> dict[str, str]:
  """File of every tensor."""
  if (folder / INDEX).is_file():
    files = read_json(folder / INDEX).get("weight_map")
    if not isinstance(files, dict) or not files:
      raise ValueError(f"{folder / INDEX} has no weight_map; fetch it again")
    for file in sorted(set(files.values())):
      # An index comes from elsewhere and must not lead out of its folder.
      if pathlib.PurePath(str(file)).name != file:
        raise ValueError(f"{INDEX} names {file!r}, which is not a plain name")
      if not (folder / file).is_file():
        raise FileNotFoundError(f"{INDEX} names {file}, absent from {folder}")
    return files
  if (folder / SINGLE).is_file():
    return dict.fromkeys(_open(folder / SINGLE).keys(), SINGLE)
  raise FileNotFoundError(
    f"neither {INDEX} nor {SINGLE} in {folder}; pickled weights (*.bin) are"
    " never read: save them again with safe_serialization=True"
  )


def _open(path: pathlib.Path):
  try:
    return safetensors.safe_open(path, framework="numpy")
  except safetensors.SafetensorError as error:
    raise ValueError(
      f"{path} is not a whole safetensors file ({error}); fetch it again"
    ) from error
