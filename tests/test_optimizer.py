"""The schedule point by point, and who is decayed."""

import dataclasses

import jax
import numpy as np
import pytest

from tests import tiny
from yue_jax import config, optimizer
from yue_jax.phases import PhaseConfig, RateConfig, SourceConfig
from yue_jax.train.state import init_params


def phase(name="a", steps=8, **changes) -> PhaseConfig:
  """One token a step, so that tokens are steps."""
  rate = {"peak": 1.0, "final": 0.1, "warmup_tokens": 4, "decay_tokens": 2}
  return PhaseConfig(
    name=name,
    tokens=steps,
    context=1,
    samples=1,
    rate=RateConfig(**rate | changes),
    mixture={"songs": SourceConfig(data="", kind="cot", weight=1.0)},
  )


def rates(*phases, steps: int) -> list[float]:
  rate = optimizer.learning_rate(phases)
  return [float(rate(step)) for step in range(steps)]


def test_schedule_warms_up_stays_and_decays():
  expected = [0.25, 0.5, 0.75, 1, 1, 1, 1, 0.55, 0.1, 0.1]
  np.testing.assert_allclose(rates(phase(), steps=10), expected, rtol=1e-6)


def test_schedule_without_warmup_or_decay():
  flat = phase(warmup_tokens=0, decay_tokens=0)
  np.testing.assert_allclose(rates(flat, steps=9), np.ones(9), rtol=1e-6)


def test_every_phase_has_its_own_schedule():
  warm = phase("warm", 4, peak=2.0, decay_tokens=0)
  flat = phase("flat", 2, peak=2.0, warmup_tokens=0, decay_tokens=0)
  anneal = phase("anneal", 2, peak=2.0, warmup_tokens=0, decay_tokens=2)
  expected = [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 1.05, 0.1, 0.1]
  got = rates(warm, flat, anneal, steps=10)
  np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_phase_that_ends_early_keeps_its_schedule():
  early = dataclasses.replace(phase(), stop_after=6)
  flat = phase("b", 2, peak=7.0, warmup_tokens=0, decay_tokens=0)
  expected = [0.25, 0.5, 0.75, 1, 1, 1, 7, 7]
  np.testing.assert_allclose(rates(early, flat, steps=8), expected, rtol=1e-6)


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
    ("beta1", 0.0),
    ("beta2", 0.5),
    ("eps", 1.0),
    ("weight_decay", 0.0),
    ("clip_norm", 1e-3),
    ("peak", 0.5),
    ("final", 0.5),
    ("warmup_tokens", 1),
    ("decay_tokens", 4),
  ],
)
def test_every_number_reaches_the_updates(field, value):
  def walk(cfg, rate):
    tx = optimizer.make_optimizer(cfg, rate)
    params = {"embed": np.ones(3, np.float32)}
    state = tx.init(params)
    for scale in (1.0, 3.0, -2.0, 0.1, 5.0, 0.2, 1.0, 2.0):
      values = np.array([0.1, -0.2 * scale, 2.0 / scale], np.float32)
      grads = {"embed": values}
      updates, state = tx.update(grads, state, params)
      params = jax.tree.map(np.add, params, updates)
    return params["embed"]

  of_rate = field in RateConfig.__dataclass_fields__
  cfg = config.OptimizerConfig(**{} if of_rate else {field: value})
  changed = phase(**{field: value} if of_rate else {})
  plain = walk(config.OptimizerConfig(), optimizer.learning_rate([phase()]))
  other = walk(cfg, optimizer.learning_rate([changed]))
  assert np.abs(plain - other).max() > 1e-6
