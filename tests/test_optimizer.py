"""The schedule point by point, and who is decayed."""

import jax
import numpy as np
import pytest

from tests import tiny
from yue_jax import config, optimizer
from yue_jax.train.state import init_params


def make(**changes) -> config.OptimizerConfig:
  return config.OptimizerConfig(
    **{
      "peak_rate": 1.0,
      "final_rate": 0.1,
      "warmup_steps": 4,
      "stable_steps": 2,
      "decay_steps": 2,
      **changes,
    }
  )


def test_schedule_warms_up_stays_and_decays():
  rate = optimizer.learning_rate(make())
  got = [float(rate(step)) for step in range(10)]
  expected = [0.25, 0.5, 0.75, 1, 1, 1, 1, 0.55, 0.1, 0.1]
  np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_schedule_without_warmup_or_decay():
  rate = optimizer.learning_rate(make(warmup_steps=0, decay_steps=0))
  got = [float(rate(step)) for step in range(4)]
  np.testing.assert_allclose(got, [1, 1, 0.1, 0.1], rtol=1e-6)


def test_norms_alone_escape_weight_decay():
  with jax.set_mesh(tiny.mesh(tiny.MESHES["one"])):
    params = jax.eval_shape(lambda: init_params(tiny.MODEL, 0))
  mask = optimizer.decay_mask(params)
  free = [
    jax.tree_util.keystr(path, simple=True, separator="/")
    for path, decayed in jax.tree.leaves_with_path(mask)
    if not decayed
  ]
  assert sorted(free) == [
    "blocks/attention_norm/scale",
    "blocks/mlp_norm/scale",
    "norm/scale",
  ]


def test_a_parameter_without_a_rule_is_an_error():
  with pytest.raises(ValueError, match="covers parameter 'blocks/bias'"):
    optimizer.decay_mask({"blocks": {"bias": np.zeros(3)}})


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("peak_rate", 0.5),
    ("warmup_steps", 1),
    ("beta1", 0.0),
    ("beta2", 0.5),
    ("eps", 1.0),
    ("weight_decay", 0.0),
    ("clip_norm", 1e-3),
    ("stable_steps", 0),
    ("decay_steps", 5),
    ("final_rate", 0.5),
  ],
)
def test_every_number_reaches_the_updates(field, value):
  def walk(cfg):
    tx = optimizer.make_optimizer(cfg)
    params = {"embed": np.ones(3, np.float32)}
    state = tx.init(params)
    for scale in (1.0, 3.0, -2.0, 0.1, 5.0, 0.2, 1.0, 2.0):
      values = np.array([0.1, -0.2 * scale, 2.0 / scale], np.float32)
      grads = {"embed": values}
      updates, state = tx.update(grads, state, params)
      params = jax.tree.map(np.add, params, updates)
    return params["embed"]

  assert np.abs(walk(make()) - walk(make(**{field: value}))).max() > 1e-6
