"""A data set opens as it was prepared, or says what is wrong with it."""

import json
import shutil

import numpy as np
import pytest

from tests.songs_on_disk import prepared
from yue_jax.data.dataset import expect_vocab, open_dataset
from yue_jax.data.layout import COLUMNS, FORMAT, REQUIRED, fingerprint
from yue_jax.vocab import Vocab


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  return prepared(tmp_path_factory.mktemp("whole"), 5)


@pytest.fixture
def directory(whole, tmp_path):
  """A copy that may be damaged."""
  return shutil.copytree(whole, tmp_path / "copy")


def edit_info(directory, **changes) -> None:
  path = directory / "dataset.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_whole_data_set(directory):
  dataset = open_dataset(str(directory))
  assert len(dataset.songs) == 5
  assert len(dataset.windows) == len(dataset.index["run_song"])
  assert dataset.section_offsets[-1] == len(dataset.index["section_text"])
  assert dataset.window == 10
  assert dataset.codebooks == 8
  expect_vocab(dataset, Vocab.from_json(dataset.info["vocab"]))


@pytest.mark.parametrize(
  "name",
  [
    "dataset.json",
    "index/record.npy",
    "index/section_chorus.npy",
    "songs-00000-of-00001.array_record",
    "windows-00000-of-00001.array_record",
  ],
)
def test_missing_file_is_named(directory, name):
  (directory / name).unlink()
  with pytest.raises(FileNotFoundError, match=f"{name} does not exist"):
    open_dataset(directory)


def test_no_data_set_at_all(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"make one with tools/prepare_"):
    open_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize("version", [FORMAT + 1, None, "1"])
def test_other_formats_are_refused(directory, version):
  edit_info(directory, format=version)
  with pytest.raises(
    ValueError, match=rf"has format {version!r}, this version"
  ):
    open_dataset(directory)


def test_damaged_index_is_named(directory):
  path = directory / "index" / "id_hash.npy"
  whole = path.read_bytes()
  for size in (0, 5, len(whole) - 1):
    path.write_bytes(whole[:size])
    with pytest.raises(ValueError, match=r"index/id_hash\.npy is damaged"):
      open_dataset(directory)
  np.save(path, np.zeros(5))
  with pytest.raises(ValueError, match=r"id_hash\.npy holds float64 of shape"):
    open_dataset(directory)
  np.save(path, np.array([{}]), allow_pickle=True)
  with pytest.raises(ValueError, match=r"Python objects in dtype"):
    open_dataset(directory)


def test_columns_are_mapped_not_read(directory):
  for name, column in open_dataset(directory).index.items():
    assert column.dtype == COLUMNS[name]
    assert isinstance(column.base, np.memmap)
    assert not column.flags.writeable


@pytest.mark.parametrize("what", ["songs", "windows"])
def test_part_of_a_shard_is_no_shard(directory, what):
  path = directory / f"{what}-00000-of-00001.array_record"
  size = path.stat().st_size
  path.write_bytes(path.read_bytes()[:-1])
  expected = rf"{path.name} has {size - 1} bytes, dataset.json says {size}; cop"
  with pytest.raises(ValueError, match=expected):
    open_dataset(directory)


def test_unreadable_record_is_named(tmp_path):
  directory = prepared(tmp_path, 5, songs_per_shard=3)
  path = directory / "songs-00001-of-00002.array_record"
  song = open_dataset(directory).songs[4]
  content = path.read_bytes()
  assert content.count(song) == 1
  path.write_bytes(content.replace(song, song[:-8] + bytes(8)))
  songs = open_dataset(directory).songs
  assert len([songs[number] for number in range(4)]) == 4
  with pytest.raises(ValueError, match=rf"^record 1 of {path} cannot be read"):
    songs[4]
  with pytest.raises(IndexError, match="record 5 of 5"):
    songs[5]


@pytest.mark.parametrize("name", REQUIRED[1:])
def test_incomplete_description_is_refused(directory, name):
  path = directory / "dataset.json"
  info = json.loads(path.read_text())
  del info[name]
  path.write_text(json.dumps(info))
  message = rf"dataset\.json is incomplete, it lacks \['{name}'\]; copy"
  with pytest.raises(ValueError, match=message):
    open_dataset(directory)


@pytest.mark.parametrize(
  "changes",
  [
    {"shards": {"songs": []}},
    {"shards": {"songs": [{"name": "a"}], "windows": []}},
    {"phrases": {}},
    {"phrases": []},
    {"vocab": {}},
  ],
)
def test_damaged_description_is_named(directory, changes):
  edit_info(directory, **changes)
  with pytest.raises(ValueError, match=r"dataset\.json is damaged"):
    open_dataset(directory)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_broken_json_is_named(directory, text):
  (directory / "dataset.json").write_text(text)
  with pytest.raises(ValueError, match=r"dataset\.json(:| is no JSON)"):
    open_dataset(directory)


def test_shards_of_another_data_set_are_noticed(directory, tmp_path):
  other = prepared(tmp_path, 4)
  shutil.rmtree(directory / "index")
  shutil.copytree(other / "index", directory / "index")
  with pytest.raises(ValueError, match=r"shape \(4,\), dataset.json says"):
    open_dataset(directory)


def test_vocabulary_of_another_model(directory):
  dataset = open_dataset(directory)
  with pytest.raises(ValueError, match="set `vocab` in the config") as caught:
    expect_vocab(dataset, Vocab())
  for side in (Vocab(), dataset.vocab):
    assert side.fingerprint() in str(caught.value)


def test_fingerprint_changes_with_what_documents_depend_on(whole):
  info = json.loads((whole / "dataset.json").read_text())
  assert fingerprint(info) == info["fingerprint"]
  assert fingerprint(info | {"hours": 0}) == info["fingerprint"]
  for name in ("vocab", "phrases", "window", "shards", "index", "content"):
    assert fingerprint(info | {name: None}) != info["fingerprint"]
