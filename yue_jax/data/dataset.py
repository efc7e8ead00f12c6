"""Opening a prepared data set (see `data.layout` for what is in it)."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import json
import pathlib
from typing import Any

import numpy as np

from yue_jax.data.layout import COLUMNS, FORMAT, REQUIRED, column_path
from yue_jax.data.records import Records, Shard
from yue_jax.encoding import Phrases
from yue_jax.vocab import Vocab

_ANEW = "copy the data set again, or prepare the songs anew"


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """An opened data set.

  Attributes:
    directory: where it lies.
    info: dataset.json as it is.
    index: the columns, by name, memory-mapped.
    vocab: the token-id map its ids belong to.
    phrases: ids around sections and references.
    window: frames of a window.
    codebooks: of a window.
    languages: names of languages, "" first.
    songs: records of songs by number.
    windows: records of runs of windows by number.
  """

  directory: pathlib.Path
  info: dict[str, Any]
  index: Mapping[str, np.ndarray]
  vocab: Vocab
  phrases: Phrases
  window: int
  codebooks: int
  languages: tuple[str, ...]
  songs: Sequence[bytes]
  windows: Sequence[bytes]

  @functools.cached_property
  def section_offsets(self) -> np.ndarray:
    """The sections of song i are those from offset i to i + 1, int64."""
    counts = self.index["section_count"]
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def open_dataset(directory: str | pathlib.Path) -> Dataset:
  """Opens a prepared data set; reads neither its columns nor its records.

  A directory of TensorFlow Datasets will do, see `data.tfds_songs`. Raises
  FileNotFoundError when it or a part of it is missing, ValueError when it was
  written in another format or is damaged.
  """
  directory = pathlib.Path(directory)
  if (directory / "dataset_info.json").is_file():
    from yue_jax.data.tfds_songs import open_tfds  # slow to import

    return open_tfds(directory)
  info = _read_info(directory)
  return describe(directory, info, read_index(directory, info["index"]))


def describe(
  directory: pathlib.Path,
  info: dict[str, Any],
  index: Mapping[str, np.ndarray],
) -> Dataset:
  """The data set of a dataset.json and columns that have been read."""
  try:
    songs, windows = (
      [Shard(**shard) for shard in info["shards"][what]]
      for what in ("songs", "windows")
    )
    phrases = {name: tuple(ids) for name, ids in info["phrases"].items()}
    phrases, vocab = Phrases(**phrases), Vocab.from_json(info["vocab"])
  except (KeyError, TypeError, AttributeError, ValueError) as error:
    raise ValueError(
      f"{directory / 'dataset.json'} is damaged ({error!r}); {_ANEW}"
    ) from error
  return Dataset(
    directory,
    info,
    index,
    vocab,
    phrases,
    info["window"],
    info["codebooks"],
    tuple(info["languages"]),
    Records(directory, songs),
    Records(directory, windows),
  )


def expect_vocab(dataset: Dataset, vocab: Vocab) -> None:
  """Raises ValueError unless the data set's ids are those of `vocab`."""
  ours, theirs = vocab.fingerprint(), dataset.vocab.fingerprint()
  if ours != theirs:
    raise ValueError(
      f"the vocabulary of the model, {ours} ({_describe(vocab)}), is not that"
      f" of the data set {dataset.directory}, {theirs}"
      f" ({_describe(dataset.vocab)}); set `vocab` in the config to the `vocab`"
      f" of {dataset.directory / 'dataset.json'}, or prepare the songs anew"
    )


def _read_info(directory: pathlib.Path) -> dict[str, Any]:
  path = directory / "dataset.json"
  if not path.is_file():
    raise FileNotFoundError(
      f"{path} does not exist, so {directory} is no prepared data set; make one"
      " with tools/prepare_songs.py"
    )
  try:
    info = json.loads(path.read_bytes())
  except ValueError as error:
    raise ValueError(f"{path} is no JSON ({error}); {_ANEW}") from error
  if not isinstance(info, dict):
    raise ValueError(f"{path}: expected an object, got {info!r:.60}; {_ANEW}")
  if info.get("format") != FORMAT:
    raise ValueError(
      f"{path} has format {info.get('format')!r}, this version reads {FORMAT};"
      " prepare the songs anew with tools/prepare_songs.py"
    )
  missing = [name for name in REQUIRED if name not in info]
  if missing:
    raise ValueError(f"{path} is incomplete, it lacks {missing}; {_ANEW}")
  return info


def read_index(
  directory: pathlib.Path, described: dict[str, Any]
) -> dict[str, np.ndarray]:
  """The columns, memory-mapped; ValueError for other rows than described."""
  return {
    name: _read_column(column_path(directory, name), dtype, described, name)
    for name, dtype in COLUMNS.items()
  }


def _read_column(
  path: pathlib.Path, dtype: type, described: dict[str, Any], name: str
) -> np.ndarray:
  if not path.is_file():
    raise FileNotFoundError(f"{path} does not exist; copy the data set again")
  try:
    rows = described[name]["rows"]
    column = np.load(path, mmap_mode="r", allow_pickle=False)
  except Exception as error:  # a broken header can raise nearly anything
    raise ValueError(f"{path} is damaged ({error!r}); {_ANEW}") from error
  if column.dtype != dtype or column.shape != (rows,):
    raise ValueError(
      f"{path} holds {column.dtype} of shape {column.shape}, dataset.json says"
      f" {np.dtype(dtype)} of shape ({rows},); they are not of one data set,"
      " copy it again"
    )
  return np.asarray(column)  # mapped all the same, but without memmap's cost


def _describe(vocab: Vocab) -> str:
  return f"{vocab.text_size} text ids of {vocab.size}"
