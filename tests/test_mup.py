"""Sizes that stay flat as the width grows, and a base that is the standard."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import tiny
from yue_jax import config, mup
from yue_jax.attention import attend
from yue_jax.optimizer import optimizer_of
from yue_jax.train.start import Base, start
from yue_jax.train.state import (
  decoder_of,
  init_state,
  initial_weights,
)
from yue_jax.train.step import make_train_step

BASE = {"base_width": 32, "base_mlp_width": 64, "head_width": 8}
WIDER = 4  # times the base model, in the coordinate check
RATE = {"peak": 1e-2}


def run_config(times=1, base=BASE, **changes) -> config.RunConfig:
  """A model so many times as wide as the base, at a rate that does not fall."""
  plain = tiny.run_dict(
    mup=base, phases=[tiny.phase_dict(rate=RATE)], **changes
  )
  plain["model"] |= {
    "width": 32 * times,
    "mlp_width": 64 * times,
    "heads": 4 * times,
    "init_std": 0.1,
  }
  return config.from_config_dict(plain)


@functools.cache
def weights_of(times: int) -> tuple[dict, dict]:
  """Initial weights, standard ones and scaled ones."""
  both = [run_config(times, base) for base in (None, BASE)]
  with jax.set_mesh(tiny.mesh(tiny.MESHES["one"])):
    return jax.jit(lambda: tuple(initial_weights(cfg) for cfg in both))()


@functools.partial(jax.jit, static_argnums=0)
def coordinates(cfg: config.ModelConfig, params: dict, batch: dict) -> dict:
  """What every layer adds to the residual stream, and the logits."""
  decoder = decoder_of(params, cfg)
  inputs, segments, positions = (
    batch[name][0] for name in ("inputs", "segments", "positions")
  )

  def mix(q, k, v):
    return attend(q, k, v, segments, backend="reference"), None

  def layer(x, block):
    attended, _ = block.attention(block.attention_norm(x), positions, mix)
    x += attended
    mlp = block.mlp(block.mlp_norm(x))
    return x + mlp, {"attention": attended, "mlp": mlp}

  embedded = decoder._embedded(inputs)
  x, added = jax.lax.scan(layer, embedded, decoder.blocks)
  logits = decoder._logits(decoder.norm(x))
  return added | {"embedded": embedded, "logits": logits}


@functools.cache
def trained(times: int, *, scaled: bool) -> tuple[dict, dict]:
  """Weights after four steps, and the size of what these changed, by place."""
  cfg = run_config(times, BASE if scaled else None)
  mesh = tiny.mesh(tiny.MESHES["one"])
  with jax.set_mesh(mesh):
    params = weights_of(times)[scaled]
    batch = tiny.on(mesh, tiny.host_batch())
    before = coordinates(cfg.model, params, batch)
    tx = optimizer_of(cfg)
    step = make_train_step(cfg.model, cfg.loss, tx)
    state = init_state(jax.tree.map(jnp.copy, params), tx)  # it is donated
    for _ in range(4):
      state, _ = step(state, batch)
    changes = jax.tree.map(
      lambda x, y: float(jnp.sqrt(jnp.mean((y - x) ** 2))),
      before,
      coordinates(cfg.model, state.params, batch),
    )
    return jax.device_get(state.params), changes


def test_the_base_model_trains_as_without_mup_bit_for_bit():
  jax.tree.map(
    np.testing.assert_array_equal,
    trained(1, scaled=True)[0],
    trained(1, scaled=False)[0],
  )


def test_updates_change_no_more_in_a_wide_model():
  """The coordinate check (Tensor Programs V, appendix D.1)."""
  _, base = trained(1, scaled=True)
  _, wide = trained(WIDER, scaled=True)
  for place in ("embedded", "attention", "mlp"):
    assert 0.8 < wide[place] / base[place] < 1.25, place
  # Falls at first: the random part of the unembedding goes as 1 / sqrt(width).
  assert 0.5 < wide["logits"] / base["logits"] < 1


def test_without_mup_updates_change_more_the_wider_the_model():
  _, base = trained(1, scaled=False)
  _, wide = trained(WIDER, scaled=False)
  assert 0.8 < wide["embedded"] / base["embedded"] < 1.25
  assert wide["attention"] / base["attention"] > WIDER
  assert wide["mlp"] / base["mlp"] > WIDER
  assert wide["logits"] / base["logits"] > 2


@pytest.mark.parametrize(
  ("name", "expected"),  # width is 4 times that of the base, mlp_width 16
  [
    ("embed", (1, 1)),
    ("norm/scale", (1, 1)),
    ("blocks/mlp_norm/scale", (1, 1)),
    ("blocks/attention/q", (1 / 2, 1 / 4)),
    ("blocks/attention/k", (1 / 2, 1 / 4)),
    ("blocks/attention/v", (1 / 2, 1 / 4)),
    ("blocks/attention/out", (1 / 2, 1 / 4)),
    ("blocks/mlp/gate", (1 / 2, 1 / 4)),
    ("blocks/mlp/up", (1 / 2, 1 / 4)),
    ("blocks/mlp/down", (1 / 4, 1 / 16)),
    ("unembed", (1 / 4, 1 / 4)),
  ],
)
def test_scales_are_those_of_table_3(name, expected):
  base = config.MupConfig(base_width=32, base_mlp_width=32, head_width=8)
  model = dataclasses.replace(tiny.MODEL, width=128, mlp_width=512, heads=16)
  assert mup.scales(name, model, base) == expected


def test_a_run_begins_with_scaled_weights():
  cfg, mesh = run_config(WIDER), tiny.mesh(tiny.MESHES["one"])
  new = types.SimpleNamespace(latest_step=None)
  with jax.set_mesh(mesh):
    state, _ = start(cfg, optax.identity(), mesh, new, Base({}, ""))
  standard, scaled = (
    {
      jax.tree_util.keystr(path, simple=True, separator="/"): weight
      for path, weight in jax.tree.leaves_with_path(tree)
    }
    for tree in (weights_of(WIDER)[0], state.params)
  )
  for name, weight in standard.items():
    factor = mup.scales(name, cfg.model, cfg.mup).weights
    np.testing.assert_array_equal(scaled[name], weight * factor, name)


def test_an_update_is_scaled_and_what_decays_is_not():
  """Adam's first update is the sign of the gradient."""
  cfg = run_config(WIDER, optimizer={"weight_decay": 0.5})
  params = {name: np.full(2, 3.0, np.float32) for name in ("embed", "unembed")}
  grads = jax.tree.map(np.negative, params)
  tx = optimizer_of(cfg)
  updates, _ = tx.update(grads, tx.init(params), params)
  for name, scale in (("embed", 1), ("unembed", 1 / WIDER)):
    expected = RATE["peak"] * (scale - 0.5 * params[name])
    np.testing.assert_allclose(updates[name], expected, rtol=1e-5)


def test_a_parameter_without_a_rule_is_an_error():
  cfg = run_config()
  with pytest.raises(ValueError, match="covers parameter 'blocks/bias'"):
    mup.scales("blocks/bias", cfg.model, cfg.mup)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"base_width": 36}, "base_width=36 is not divisible by head_width=8"),
    ({"base_mlp_width": 0}, "mup: base_mlp_width=0 must be positive"),
    ({"head_width": 16}, "mup.head_width=16, but .* 8; .* heads=2 here"),
  ],
)
def test_bases_that_do_not_fit_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    run_config(base=BASE | changes)


def test_adapters_are_refused():
  lora = {"rank": 2, "alpha": 2.0}
  with pytest.raises(ValueError, match="lora trains adapters"):
    run_config(lora=lora, initial_weights="somewhere")
