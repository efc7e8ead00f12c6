"""Opening a prepared data set (see `data.layout` for what is in it)."""

from collections.abc import Sequence
import dataclasses
import json
import pathlib
from typing import Any
import zipfile

import grain
import numpy as np

from yue_jax.data.layout import COLUMNS, FORMAT
from yue_jax.data.records import Shard
from yue_jax.encoding import Phrases
from yue_jax.vocab import Vocab


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """An opened data set.

  Attributes:
    directory: where it lies.
    info: dataset.json as it is.
    index: the columns, by name.
    vocab: the token-id map its ids belong to.
    phrases: ids around sections and references.
    window: frames of a window.
    codebooks: of a window.
    songs: records of songs by number.
    windows: records of runs of windows by number.
  """

  directory: pathlib.Path
  info: dict[str, Any]
  index: dict[str, np.ndarray]
  vocab: Vocab
  phrases: Phrases
  window: int
  codebooks: int
  songs: Sequence[bytes]
  windows: Sequence[bytes]

  @property
  def section_offsets(self) -> np.ndarray:
    """The sections of song i are those from offset i to offset i + 1."""
    return np.concatenate([[0], np.cumsum(self.index["section_count"])])


def open_dataset(directory: str | pathlib.Path) -> Dataset:
  """Opens a prepared data set; reads its index but none of its records.

  Raises FileNotFoundError when it or a part of it is missing, ValueError when
  it was written in another format or is damaged.
  """
  directory = pathlib.Path(directory)
  info = _read_info(directory)
  index = _read_index(directory)
  songs = [Shard(**shard) for shard in info["shards"]["songs"]]
  windows = [Shard(**shard) for shard in info["shards"]["windows"]]
  _expect_records(directory, "songs", songs, len(index["id"]))
  _expect_records(directory, "windows", windows, len(index["run_song"]))
  return Dataset(
    directory,
    info,
    index,
    Vocab.from_json(info["vocab"]),
    Phrases(**{name: tuple(ids) for name, ids in info["phrases"].items()}),
    info["window"],
    info["codebooks"],
    _open_shards(directory, songs),
    _open_shards(directory, windows),
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
  info = json.loads(path.read_text())
  if info.get("format") != FORMAT:
    raise ValueError(
      f"{path} has format {info.get('format')!r}, this version reads {FORMAT};"
      " prepare the songs anew with tools/prepare_songs.py"
    )
  return info


def _read_index(directory: pathlib.Path) -> dict[str, np.ndarray]:
  path = directory / "index.npz"
  if not path.is_file():
    raise FileNotFoundError(f"{path} does not exist; copy the data set again")
  try:
    with np.load(path, allow_pickle=False) as index:
      return {name: index[name] for name in COLUMNS}
  except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
    raise ValueError(
      f"{path} is damaged ({error}); copy the data set again, or prepare the"
      " songs anew"
    ) from error


def _expect_records(
  directory: pathlib.Path, what: str, shards: Sequence[Shard], indexed: int
) -> None:
  for shard in shards:
    if not (directory / shard.name).is_file():
      raise FileNotFoundError(
        f"{directory / shard.name} does not exist; copy the data set again"
      )
  records = sum(shard.records for shard in shards)
  if records != indexed:
    raise ValueError(
      f"{directory}: its shards of {what} hold {records} records, its index"
      f" lists {indexed}; they are not of one data set, copy it again"
    )


def _open_shards(
  directory: pathlib.Path, shards: Sequence[Shard]
) -> Sequence[bytes]:
  """Records of all shards by number; no file is opened before it is read."""
  if not shards:
    return ()
  return grain.sources.ArrayRecordDataSource(
    [f"{directory / shard.name}[0:{shard.records}]" for shard in shards]
  )


def _describe(vocab: Vocab) -> str:
  return f"{vocab.text_size} text ids of {vocab.size}"
