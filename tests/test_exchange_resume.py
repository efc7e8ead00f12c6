"""Exchange that is interrupted, damaged, padded or averaged."""

import contextlib
import dataclasses
import errno
import json
import os
import pathlib

import jax
import numpy as np
import pytest

from tests import tiny
from tests.test_exchange import (
  assert_same_params,
  export,
  imported,
  in_memory,
  random_weights,
  refuse,
  tool,
)
from yue_jax.checkpoint import DataDescription
from yue_jax.checkpoint_chunks import ArrayWriter
from yue_jax.exchange import blocks, checksums, folder, shards
from yue_jax.exchange.mean import mean_weights
from yue_jax.train.state import resize_vocabulary
from yue_jax.weights import open_weights, save_weights

SOURCE = "the weights of this test"


@pytest.fixture
def weights():
  return random_weights()


def files_of(directory) -> dict[str, bytes]:
  return {
    path.name: path.read_bytes()
    for path in directory.iterdir()
    if path.name != "README.md"  # names the folder
  }


def partials(tmp_path) -> list:
  return [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@contextlib.contextmanager
def interrupted(where, name: str, number: int, error):
  """The call with this number raises, and all after it; so must the body."""
  original, calls = getattr(where, name), []

  def call(*args, **kwargs):
    calls.append(args)
    if len(calls) >= number:
      raise error
    return original(*args, **kwargs)

  with pytest.MonkeyPatch.context() as patched:
    patched.setattr(where, name, call)
    with pytest.raises(type(error)):
      yield


ERRORS = {
  "interrupted": KeyboardInterrupt(),
  "disk full": OSError(errno.ENOSPC, "No space left on device"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_an_export_goes_on_with_finished_shards(weights, tmp_path, error):
  whole = export(tmp_path / "whole", weights)
  name = "model-00001-of-00003.safetensors"
  in_first = shards.open_file(whole / name)
  with interrupted(os, "pwrite", len(in_first) + 2, ERRORS[error]):
    export(tmp_path / "out", weights, source=SOURCE)
  assert not (tmp_path / "out").exists()
  [partial] = partials(tmp_path)
  assert set(checksums.read(partial)) == set(in_first)
  written = (partial / name).stat().st_mtime_ns
  with interrupted(os, "pwrite", 1, OverflowError()):
    # Other settings begin elsewhere.
    export(tmp_path / "out", weights, source=SOURCE, dtype="bfloat16")
  out = export(tmp_path / "out", weights, source=SOURCE)
  assert (out / name).stat().st_mtime_ns == written
  assert files_of(out) == files_of(whole)


def test_a_damaged_shard_of_an_earlier_attempt_is_written_again(
  weights, tmp_path
):
  whole = export(tmp_path / "whole", weights)
  with interrupted(shards, "write_index", 1, KeyboardInterrupt()):
    export(tmp_path / "out", weights, source=SOURCE)
  [partial] = partials(tmp_path)
  flip_last_byte(partial / "model-00002-of-00003.safetensors")
  (partial / "model-00003-of-00003.safetensors").write_bytes(b"")
  out = export(tmp_path / "out", weights, source=SOURCE)
  assert files_of(out) == files_of(whole)


def flip_last_byte(path) -> None:
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)


def test_an_import_goes_on_with_written_tensors(
  weights,
  tmp_path,
  monkeypatch,
):
  exported = export(tmp_path / "out", weights)
  run = tmp_path / "run"
  with interrupted(ArrayWriter, "write", 20, KeyboardInterrupt()):
    folder.import_folder(exported, run)
  assert not run.exists()
  boxes = []
  original = ArrayWriter.write

  def write(self, name, box, array):
    boxes.append((name, box))
    return original(self, name, box, array)

  monkeypatch.setattr(ArrayWriter, "write", write)
  folder.import_folder(exported, run)
  assert 0 < len(boxes) < 30 - 10  # of 30 tensors, each a chunk
  assert not partials(tmp_path)
  assert_same_params(in_memory(open_weights(run)).params, weights.params)


def test_a_changed_folder_is_imported_from_the_start(weights, tmp_path):
  exported = export(tmp_path / "out", weights)
  with interrupted(ArrayWriter, "write", 20, KeyboardInterrupt()):
    folder.import_folder(exported, tmp_path / "run")
  (exported / checksums.NAME).unlink()
  twice = jax.tree.map(lambda x: 2 * x, weights.params)
  other = dataclasses.replace(weights, params=twice)
  for path in export(tmp_path / "other", other).iterdir():
    path.rename(exported / path.name)
  folder.import_folder(exported, tmp_path / "run")
  run = in_memory(open_weights(tmp_path / "run"))
  assert_same_params(run.params, twice)


def test_a_flipped_bit_is_found(weights, tmp_path):
  exported = export(tmp_path / "out", weights)
  flip_last_byte(exported / "model-00002-of-00003.safetensors")
  refuse(exported, r"model-00002-of-00003.safetensors is damaged: .*SHA-256")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("{}", "no table 'sha256'"),
    ('{"sha256": {"lm_head.weight": 3}}', "no table 'sha256'"),
    ('{"sha256": {"a": "' + 64 * "0" + '"}}', r"checksums.json: missing .*"),
  ],
)
def test_broken_checksums_are_named(
  weights,
  tmp_path,
  content,
  message,
):
  exported = export(tmp_path / "out", weights)
  (exported / checksums.NAME).write_text(content)
  refuse(exported, message)


def lie(change):
  """Rewrites the header of a file, and leaves the rest."""

  def rewrite(content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    blob = json.dumps(header).encode()
    return len(blob).to_bytes(8, "little") + blob + content[8 + length :]

  return rewrite


def longer(header) -> None:
  header[[*header][-1]]["shape"][0] += 1


def beyond(header) -> None:
  header[[*header][-1]]["data_offsets"][1] += 2**40


def overlapping(header) -> None:
  *_, before, last = header
  header[last] = header[before]


@pytest.mark.parametrize(
  "change",
  [
    lie(longer),
    lie(beyond),
    lie(overlapping),
    lambda content: (2**62).to_bytes(8, "little") + content[8:],
    lambda content: content + b"more",
    lambda content: content[:5],
    lambda content: b"",
  ],
)
def test_a_file_that_lies_about_its_length_is_refused(
  weights,
  tmp_path,
  change,
):
  exported = export(tmp_path / "out", weights)
  path = exported / "model-00002-of-00003.safetensors"
  path.write_bytes(change(path.read_bytes()))
  refuse(exported, "not a whole safetensors file")


@pytest.mark.parametrize("rows", [190, 192, 200, 320])
def test_padding_rows_are_those_of_a_run(weights, tmp_path, rows):
  with jax.set_mesh(tiny.mesh(tiny.MESHES["one"])):
    resized = jax.jit(lambda p: resize_vocabulary(p, rows))(weights.params)
  exported = export(tmp_path / "out", weights, rows=rows)
  config = json.loads((exported / "config.json").read_text())
  assert config["vocab_size"] == rows
  assert_same_params(imported(exported).params, jax.device_get(resized))
  plain = export(tmp_path / "plain", weights)
  entered = imported(plain, rows=rows)
  assert entered.model.vocab_size == rows
  assert_same_params(entered.params, jax.device_get(resized))


def test_no_row_of_an_id_is_cut(weights, tmp_path):
  with pytest.raises(ValueError, match=r"189 rows .* it has 190 of them"):
    export(tmp_path / "out", weights, rows=189)
  exported = export(tmp_path / "out", weights)
  with pytest.raises(ValueError, match=r"189 rows .* it has 190 of them"):
    folder.import_folder(exported, tmp_path / "run", rows=189)


def test_tables_leave_in_blocks_of_whole_chunks(
  weights,
  tmp_path,
  monkeypatch,
):
  """Chunks of 96 rows and half a row, blocks of one chunk, padding added."""
  from yue_jax import checkpoint_chunks

  monkeypatch.setattr(checkpoint_chunks, "CHUNK_BYTES", 96 * 16 * 4)
  save_weights(tmp_path / "run", weights)
  opened = open_weights(tmp_path / "run")
  assert opened.params["embed"].chunk == (48, 32)
  monkeypatch.setattr(blocks, "_BLOCK_BYTES", 48 * 32 * 4)
  out = export(tmp_path / "out", opened, rows=200)
  expected = export(tmp_path / "expected", weights, rows=200)
  assert files_of(out) == files_of(expected)


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
def test_matrices_are_turned_slab_by_slab(monkeypatch, stored):
  """Slabs of one row and more, the last one short; there and back."""
  dtype = shards.DTYPES[stored]
  ours = np.random.default_rng(3).standard_normal((5, 2, 7)).astype(np.float32)
  ours = ours.astype(dtype).astype(np.float32)
  for slab in (1, 3 * 10 * dtype.itemsize):
    monkeypatch.setattr(blocks, "_SLAB_BYTES", slab)
    theirs = np.empty((7, 5, 2), dtype)
    blocks._turn(theirs, ours.transpose(2, 0, 1))
    np.testing.assert_array_equal(theirs, ours.transpose(2, 0, 1).astype(dtype))
    back = np.empty_like(ours)
    blocks._turn(back, theirs.transpose(1, 2, 0))
    np.testing.assert_array_equal(back, ours)


def test_the_mean_of_checkpoints_is_exported(
  weights,
  tmp_path,
  capsys,
):
  rng = np.random.default_rng(5)
  drawn = []
  for step in (10, 20, 30):
    params = jax.tree.map(
      lambda x: rng.standard_normal(x.shape, np.float32), weights.params
    )
    drawn.append(dataclasses.replace(weights, params=params, step=step))
    save_weights(tmp_path / "run", drawn[-1])
  steps = [str(tmp_path / f"run/checkpoints/{step}") for step in (10, 20, 30)]
  tool("export_hf")([*steps, str(tmp_path / "out")])
  assert "step 10, 20, 30" in capsys.readouterr().out
  card = (tmp_path / "out/README.md").read_text()
  assert "mean of the weights at training steps 10, 20, 30" in card
  expected = jax.tree.map(
    lambda *x: np.mean(np.float64(x), axis=0).astype(np.float32),
    *(each.params for each in drawn),
  )
  assert_same_params(imported(tmp_path / "out").params, expected)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"vocab": tiny.Vocab.small(39, codes=16, codebooks=8)}, "another model"),
    ({"data": DataDescription("other", 25)}, "no mean: .*'other'"),
    ({"kinds": ("window",)}, "no mean: .*'windows': True"),
    (
      {"model": dataclasses.replace(tiny.MODEL, vocab_size=190)},
      "no mean: .*190",
    ),
  ],
)
def test_different_weights_have_no_mean(weights, changes, message):
  one = dataclasses.replace(
    weights, data=DataDescription("t", 25), kinds=("cot",)
  )
  with pytest.raises(ValueError, match=message):
    mean_weights([dataclasses.replace(one, **changes), one])


def test_the_other_stage_is_refused(weights, tmp_path):
  known = dataclasses.replace(weights, kinds=("cot", "icl"))
  save_weights(tmp_path / "run", known)
  run, out = str(tmp_path / "run"), str(tmp_path / "out")
  with pytest.raises(SystemExit, match="of stage 1; expected weights of stage"):
    tool("export_hf")([run, out, "--stage", "2"])
  tool("export_hf")([run, out, "--stage", "1"])
  with pytest.raises(SystemExit, match=r"'cot', 'icl'.*expected .* stage 2"):
    tool("import_hf")([out, str(tmp_path / "back"), "--stage", "2"])
  assert not (tmp_path / "back").exists()
  tool("import_hf")([out, str(tmp_path / "back"), "--stage", "1"])
  assert open_weights(tmp_path / "back").kinds == ("cot", "icl")
  unknown = export(tmp_path / "unknown", weights)  # is believed
  folder.import_folder(unknown, tmp_path / "run2", stage=2)


def test_a_damaged_checkpoint_is_not_exported(weights, tmp_path):
  step = save_weights(tmp_path / "run", weights)
  files = pathlib.Path(step).rglob("*")
  largest = max(files, key=lambda path: path.stat().st_size)
  largest.write_bytes(largest.read_bytes()[:-1])
  with pytest.raises(SystemExit, match=r"export_hf: .*is damaged"):
    tool("export_hf")([str(step), str(tmp_path / "out")])
  (step / "files.json").unlink()  # of an older version, which had none
  largest.write_bytes(b"")
  with pytest.raises(SystemExit, match=r"export_hf: .*cannot be"):
    tool("export_hf")([str(step), str(tmp_path / "out")])
  assert not (tmp_path / "out").exists()
