"""Where a run begins: restored, from given weights, or fresh."""

import jax
import optax

from yue_jax import checkpoint
from yue_jax.checkpoint import Checkpointer
from yue_jax.config import RunConfig
from yue_jax.train.state import (
  TrainState,
  abstract_state,
  init_params,
  init_state,
  resize_vocabulary,
)


def start(
  cfg: RunConfig,
  tx: optax.GradientTransformation,
  mesh: jax.sharding.Mesh,
  checkpointer: Checkpointer,
) -> tuple[TrainState, int]:
  """The state, and how many steps were taken; call inside the mesh."""

  def fresh():
    return init_state(init_params(cfg.model, cfg.seed), tx)

  if checkpointer.latest_step is not None:
    like = abstract_state(cfg.model, tx, mesh)
    return checkpointer.restore(like), checkpointer.latest_step
  if cfg.initial_weights:
    weights = checkpoint.load_weights(cfg.initial_weights, mesh)
    checkpoint.check_same_model(weights, cfg.model, cfg.vocab)
    rows = cfg.model.vocab_size

    def given(params):
      return init_state(resize_vocabulary(params, rows), tx)

    return jax.jit(given)(weights.params), 0
  return jax.jit(fresh)(), 0
