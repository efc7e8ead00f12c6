"""The tool prepares a manifest, or says in one line what is wrong."""

import importlib.util
import json
import pathlib

import pytest

from tests.songs_on_disk import CODES, small_tokenizer, write_songs
from yue_jax.data.dataset import open_dataset
from yue_jax.vocab import Vocab

PATH = pathlib.Path(__file__).parent.parent / "tools" / "prepare_songs.py"


@pytest.fixture(scope="module")
def tool():
  spec = importlib.util.spec_from_file_location("prepare_songs", PATH)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture
def arguments(tmp_path):
  """Good arguments but for --out, by flag."""
  small_tokenizer(tmp_path / "tokenizer.model")
  return {
    "manifest": str(write_songs(tmp_path, 4)),
    "--tokenizer": str(tmp_path / "tokenizer.model"),
    "--out": str(tmp_path / "out"),
    "--window": "10",
    "--windows-per-record": "1",
    "--min-section-seconds": "0.1",
    "--workers": "1",
    "--small-vocab": None,
    "--codes": str(CODES),
  }


def run(tool, arguments) -> None:
  flags = {k: v for k, v in arguments.items() if k != "manifest"}
  words = [word for pair in flags.items() for word in pair if word is not None]
  tool.main([arguments["manifest"], *words])


def test_songs_of_a_small_world(tool, arguments, tmp_path, capsys):
  run(tool, arguments)
  dataset = open_dataset(tmp_path / "out")
  assert dataset.vocab == Vocab.small(276, codes=CODES, codebooks=8)
  assert dataset.info["window"] == 10
  assert dataset.info["windows_per_record"] == 1
  assert dataset.info["rules"]["min_section_seconds"] == 0.1
  out, err = capsys.readouterr()
  assert "4 of 4 songs" in out
  assert "rejected 0" in out
  assert "preparing: 4/4 songs" in err


def test_content_is_that_of_the_rows(tool, arguments, tmp_path):
  arguments["manifest"] = str(write_songs(tmp_path, 3, "speech"))
  run(tool, arguments | {"--content": "speech"})
  assert open_dataset(tmp_path / "out").info["content"] == "speech"


def test_the_work_can_be_divided(tool, arguments, tmp_path, capsys):
  arguments["--songs-per-shard"] = "1"
  for shard, done in (("1/2", 2), ("0/2", 4)):
    run(tool, arguments | {"--shard": shard})
    out = capsys.readouterr().out
    assert out == f"{tmp_path / 'out'}: {done} of 4 parts are there\n"
  run(tool, arguments)
  assert "4 of 4 songs" in capsys.readouterr().out
  assert len(open_dataset(tmp_path / "out").info["shards"]["songs"]) == 4


def test_manifests_may_be_anywhere(tool, arguments, tmp_path):
  (tmp_path / "lists").mkdir()
  manifest = pathlib.Path(arguments["manifest"])
  manifest.rename(tmp_path / "lists" / "a.jsonl")
  arguments["manifest"] = str(tmp_path / "lists" / "*.jsonl")
  run(tool, arguments | {"--root": str(tmp_path)})
  assert open_dataset(tmp_path / "out").info["songs"] == 4


def test_rejected_songs_are_counted(tool, arguments, tmp_path, capsys):
  manifest = pathlib.Path(arguments["manifest"])
  manifest.write_text(manifest.read_text() + '{"id": 5}\n')
  run(tool, arguments)
  assert "4 of 5 songs" in capsys.readouterr().out
  [line] = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
  assert json.loads(line)["line"] == 5


@pytest.mark.parametrize(
  ("flag", "value", "message"),
  [
    ("manifest", "no.jsonl", "no manifest no.jsonl"),
    ("--tokenizer", "no.model", "No such file or directory: 'no.model'"),
    ("--out", ".", ". exists already; remove it"),
    ("--window", "0", "window=0, expected 1 or more"),
    ("--workers", "0", "workers=0, expected 1 or more"),
    ("--codes", "3", "none of the 4 rows"),
    ("--codebooks", "3", "none of the 4 rows"),
    ("--shard-mib", "0", "shard_mib=0.0, expected more than 0"),
    ("--songs-per-shard", "0", "songs_per_shard=0, expected 1 or more"),
    ("--shard", "2/2", "shard 2/2, expected 0/n to 1/n"),
    ("--root", "nowhere", "no folder nowhere for --root"),
    ("--codes", "0", "--codes=0, expected 1 or more"),
    ("--codebooks", "0", "--codebooks=0, expected 1 or more"),
  ],
)
def test_one_clear_error(tool, arguments, flag, value, message):
  with pytest.raises(SystemExit, match=f"prepare_songs: .*{message}"):
    run(tool, arguments | {flag: value})


def test_a_small_vocabulary_must_be_asked_for(tool, arguments):
  del arguments["--small-vocab"]
  with pytest.raises(SystemExit, match="add --small-vocab"):
    run(tool, arguments)
  del arguments["--codes"]
  with pytest.raises(SystemExit, match="the tokenizer has 276 pieces"):
    run(tool, arguments)


@pytest.mark.parametrize("shard", ["1", "a/2", "1/", "-1/2"])
def test_a_shard_is_written_as_a_fraction(tool, arguments, shard, capsys):
  with pytest.raises(SystemExit):
    run(tool, arguments | {f"--shard={shard}": None})
  assert "expected i/n, as 0/4" in capsys.readouterr().err


def test_beam_divides_the_work_itself(tool, arguments):
  with pytest.raises(SystemExit, match="--shard or --beam, not both"):
    run(tool, arguments | {"--shard": "0/2", "--beam": None})
