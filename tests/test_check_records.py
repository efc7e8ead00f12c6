"""Every flipped bit of a data set is found, and where it is is said."""

import importlib.util
import json
import pathlib
import random
import re
import shutil

import numpy as np
import pytest

from tests.songs_on_disk import prepared
from yue_jax.data import layout
from yue_jax.data.dataset import open_dataset
from yue_jax.data.preparing.check import check_dataset

PATH = pathlib.Path(__file__).parent.parent / "tools" / "check_records.py"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  root = tmp_path_factory.mktemp("whole")
  return prepared(root, 8, songs_per_shard=3, codes=64)


@pytest.fixture
def directory(whole, tmp_path):
  """A copy that may be damaged."""
  return shutil.copytree(whole, tmp_path / "copy")


@pytest.fixture(scope="module")
def tool():
  spec = importlib.util.spec_from_file_location("check_records", PATH)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize("content", ["songs", "music", "speech"])
def test_a_whole_data_set_has_no_faults(tmp_path, content):
  directory = prepared(tmp_path, 5, content=content, songs_per_shard=2)
  assert check_dataset(directory) == []


def flip(path: pathlib.Path, at: int, bit: int) -> None:
  content = bytearray(path.read_bytes())
  content[at] ^= 1 << bit
  path.write_bytes(content)


@pytest.mark.parametrize(
  "pattern",
  ["dataset.json", "rejected.jsonl", "index/*.npy", "songs-*", "windows-*"],
)
def test_any_flipped_bit_is_found(directory, pattern):
  rng = random.Random(0)
  for path in sorted(directory.glob(pattern)):
    size = path.stat().st_size
    for _ in range(4 if size else 0):
      at, bit = rng.randrange(size), rng.randrange(8)
      flip(path, at, bit)
      faults = check_dataset(directory)
      assert any(path.name in fault for fault in faults), (path, at, bit)
      flip(path, at, bit)
  assert check_dataset(directory) == []


def test_every_bit_of_the_description_counts(directory):
  path = directory / "dataset.json"
  size = path.stat().st_size
  for at in random.Random(1).sample(range(size), 200):
    flip(path, at, at % 8)
    assert "dataset.json" in check_dataset(directory)[0]
    flip(path, at, at % 8)


def test_a_damaged_record_is_named(directory):
  path = directory / "songs-00001-of-00003.array_record"
  song = open_dataset(directory).songs[4]
  content = path.read_bytes()
  path.write_bytes(content.replace(song, song[:-8] + bytes(8)))
  faults = check_dataset(directory)
  assert faults[0] == f"{path} is not as it was written: its SHA-256 differs"
  assert faults[1].startswith(f"record 1 of {path}: ")


def test_many_damaged_records_are_counted(tmp_path):
  directory = prepared(tmp_path, 9)
  path = directory / "songs-00000-of-00001.array_record"
  content = bytearray(path.read_bytes())
  for record in open_dataset(directory).songs:
    content[content.find(record) + 40] ^= 1
  path.write_bytes(content)
  faults = check_dataset(directory)
  assert len(faults) == 7
  assert faults[-1] == f"{path}: 4 more records are damaged"


@pytest.mark.parametrize("name", ["index/tags.npy", "rejected.jsonl"])
def test_a_missing_file_is_named(directory, name):
  (directory / name).unlink()
  [fault] = check_dataset(directory)
  assert f"{name} does not exist" in fault


def rewrite(directory, **columns) -> None:
  """Changes columns, and the description with them, as if so written."""
  info = json.loads((directory / "dataset.json").read_text())
  for name, values in columns.items():
    with layout.ColumnWriter(directory, name, len(values)) as writer:
      writer.append(np.array(values, layout.COLUMNS[name]))
      info["index"][name] = writer.finish()
  info["fingerprint"] = layout.fingerprint(info)
  info["checksum"] = layout.checksum(info)
  (directory / "dataset.json").write_bytes(layout.to_text(info))


@pytest.mark.parametrize(
  ("name", "at", "value", "message"),
  [
    ("frames", 4, 9, "frames is .*, the index says 9"),
    ("tags", 0, 99, "tags is .*, the index says 99"),
    ("tracks", 7, 3, "tracks is 7, the index says 3"),
    ("id_hash", 7, 3, "id_hash is"),
    ("section_text", 0, 99, "record 0 .* sections are not those"),
    ("section_chorus", 0, None, "record 0 .* sections are not those"),
    ("section_count", 0, 99, "every song has its sections"),
    ("group", 2, 5, "groups are those of the codes"),
    ("record", 3, 2, "song records rise"),
    ("record", 7, 8, "song records rise"),
    ("record", 7, -1, "songs are as many as dataset.json says"),
    ("run_record", 2, 0, "window records rise"),
    ("run_song", 0, 8, "runs are of rows that are there"),
    ("run_windows", 0, 7, "windows are as many as dataset.json says"),
    ("language", 0, 1, "languages have names"),
  ],
)
def test_the_index_is_that_of_the_records(directory, name, at, value, message):
  column = open_dataset(directory).index[name].copy()
  column[at] = not column[at] if value is None else value
  rewrite(directory, **{name: column})
  faults = "\n".join(check_dataset(directory))
  assert "SHA-256" not in faults
  assert re.search(message, faults), faults


def test_the_tool_says_so(tool, directory, capsys):
  tool.main([str(directory), "--workers=2"])
  out, err = capsys.readouterr()
  assert out == f"{directory}: whole\n"
  assert "checking" in err
  flip(directory / "index" / "head.npy", 130, 0)
  with pytest.raises(SystemExit, match="copy is damaged: 1 faults"):
    tool.main([str(directory), "--workers=1"])
  assert "index/head.npy is not as it was written" in capsys.readouterr().out
  with pytest.raises(SystemExit, match="nowhere is damaged"):
    tool.main([str(directory / "nowhere")])
  with pytest.raises(SystemExit):
    tool.main([str(directory), "--workers=0"])
