"""Arrays by boxes: as Orbax writes them, and for Orbax to read."""

import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests import tiny
from yue_jax import checkpoint, checkpoint_arrays, checkpoint_chunks
from yue_jax.checkpoint_chunks import (
  ArrayWriter,
  boxes,
  open_arrays,
  whole,
)
from yue_jax.checkpoint_files import find_damage
from yue_jax.exchange.mean import MeanArray
from yue_jax.sharding import on_mesh
from yue_jax.train.state import init_params
from yue_jax.weights import Weights, load_weights, save_weights

# Makes some leaves of the tiny model lie in many chunks.
SMALL = 2**11


@pytest.fixture
def small_chunks(monkeypatch):
  for module in (checkpoint_arrays, checkpoint_chunks):
    monkeypatch.setattr(module, "CHUNK_BYTES", SMALL)


@pytest.fixture(scope="module")
def params() -> dict:
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda like: rng.standard_normal(like.shape, np.float32),
    abstract(tiny.mesh(tiny.MESHES["one"])),
  )


def abstract(mesh) -> dict:
  with jax.set_mesh(mesh):
    like = jax.eval_shape(lambda: init_params(tiny.MODEL, seed=0))
  return on_mesh(mesh, like)


def flat(tree: dict) -> dict:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in leaves
  }


def assert_same(one: dict, other: dict) -> None:
  jax.tree.map(np.testing.assert_array_equal, one, jax.device_get(other))


def save_by_orbax(item, tree) -> None:
  with ocp.Checkpointer(checkpoint_arrays.array_handler()) as checkpointer:
    checkpointer.save(item, args=checkpoint_arrays.save_args(tree))


def test_a_box_is_cut_where_chunks_meet():
  rows = [(box[0].start, box[0].stop) for box in boxes((slice(2, 7),), (4,))]
  assert rows == [(2, 4), (4, 7)]


def test_chunks_are_those_of_orbax(params, tmp_path, small_chunks):
  save_by_orbax(tmp_path / "orbax", params)
  written = save_weights(
    tmp_path / "ours", Weights(tiny.MODEL, tiny.VOCAB, 0, params)
  )
  theirs = open_arrays(tmp_path / "orbax")
  ours = open_arrays(written / "params")
  assert {n: a.chunk for n, a in ours.items()} == {
    n: a.chunk for n, a in theirs.items()
  }
  assert ours["embed"].chunk != ours["embed"].shape


def test_plain_orbax_and_any_mesh_read_what_was_written(
  params, tmp_path, small_chunks
):
  weights = Weights(tiny.MODEL, tiny.VOCAB, 4, params, kinds=("cot",))
  written = save_weights(tmp_path, weights)
  assert written == checkpoint.find_checkpoint(tmp_path)
  assert find_damage(written) == []
  assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints"]
  plain = ocp.PyTreeCheckpointer().restore(written / "params")
  assert_same(plain, params)
  for name in ("one", "replica2_fsdp2_tensor2"):
    read = load_weights(tmp_path, tiny.mesh(tiny.MESHES[name]))
    assert_same(read.params, params)
    assert (read.step, read.kinds) == (4, ("cot",))


def test_what_many_devices_have_written_is_read_in_boxes(params, tmp_path):
  like = abstract(tiny.mesh(tiny.MESHES["fsdp2_tensor2"]))
  sharded = jax.tree.map(
    lambda x, y: jax.device_put(x, y.sharding), params, like
  )
  save_by_orbax(tmp_path / "params", sharded)
  arrays = open_arrays(tmp_path / "params")
  assert arrays["embed"].chunk == (96, 16)  # vocabulary and width cut in two
  for name, leaf in flat(params).items():
    array = arrays[name]
    read = np.empty(array.shape, array.dtype)
    for box in boxes(whole(array.shape), (1, *array.shape[1:])):
      read[box] = array[box]
    np.testing.assert_array_equal(read, leaf)


def test_lost_chunks_are_an_error_and_not_zeros(tmp_path):
  array = np.ones((2, 8), np.float32)
  writer = ArrayWriter(tmp_path / "arrays", {"blocks/a": (2, 8)})
  first = (slice(0, 1), slice(0, 8))
  writer.write("blocks/a", first, array[:1])()
  array = open_arrays(tmp_path / "arrays")["blocks/a"]
  np.testing.assert_array_equal(array[first], np.ones((1, 8)))
  with pytest.raises(OSError, match=r"blocks.a/ cannot be read; restore"):
    array[whole(array.shape)]
  for path in (tmp_path / "arrays/d").iterdir():
    path.unlink()
  with pytest.raises(OSError, match="cannot be"):
    open_arrays(tmp_path / "arrays")["blocks/a"][first]


def test_a_later_writer_finds_what_was_written(tmp_path):
  shapes = {"blocks/a": (2, 8), "b": (4,)}
  layers = [(slice(n, n + 1), slice(0, 8)) for n in range(2)]
  writer = ArrayWriter(tmp_path / "arrays", shapes)
  zeros = np.zeros((1, 8), np.float32)  # written as any other
  writer.write("blocks/a", layers[1], zeros)()
  assert not writer.has("blocks/a", layers[0])
  again = ArrayWriter(tmp_path / "arrays", shapes)
  assert [again.has("blocks/a", box) for box in layers] == [False, True]
  assert not again.has("b", (slice(0, 4),))


def test_the_mean_is_rounded_once(params, tmp_path):
  rng = np.random.default_rng(0)
  arrays = []
  for number in range(3):
    tree = {"a": rng.standard_normal((4, 6)).astype(np.float32)}
    save_by_orbax(tmp_path / str(number), tree)
    arrays.append(open_arrays(tmp_path / str(number))["a"])
  box = (slice(1, 3), slice(0, 6))
  wide = [array[box].astype(np.float64) for array in arrays]
  expected = (sum(wide) / 3).astype(np.float32)
  np.testing.assert_array_equal(MeanArray(arrays)[box], expected)


def test_the_metadata_is_that_of_orbax(params, tmp_path):
  """Nothing but the shape of what a process wrote is left out."""
  save_by_orbax(tmp_path / "orbax", params)
  weights = Weights(tiny.MODEL, tiny.VOCAB, 0, params)
  written = save_weights(tmp_path / "ours", weights) / "params"
  one, other = (
    json.loads((item / "_METADATA").read_text())
    for item in (tmp_path / "orbax", written)
  )
  assert one == other
