"""Tensors in safetensors files: model-0000i-of-0000n and their index.

A file is eight bytes with the length of a JSON header, the header (name,
dtype, shape and place of each tensor), and the tensors one after the other.
The places of all tensors are known beforehand, so that rows of several can be
written at once. The safetensors library checks all lengths of what is read; the
rows themselves are read here, into memory that is given back.
"""

from collections.abc import Mapping
import dataclasses
import json
import math
import os
import pathlib
from typing import Self

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


class ShardFile:
  """A new file for tensors of one dtype, whose rows are written in any order.

  Use as a context manager; all is on the disk when it ends well.
  """

  def __init__(self, path: pathlib.Path, shapes: Shapes, dtype: str):
    """Makes the file, or begins it anew."""
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
    self._begins = {
      name: 8 + len(blob) + header[name]["data_offsets"][0] for name in shapes
    }
    self._file = open(path, "wb")  # noqa: SIM115 - closed by __exit__
    self._file.write(len(blob).to_bytes(8, "little") + blob)
    self._file.flush()
    os.truncate(self._file.fileno(), 8 + len(blob) + end)

  def write(self, name: str, offset: int, data: memoryview) -> None:
    """Writes bytes of a tensor, which begin `offset` bytes after its own."""
    at = self._begins[name] + offset
    while data:
      try:
        written = os.pwrite(self._file.fileno(), data, at)
      except OSError as error:  # a full disk, most of the time
        error.filename = self._file.name
        raise
      data, at = data[written:], at + written

  def sync(self) -> None:
    """Waits until what was written so far is on the disk."""
    os.fdatasync(self._file.fileno())

  def __enter__(self) -> Self:
    return self

  def __exit__(self, error, *_) -> None:
    with self._file:
      if error is None:
        os.fsync(self._file.fileno())


def names_of_files(count: int) -> list[str]:
  return [
    f"model-{number:05}-of-{count:05}.safetensors"
    for number in range(1, count + 1)
  ]


def write_index(
  folder: pathlib.Path, files: Mapping[str, list[str]], total_size: int
) -> None:
  """Writes which tensors are in which file."""
  weight_map = {name: file for file, names in files.items() for name in names}
  index = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
  write_json(folder / INDEX, index)


@dataclasses.dataclass(frozen=True)
class StoredTensor:
  """A tensor in a file, read by rows.

  Attributes:
    name, shape: its own.
    dtype: one of DTYPES where it is known there, else safetensors' own name.
    path: the file.
    begin: the byte of the file with which it begins.
  """

  name: str
  shape: tuple[int, ...]
  dtype: str
  path: pathlib.Path
  begin: int

  def read(self, start: int, stop: int) -> np.ndarray:
    """Rows from `start` up to `stop`."""
    rows = np.empty((stop - start, *self.shape[1:]), DTYPES[self.dtype])
    into = memoryview(rows.reshape(-1).view(np.uint8))
    with open(self.path, "rb", buffering=0) as file:
      file.seek(self.begin + start * (len(into) // (stop - start)))
      while into:
        count = file.readinto(into)
        if not count:
          raise ValueError(f"{self.path} ends within {self.name}")
        into = into[count:]
    return rows


def open_folder(folder: pathlib.Path) -> dict[str, StoredTensor]:
  """All tensors of a folder by name.

  Raises:
    ValueError: a file is not whole, or index and files do not agree.
    FileNotFoundError: a file is missing.
  """
  file_of, tensors = _weight_map(folder), {}
  for file in sorted(set(file_of.values())):
    found = open_file(folder / file)
    promised = {name for name, of in file_of.items() if of == file}
    if promised != set(found):
      differ = sorted(promised ^ set(found))
      raise ValueError(
        f"{folder / file} and {INDEX} do not name the same tensors; they"
        f" differ in {differ[:4]}. Fetch both files again."
      )
    tensors |= found
  return tensors


def open_file(path: pathlib.Path) -> dict[str, StoredTensor]:
  """The tensors of a file; ValueError unless its header and length agree."""
  try:
    with safetensors.safe_open(path, framework="numpy") as opened:
      names = list(opened.keys())
  except safetensors.SafetensorError as error:
    raise ValueError(
      f"{path} is not a whole safetensors file ({error}); fetch it again"
    ) from error
  with open(path, "rb") as file:
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
  dtypes = {code: dtype for dtype, code in _CODES.items()}
  return {
    name: StoredTensor(
      name,
      tuple(header[name]["shape"]),
      dtypes.get(header[name]["dtype"], header[name]["dtype"]),
      path,
      8 + length + header[name]["data_offsets"][0],
    )
    for name in names
  }


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
    return dict.fromkeys(open_file(folder / SINGLE), SINGLE)
  raise FileNotFoundError(
    f"neither {INDEX} nor {SINGLE} in {folder}; pickled weights (*.bin) are"
    " never read: save them again with safe_serialization=True"
  )
