"""A TFDS directory gives the records and documents that were prepared."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.songs_on_disk import (
  small_recipe,
  small_tokenizer,
  write_manifest,
  write_song,
)
from yue_jax.data import tfds_songs
from yue_jax.data.dataset import open_dataset
from yue_jax.data.preparing.prepare import prepare
from yue_jax.data.sources.kinds import KINDS
from yue_jax.data.sources.make import make_source
from yue_jax.data.tfds_songs import YUE_JAX, SongRecords, build_tfds, open_tfds


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """The data set as prepared, and the TFDS directory of its manifest."""
  root = tmp_path_factory.mktemp("tfds")
  rows = [
    write_song(root, f"s{i}", seed=i, codes=64, language=["", "en"][i % 2])
    for i in range(6)
  ]
  rows[2]["splitted_lyrics"] = {}  # gives windows only
  rows[4]["id"] = "s0"
  rows[5]["codec"] = rows[3]["codec"]
  manifest = write_manifest(root, rows)
  recipe = small_recipe(small_tokenizer(root / "t.model"), codes=64)
  prepare(manifest, root / "out", recipe=recipe)
  return root / "out", build_tfds(manifest, root / "data", recipe=recipe)


@pytest.fixture
def both(made):
  prepared, directory = made
  return open_dataset(prepared), open_dataset(directory)


def test_nothing_else_is_left(made):
  _, directory = made
  assert directory.parent.name == "song_records"
  assert [p.name for p in directory.parent.parent.iterdir()] == ["song_records"]


def test_records_and_columns_are_those_prepared(both):
  prepared, opened = both
  for name, column in prepared.index.items():
    found = opened.index[name]
    assert found.dtype == column.dtype
    if name not in ("record", "run_record"):
      np.testing.assert_array_equal(found, column, err_msg=name)
  for split, name in (("songs", "record"), ("windows", "run_record")):
    numbers = zip(prepared.index[name], opened.index[name], strict=True)
    for one, other in numbers:
      if one < 0:
        assert other == one
      else:
        records = getattr(prepared, split)[one], getattr(opened, split)[other]
        assert records[0] == records[1]
  for name in ("vocab", "phrases", "window", "codebooks", "languages"):
    assert getattr(opened, name) == getattr(prepared, name)
  assert opened.info["fingerprint"] == prepared.info["fingerprint"]


@pytest.mark.parametrize("kind", KINDS)
def test_documents_are_those_prepared(both, kind):
  one, other = (make_source(dataset, kind, seed=3) for dataset in both)
  np.testing.assert_array_equal(one.lengths(1), other.lengths(1))
  for number, length in enumerate(one.lengths(1)):
    parts = [
      source.read(1, number, start=0, length=int(length))
      for source in (one, other)
    ]
    for a, b in zip(*parts, strict=True):
      np.testing.assert_array_equal(a.ids, b.ids)
      np.testing.assert_array_equal(a.streams, b.streams)


def test_columns_are_computed_once(made, monkeypatch):
  _, directory = made
  open_tfds(directory)
  monkeypatch.setattr(tfds_songs, "decode_song_record", None)
  monkeypatch.setattr(tfds_songs, "decode_windows_record", None)
  assert (directory / YUE_JAX / "index" / "record.npy").is_file()
  open_tfds(directory)


def test_tfds_reads_it_as_any_of_its_own(made):
  prepared, directory = made
  source = tfds.data_source(
    "song_records", data_dir=directory.parent.parent, split="songs"
  )
  dataset = open_dataset(prepared)
  assert source[0]["record"] == dataset.songs[0]
  assert len(source) == len(dataset.index["record"])


def test_a_data_set_without_windows(tmp_path):
  recipe = small_recipe(small_tokenizer(tmp_path / "t.model"), window=999)
  manifest = write_manifest(tmp_path, [write_song(tmp_path, "a", seed=1)])
  dataset = open_dataset(build_tfds(manifest, tmp_path / "d", recipe=recipe))
  assert (len(dataset.songs), len(dataset.windows)) == (1, 0)
  assert len(dataset.index["run_song"]) == 0
  with pytest.raises(IndexError, match="record 1 of 1"):
    dataset.songs[1]


def test_the_command_builds_a_prepared_data_set(made, tmp_path):
  """`tfds build` is this class; only what is around it wants TensorFlow."""
  prepared, _ = made
  code = f"""
import sys
import simple_parsing
from tensorflow_datasets.scripts.cli import build
flags = [
  "song_records", "--imports=yue_jax.data.tfds_songs",
  "--manual_dir={prepared}", "--data_dir={tmp_path}",
]
simple_parsing.parse(build.Args, args=flags).execute()
sys.exit("tensorflow" in sys.modules)
"""
  run = subprocess.run([sys.executable, "-c", code], capture_output=True)
  assert run.returncode == 0, run.stderr.decode()
  opened = open_dataset(tmp_path / "song_records" / "1.0.0")
  assert opened.songs[0] == open_dataset(prepared).songs[0]


def test_other_directories_are_refused(tmp_path):
  class Other(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      features = tfds.features.FeaturesDict({"a": np.int64})
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
      return {"train": self._generate_examples()}

    def _generate_examples(self):
      yield 0, {"a": 1}

  builder = Other(data_dir=tmp_path, file_format="array_record")
  builder.download_and_prepare()
  with pytest.raises(ValueError, match="is no TFDS directory of yue_jax"):
    open_dataset(builder.data_path)
  with pytest.raises(ValueError, match="expected array_record"):
    SongRecords(data_dir=tmp_path, file_format="tfrecord")


def test_tensorflow_is_not_imported(made):
  _, directory = made
  code = f"""
import sys
from yue_jax.data.dataset import open_dataset
assert "tensorflow_datasets" not in sys.modules
dataset = open_dataset({str(directory)!r})
dataset.songs[0]
assert "tensorflow_datasets" in sys.modules
sys.exit("tensorflow" in sys.modules)
"""
  subprocess.run([sys.executable, "-c", code], check=True)
