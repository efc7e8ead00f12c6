"""Checkpoints come back bit for bit, on any mesh, or not at all."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tests import tiny
from yue_jax import checkpoint, config, sharding
from yue_jax.optimizer import learning_rate, make_optimizer
from yue_jax.train.state import TrainState, init_params, init_state
from yue_jax.weights import check_same_model, load_weights, save_weights

DATA = checkpoint.DataDescription(
  tokenizer="t", window=25, phases=({"songs": "a"},)
)


def config_of(**changes) -> config.RunConfig:
  return config.from_config_dict(tiny.run_dict(**changes))


def make_state(cfg, mesh, seed=0) -> TrainState:
  tx = make_optimizer(cfg.optimizer, learning_rate(cfg.phases))
  with jax.set_mesh(mesh):
    return jax.jit(lambda: init_state(init_params(cfg.model, seed), tx))()


def abstract(cfg, mesh) -> TrainState:
  tx = make_optimizer(cfg.optimizer, learning_rate(cfg.phases))
  with jax.set_mesh(mesh):
    state = jax.eval_shape(lambda: init_state(init_params(cfg.model, 0), tx))
    return sharding.on_mesh(mesh, state)


def save(path, cfg, mesh, step=5) -> TrainState:
  state = make_state(cfg, mesh, seed=3)
  saver = checkpoint.Checkpointer(path, cfg, data=DATA)
  with jax.set_mesh(mesh):
    saver.save(state, step)
  saver.close()
  return state


def assert_same(a, b) -> None:
  jax.tree.map(
    np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b)
  )


@pytest.mark.parametrize("name", ["one", "fsdp2_tensor2"])
def test_state_comes_back_on_another_mesh(tmp_path, name):
  cfg = config_of()
  state = save(tmp_path, cfg, tiny.mesh(tiny.MESHES["fsdp4"]))
  mesh = tiny.mesh(tiny.MESHES[name])
  saver = checkpoint.Checkpointer(tmp_path, cfg, data=DATA)
  with jax.set_mesh(mesh):
    restored = saver.restore(abstract(cfg, mesh))
  assert saver.latest_step == 5
  assert_same(restored, state)
  assert restored.params["embed"].sharding.mesh.shape == mesh.shape


def test_weights_alone_can_be_read_and_written(tmp_path):
  cfg = config_of()
  mesh = tiny.mesh(tiny.MESHES["one"])
  state = save(tmp_path / "run", cfg, mesh)
  weights = load_weights(tmp_path / "run", mesh)
  assert (weights.step, weights.data) == (5, DATA)
  assert (weights.model, weights.vocab) == (cfg.model, cfg.vocab)
  assert_same(weights.params, state.params)
  written = save_weights(tmp_path / "copy", weights)
  assert_same(load_weights(written, mesh).params, state.params)


def test_weights_for_generation_are_those_of_activations(tmp_path):
  cfg = config_of(model=tiny.run_dict()["model"] | {"dtype": "bfloat16"})
  mesh = tiny.mesh(tiny.MESHES["fsdp2_tensor2"])
  state = save(tmp_path, cfg, mesh)
  params = load_weights(tmp_path, mesh, dtype=None).params
  cast = jax.tree.map(lambda w: w.astype("bfloat16"), state.params)
  assert_same(params, cast)
  assert {w.dtype.name for w in jax.tree.leaves(params)} == {"bfloat16"}
  embed = state.params["embed"]
  assert params["embed"].sharding == embed.sharding


def test_chunks_are_cut_along_layers(tmp_path):
  """A reader of one layer must not have to read its neighbours."""
  cfg = config_of()
  save(tmp_path, cfg, tiny.mesh(tiny.MESHES["one"]))
  metadata = json.loads(
    (tmp_path / "checkpoints/5/params/_METADATA").read_text()
  )
  assert metadata["use_zarr3"]
  import tensorstore as ts

  array = ts.open(
    {
      "driver": "zarr3",
      "kvstore": {
        "driver": "ocdbt",
        "base": f"file://{tmp_path}/checkpoints/5/params/",
        "path": "blocks.attention.q/",
      },
    },
    open=True,
  ).result()
  layers = cfg.model.layers
  assert array.shape[0] == layers
  read_chunk = array.chunk_layout.read_chunk.shape
  assert read_chunk[0] == 1
  assert np.prod(read_chunk) * 4 <= 32 * 2**20


def test_no_checkpoint_is_an_error(tmp_path):
  mesh = tiny.mesh(tiny.MESHES["one"])
  with pytest.raises(FileNotFoundError, match="no finished checkpoint"):
    load_weights(tmp_path, mesh)


def test_weights_of_another_shape_are_refused(tmp_path):
  cfg = config_of()
  mesh = tiny.mesh(tiny.MESHES["one"])
  save(tmp_path, cfg, mesh)
  weights = load_weights(tmp_path, mesh)
  wider = dataclasses.replace(cfg.model, mlp_width=128)
  with pytest.raises(ValueError, match="mlp_width: weights 64, config 128"):
    check_same_model(weights, wider, cfg.vocab)
  other_use = dataclasses.replace(
    cfg.model,
    dtype="bfloat16",
    remat="full",
    init_std=1.0,
    max_positions=99,
    vocab_size=256,
  )
  check_same_model(weights, other_use, cfg.vocab)


def test_changed_data_may_not_continue_a_run(tmp_path):
  cfg = config_of()
  mesh = tiny.mesh(tiny.MESHES["one"])
  save(tmp_path, cfg, mesh)
  other_data = dataclasses.replace(DATA, phases=({"songs": "b"},))
  other = checkpoint.Checkpointer(tmp_path, cfg, data=other_data)
  with pytest.raises(ValueError, match="songs: saved 'a', given 'b'"):
    other.restore(abstract(cfg, mesh))


def test_weights_alone_are_no_run_to_continue(tmp_path):
  cfg = config_of()
  mesh = tiny.mesh(tiny.MESHES["one"])
  save(tmp_path / "run", cfg, mesh)
  weights = load_weights(tmp_path / "run", mesh)
  save_weights(tmp_path / "imported", weights)
  saver = checkpoint.Checkpointer(tmp_path / "imported", cfg, data=DATA)
  with pytest.raises(ValueError, match="name it in initial_weights"):
    saver.restore(abstract(cfg, mesh))
