"""Where a run begins: restored, from given weights, or fresh."""

import dataclasses
from typing import NamedTuple

import jax
import optax

from yue_jax.checkpoint import Checkpointer
from yue_jax.config import RunConfig
from yue_jax.train.state import (
  TrainState,
  abstract_state,
  begin,
  freeze,
  initial_weights,
  resize_vocabulary,
)
from yue_jax.weights import (
  check_same_model,
  load_fingerprinted,
  load_weights,
)


class Base(NamedTuple):
  """Frozen weights, as a state has them, and the fingerprint of those given."""

  frozen: dict
  fingerprint: str


def load_base(cfg: RunConfig, mesh: jax.sharding.Mesh) -> Base:
  """The weights that a run freezes; empty for a run that trains them all."""
  if cfg.lora is None:
    return Base({}, "")
  weights, fingerprint = load_fingerprinted(cfg.initial_weights, mesh)
  check_same_model(weights, cfg.model, cfg.vocab)

  def frozen(params):
    return freeze(resize_vocabulary(params, cfg.model.vocab_size), cfg.model)

  with jax.set_mesh(mesh):
    return Base(jax.jit(frozen)(weights.params), fingerprint)


def start(
  cfg: RunConfig,
  tx: optax.GradientTransformation,
  mesh: jax.sharding.Mesh,
  checkpointer: Checkpointer,
  base: Base,
) -> tuple[TrainState, int]:
  """The state, and how many steps were taken; call inside the mesh."""

  def fresh():
    return begin(cfg, initial_weights(cfg), tx)

  if checkpointer.latest_step is not None:
    state = checkpointer.restore(abstract_state(cfg, tx, mesh))
    return dataclasses.replace(
      state, frozen=base.frozen
    ), checkpointer.latest_step
  if base.frozen:
    return jax.jit(lambda params: begin(cfg, params, tx))(base.frozen), 0
  if cfg.initial_weights:
    weights = load_weights(cfg.initial_weights, mesh)
    check_same_model(weights, cfg.model, cfg.vocab)

    def given(params):
      return begin(cfg, resize_vocabulary(params, cfg.model.vocab_size), tx)

    return jax.jit(given)(weights.params), 0
  return jax.jit(fresh)(), 0
