"""Tracks: .npy files of codec codes, opened without trust.

A path comes from a manifest and may say anything: it must lead to a regular
file inside a given folder, whatever links are on the way. The file may hold
anything: it must be a .npy array of integers as large as its header says.
Nothing is unpickled, no pipe is waited for, no header is believed.
"""

import io
import math
import os
import pathlib
import stat

import numpy as np

from yue_jax.codec import check_codes
from yue_jax.errors import SongError
from yue_jax.vocab import Vocab

# Of a generated song, as the released code names them.
FILES = {"vocal": "vtrack.npy", "backing": "itrack.npy"}
_MAX_BYTES = 2**30  # a week of sound has 10^8 codes


def read_track(
  name: str, root: str | os.PathLike[str], *, vocab: Vocab
) -> np.ndarray:
  """Codes of the file `name`, (codebooks, frames) uint16.

  `name` is relative to `root` or absolute, and must lie inside `root`.
  Raises SongError, and no other error, when the codes cannot be used:
  `outside_root`, `missing_file`, `bad_file` or `bad_codes`.
  """
  path = pathlib.Path(root) / name
  _expect_inside(path, pathlib.Path(root))
  try:
    codes = _read_array(path)
  except FileNotFoundError:
    raise SongError("missing_file", f"no file {path}") from None
  except Exception as error:  # a broken header can raise nearly anything
    message = f"{path} is no readable .npy array: {error}"
    raise SongError("bad_file", message) from error
  try:
    check_codes(codes, vocab)
  except ValueError as error:
    raise SongError("bad_codes", f"{path}: {error}") from error
  if not codes.size:
    message = f"{path} has no codes, its shape is {codes.shape}"
    raise SongError("bad_codes", message)
  return np.ascontiguousarray(codes, np.uint16)


def _expect_inside(path: pathlib.Path, root: pathlib.Path) -> None:
  try:
    found, inside = os.path.realpath(path), os.path.realpath(root)
    if os.path.commonpath([found, inside]) == inside:
      return
  except (OSError, ValueError) as error:
    message = f"{path} is no path of a file: {error}"
    raise SongError("bad_file", message) from error
  raise SongError(
    "outside_root",
    f"{path} is {found}, outside of {inside}; move the codes there, or give"
    " --root a folder that holds them, to which relative paths then relate",
  )


def _read_array(path: pathlib.Path) -> np.ndarray:
  # Opening a pipe for reading would wait for its writer.
  handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
  with open(handle, "rb") as file:
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
      raise ValueError("it is no regular file")
    if found.st_size > _MAX_BYTES:
      raise ValueError(f"{found.st_size} bytes, {_MAX_BYTES} are the most")
    content = file.read()
  header = io.BytesIO(content)
  version = np.lib.format.read_magic(header)
  if version not in _HEADERS:
    raise ValueError(f"version {version} of the .npy format")
  shape, by_columns, dtype = _HEADERS[version](header)
  start, count = header.tell(), math.prod(shape)
  if min(shape, default=0) < 0 or start + count * dtype.itemsize > len(content):
    raise ValueError(
      f"its header says {shape} of {dtype}, {len(content) - start} bytes follow"
    )
  codes = np.frombuffer(content, dtype, count, start)  # refuses objects
  return codes.reshape(shape, order="F" if by_columns else "C")


_HEADERS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}
