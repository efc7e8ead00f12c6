"""Prepared songs as a TensorFlow dataset, and back. TensorFlow is not needed.

  prepared data set ─► SongRecords, a builder ─► TFDS directory
                                                   └ open_tfds ─► Dataset

The splits `songs` and `windows` have an example for each row of the song table
and for each run of windows, in their order. An example is a `record`, as
prepared, and in `columns` what the record does not say. All other columns are
computed from the records when the directory is opened for the first time, and
kept in it, in the folder YUE_JAX. What is opened gives the same documents as
the data set that was prepared.

`build_tfds` makes such a directory of manifests. So does, of a data set that
is prepared, the command of TFDS, in an environment that has tensorflow,
apache-beam and mlcroissant too:

  tfds build song_records --imports=yue_jax.data.tfds_songs \\
    --manual_dir=data/songs --data_dir=data/tfds
"""

from collections.abc import Iterator, Sequence
import dataclasses
import os
import pathlib
import tempfile
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from yue_jax.data.dataset import Dataset, describe, open_dataset, read_index
from yue_jax.data.layout import (
  COLUMNS,
  NO_RECORD,
  SECTION_COLUMNS,
  SONG_COLUMNS,
  ColumnWriter,
)
from yue_jax.data.preparing.columns import CODES
from yue_jax.data.preparing.prepare import Manifests, prepare
from yue_jax.data.preparing.row_writer import section_columns, song_columns
from yue_jax.data.records import decode_song_record, decode_windows_record
from yue_jax.progress import track
from yue_jax.whole_directory import whole_directory

YUE_JAX = "yue_jax"  # folder of the columns; our dataset.json in the metadata
# What "columns" of an example holds, by split.
_GIVEN = {
  "songs": ("id_hash", "group", "language", *CODES),
  "windows": ("run_song", "run_track"),
}


class SongRecords(tfds.core.GeneratorBasedBuilder):
  """A prepared data set; `manual_dir` is where it lies."""

  VERSION = tfds.core.Version("1.0.0")
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "manual_dir must be a directory that tools/prepare_songs.py has written."
  )

  def __init__(
    self,
    *,
    prepared: str | os.PathLike[str] | None = None,
    file_format: str | None = None,
    **kwargs,
  ):
    """Of the data set `prepared`, or of that in `manual_dir` without one."""
    if file_format not in (None, "array_record"):
      raise ValueError(f"file_format={file_format!r}, expected array_record")
    self._prepared = prepared
    super().__init__(file_format="array_record", **kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description="Records of yue_jax: songs, and runs of windows.",
      features=tfds.features.FeaturesDict(
        {
          "record": tfds.features.Tensor(shape=(), dtype=np.object_),  # bytes
          "columns": tfds.features.Tensor(shape=(None,), dtype=np.uint64),
        }
      ),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(),
    )

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    dataset = open_dataset(self._prepared or dl_manager.manual_dir)
    self.info.metadata[YUE_JAX] = dataset.info
    return {
      split: self._generate_examples(dataset, split)
      for split in _GIVEN
      if len(_numbers(dataset, split))  # a split is never empty
    }

  def _generate_examples(
    self, dataset: Dataset, split: str
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    records = getattr(dataset, split)
    columns = [dataset.index[name] for name in _GIVEN[split]]
    for row, number in enumerate(_numbers(dataset, split).tolist()):
      record = b"" if number == NO_RECORD else records[number]
      given = np.array([column[row] for column in columns], np.uint64)
      yield row, {"record": record, "columns": given}


def build_tfds(
  manifests: Manifests, data_dir: str | os.PathLike[str], **settings
) -> pathlib.Path:
  """Prepares manifests into a new TFDS directory below `data_dir`.

  `settings` are those of `data.prepare.prepare`. A data set that is prepared
  already takes SongRecords(prepared=..., data_dir=...).download_and_prepare().
  """
  data_dir = pathlib.Path(data_dir)
  data_dir.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=data_dir) as folder:
    out = pathlib.Path(folder) / "prepared"
    prepare(manifests, out, **settings)
    builder = SongRecords(prepared=out, data_dir=data_dir)
    builder.download_and_prepare(download_dir=folder)
  return pathlib.Path(builder.data_path)


def open_tfds(directory: str | os.PathLike[str]) -> Dataset:
  """Opens a directory of SongRecords as the data set that it was made from.

  The first time, reads all records and writes the columns into the directory.
  Raises ValueError for a directory of another builder.
  """
  directory = pathlib.Path(directory)
  builder = tfds.builder_from_directory(directory)
  info = dict((builder.info.metadata or {}).get(YUE_JAX, {}))
  if not info:
    raise ValueError(
      f"{directory} is no TFDS directory of yue_jax; make one with build_tfds"
    )
  examples = {
    split: builder.as_data_source(split) if split in builder.info.splits else []
    for split in _GIVEN
  }
  if not (directory / YUE_JAX).is_dir():
    try:
      with whole_directory(directory / YUE_JAX) as folder:
        _write_columns(folder, examples)
    except OSError:
      if not (directory / YUE_JAX).is_dir():  # others may have written it
        raise
  info["index"] = {
    name: {"rows": _rows(name, info, examples)} for name in COLUMNS
  }
  info["shards"] = {split: [] for split in _GIVEN}  # those of TFDS are read
  index = read_index(directory / YUE_JAX, info["index"])
  return dataclasses.replace(
    describe(directory, info, index),
    **{split: _Records(found) for split, found in examples.items()},
  )


class _Records(Sequence[bytes]):
  """Records of examples, by number."""

  def __init__(self, examples: Sequence[dict[str, Any]]):
    self._examples = examples

  def __len__(self) -> int:
    return len(self._examples)

  def __getitem__(self, number: int) -> bytes:
    if not 0 <= number < len(self):
      raise IndexError(f"record {number} of {len(self)}")
    return self._examples[number]["record"]


def _numbers(dataset: Dataset, split: str) -> np.ndarray:
  return dataset.index[{"songs": "record", "windows": "run_record"}[split]]


def _rows(name: str, info: dict[str, Any], examples: dict[str, Any]) -> int:
  """Rows of a column, in a TFDS directory made from `info`'s data set."""
  if name in SECTION_COLUMNS:
    return info["index"][name]["rows"]
  return len(examples["songs" if name in SONG_COLUMNS else "windows"])


def _write_columns(folder: pathlib.Path, examples: dict[str, Any]) -> None:
  """Computes all columns, example by example."""
  columns: dict[str, list] = {name: [] for name in COLUMNS}
  songs, windows = examples["songs"], examples["windows"]
  for row in track(range(len(songs)), len(songs), "songs", "indexing"):
    example = songs[row]
    record = example["record"]
    song = decode_song_record(record) if record else None
    _append(columns, "songs", example, record=row if song else NO_RECORD)
    for name, value in song_columns(song).items():
      columns[name].append(value)
    for name, values in section_columns(song).items():
      columns[name] += values
  for row in track(range(len(windows)), len(windows), "runs", "indexing"):
    count = len(decode_windows_record(windows[row]["record"]))
    _append(columns, "windows", windows[row], run_record=row, run_windows=count)
  (folder / "index").mkdir()
  for name, values in columns.items():
    with ColumnWriter(folder, name, len(values)) as writer:
      writer.append(np.array(values, COLUMNS[name]))
      writer.finish()


def _append(
  columns: dict[str, list], split: str, example: dict[str, Any], **values: int
) -> None:
  given = zip(_GIVEN[split], example["columns"].tolist(), strict=True)
  for name, value in (*given, *values.items()):
    columns[name].append(value)
