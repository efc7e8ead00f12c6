"""Beam writes what one machine writes, and continues what that has begun.

Runs where Apache Beam is installed, which wants an environment of its own:

  python -m venv /some/where && /some/where/bin/pip install '.[beam]' pytest
  /some/where/bin/python -m pytest tests/test_beam.py
"""

import importlib.util
import pathlib

import pytest

from tests.songs_on_disk import (
  CODES,
  small_recipe,
  small_tokenizer,
  write_songs,
)
from yue_jax.data.preparing.prepare import prepare, prepare_shard

pytest.importorskip(
  "apache_beam",
  reason="Apache Beam is not installed; see the docstring of this file",
)

from yue_jax.data.preparing import beam

TOOL = pathlib.Path(__file__).parent.parent / "tools" / "prepare_songs.py"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  root = tmp_path_factory.mktemp("source")
  tokenizer = small_tokenizer(root / "tokenizer.model")
  manifest = write_songs(root, 10)
  with manifest.open("a") as file:
    file.write("{\n" + manifest.read_text().splitlines()[2] + "\n")
  return manifest, small_recipe(tokenizer)


@pytest.fixture(scope="module")
def whole(source):
  manifest, recipe = source
  out = manifest.parent / "whole"
  prepare(manifest, out, recipe=recipe, songs_per_shard=3)
  return contents(out)


def contents(directory) -> dict[str, bytes]:
  files = (path for path in directory.rglob("*") if path.is_file())
  return {str(p.relative_to(directory)): p.read_bytes() for p in files}


@pytest.mark.parametrize(
  "flags",
  [
    [],
    ["--runner=BundleBasedDirectRunner"],
    [
      "--runner=DirectRunner",
      "--direct_running_mode=multi_processing",
      "--direct_num_workers=2",
    ],
  ],
)
def test_beam_writes_the_same(source, whole, tmp_path, flags):
  manifest, recipe = source
  out = tmp_path / "out"
  info = beam.prepare_on_beam(
    manifest, out, recipe=recipe, songs_per_shard=3, flags=flags
  )
  assert info["rejected"] == {"bad_json": 1, "duplicate_id": 1}
  assert contents(out) == whole
  assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_beam_continues(source, whole, tmp_path):
  manifest, recipe = source
  out = tmp_path / "out"
  options = {"recipe": recipe, "songs_per_shard": 3}
  prepare_shard(manifest, out, shard=(1, 3), **options)
  beam.prepare_on_beam(manifest, out, **options)
  assert contents(out) == whole


def test_the_tool_passes_flags_on(source, whole, tmp_path, capsys):
  manifest, recipe = source
  spec = importlib.util.spec_from_file_location("prepare_songs", TOOL)
  tool = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(tool)
  tool.main(
    [
      str(manifest), f"--out={tmp_path / 'out'}", "--small-vocab",
      f"--tokenizer={recipe.tokenizer.path}", f"--codes={CODES}",
      "--window=10", "--windows-per-record=2", "--min-section-seconds=0.1",
      "--songs-per-shard=3", "--beam", "--runner=DirectRunner",
    ]
  )  # fmt: skip
  assert "10 of 12 songs" in capsys.readouterr().out
  assert contents(tmp_path / "out") == whole
