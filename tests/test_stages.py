"""What generation asks of the two checkpoints of a song."""

import dataclasses

import jax
import numpy as np
import pytest

from tests import tiny
from yue_jax import config
from yue_jax.checkpoint import Checkpointer, DataDescription
from yue_jax.optimizer import learning_rate, make_optimizer
from yue_jax.sampling import stages
from yue_jax.train.state import init_params, init_state
from yue_jax.weights import Weights

DATA = DataDescription(tokenizer="t", window=25)
WEIGHTS = Weights(tiny.MODEL, tiny.VOCAB, 0, {})


def trained(path, kind: str):
  """The run directory of a run on documents of that kind."""
  fields = tiny.run_dict()
  fields["phases"][0]["mixture"]["songs"]["kind"] = kind
  cfg = config.from_config_dict(fields)
  with jax.set_mesh(tiny.mesh(tiny.MESHES["one"])):
    tx = make_optimizer(cfg.optimizer, learning_rate(cfg.phases))
    state = jax.jit(lambda: init_state(init_params(cfg.model, 0), tx))()
  checkpointer = Checkpointer(path, cfg, data=DATA)
  checkpointer.save(state, 1)
  checkpointer.close()
  return path


@pytest.mark.parametrize(("kind", "stage"), [("cot", 1), ("window", 2)])
def test_a_checkpoint_of_the_other_stage_is_refused(tmp_path, kind, stage):
  mesh = tiny.mesh(tiny.MESHES["one"])
  path = trained(tmp_path / "run", kind)
  assert stages.load_stage(path, mesh, stage=stage).described.data == DATA
  with pytest.raises(ValueError, match=f"run was trained on .*{kind}"):
    stages.load_stage(path, mesh, stage=3 - stage)


def test_the_window_is_asked_for_or_known_or_as_released():
  known = dataclasses.replace(WEIGHTS, data=DATA)
  assert stages.window_of(known, None) == 25
  assert stages.window_of(known, 6) == 6
  assert stages.window_of(WEIGHTS, None) == 300


def test_a_stage_has_the_weights_of_its_checkpoint(tmp_path):
  mesh = tiny.mesh(tiny.MESHES["one"])
  stage = stages.load_stage(trained(tmp_path / "run", "cot"), mesh, stage=1)
  with jax.set_mesh(mesh):
    params = jax.jit(lambda: init_params(stage.decoder.cfg, 0))()
  np.testing.assert_array_equal(stage.decoder.embed, params["embed"])
  down = [block.mlp.down[...] for block in stage.decoder.blocks]
  np.testing.assert_array_equal(down, params["blocks"]["mlp"]["down"])
  assert not stage.described.params
