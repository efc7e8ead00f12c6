"""Writing Megatron's indexed data sets, as `data.megatron.files` reads them.

Documents are written as they come. Their lengths wait in files beside the
data, so that the memory needed does not grow with their number.
"""

from collections.abc import Iterable, Sequence
import contextlib
import os
import pathlib
from typing import BinaryIO

import numpy as np

from yue_jax.data.megatron.files import DTYPES, HEADER, MAGIC, VERSION
from yue_jax.vocab import WRAPPER_IDS, Vocab

_CODES = {np.dtype(DTYPES[code]): code for code in (4, 8)}
_UINT16_BELOW = 65_500  # ids in the vocabulary, as in the released code
_CHUNK = 1 << 20  # sequences whose pointers are written at once


def released_dtype(vocab: Vocab) -> np.dtype:
  """Dtype that the released code gives to the ids of a vocabulary."""
  size = vocab.size + WRAPPER_IDS
  return np.dtype("<u2" if size < _UINT16_BELOW else "<i4")


def write_megatron(
  prefix: str | pathlib.Path,
  documents: Iterable[Sequence[np.ndarray]],
  *,
  dtype: np.dtype | type = np.int32,
) -> None:
  """Writes PREFIX.bin, then PREFIX.idx; both are whole or not there.

  Args:
    prefix: of the two files, in a directory that exists.
    documents: each as its sequences, integer arrays (n,).
    dtype: of the ids: int32 or uint16.

  Raises FileExistsError when one of the files exists, ValueError for ids that
  do not fit. Example: documents [[[1, 2], [3]], [[4]]] have the sizes 2 1 1,
  the pointers 0 8 12 and the document index 0 2 3.
  """
  dtype = np.dtype(dtype).newbyteorder("<")
  if dtype not in _CODES:
    raise ValueError(f"dtype={dtype}, expected one of {[*map(str, _CODES)]}")
  finals = [pathlib.Path(f"{prefix}.bin"), pathlib.Path(f"{prefix}.idx")]
  for path in finals:
    if path.exists():
      raise FileExistsError(
        f"{path} exists already; remove it, or choose another prefix"
      )
  mark = os.urandom(4).hex()
  partial = {
    what: finals[0].parent / f".{finals[0].stem}.{what}.partial-{mark}"
    for what in ("bin", "idx", "sizes", "documents")
  }
  try:
    with contextlib.ExitStack() as stack:
      files = {
        what: stack.enter_context(open(path, "w+b"))
        for what, path in partial.items()
      }
      sequences, entries = _write_documents(files, documents, dtype)
      files["idx"].write(
        HEADER.pack(MAGIC, VERSION, _CODES[dtype], sequences, entries)
      )
      _write_sizes_and_pointers(files, dtype.itemsize)
      _append(files["documents"], files["idx"])
    partial["bin"].rename(finals[0])
    partial["idx"].rename(finals[1])
  finally:
    for path in partial.values():
      path.unlink(missing_ok=True)


def _write_documents(
  files: dict[str, BinaryIO],
  documents: Iterable[Sequence[np.ndarray]],
  dtype: np.dtype,
) -> tuple[int, int]:
  """Numbers of sequences, and of entries of the document index."""
  limits, sequences, entries = np.iinfo(dtype), 0, 1
  files["documents"].write(np.int64(0).tobytes())
  for number, document in enumerate(documents):
    for ids in document:
      ids = np.asarray(ids)
      if ids.size and not limits.min <= ids.min() <= ids.max() <= limits.max:
        raise ValueError(
          f"document {number} has ids {ids.min()}..{ids.max()}, {dtype} holds"
          f" {limits.min}..{limits.max}"
        )
      files["bin"].write(ids.astype(dtype).tobytes())
      files["sizes"].write(np.array(len(ids), "<i4").tobytes())
    sequences += len(document)
    entries += 1
    files["documents"].write(np.array(sequences, "<i8").tobytes())
  return sequences, entries


def _write_sizes_and_pointers(
  files: dict[str, BinaryIO], itemsize: int
) -> None:
  _append(files["sizes"], files["idx"])
  files["sizes"].seek(0)
  at = 0
  while chunk := files["sizes"].read(4 * _CHUNK):
    sizes = np.frombuffer(chunk, "<i4").astype(np.int64) * itemsize
    ends = at + np.cumsum(sizes)
    files["idx"].write((ends - sizes).astype("<i8").tobytes())
    at = int(ends[-1])


def _append(source: BinaryIO, target: BinaryIO) -> None:
  source.seek(0)
  while chunk := source.read(1 << 24):
    target.write(chunk)
