"""AdamW with a warm-up/stable/decay rate and decay chosen by path."""

import fnmatch

import jax
import jax.numpy as jnp
import optax

from yue_jax.config import OptimizerConfig

# First match wins; every parameter must match. Norm scales are not decayed.
_DECAYED = (
  ("*norm/scale", False),
  ("embed", True),
  ("unembed", True),
  ("blocks/attention/*", True),
  ("blocks/mlp/*", True),
)


def learning_rate(cfg: OptimizerConfig) -> optax.Schedule:
  """Rate of update number `count` (0 for the first).

  The first update already moves: with `warmup_steps=4` the rates are 1/4,
  2/4, 3/4 and 4/4 of the peak.
  """
  decay_start = cfg.warmup_steps + cfg.stable_steps

  def rate(count):
    warm = jnp.minimum(1.0, (count + 1) / max(cfg.warmup_steps, 1))
    into_decay = count - decay_start
    if cfg.decay_steps == 0:
      done = jnp.where(into_decay >= 0, 1.0, 0.0)
    else:
      done = jnp.clip(into_decay / cfg.decay_steps, 0.0, 1.0)
    fall = 0.5 * (1.0 + jnp.cos(jnp.pi * done))
    span = cfg.peak_rate - cfg.final_rate
    return warm * (cfg.final_rate + span * fall)

  return rate


def decay_mask(params):
  """Tree of booleans: which parameters are decayed.

  Raises:
    ValueError: a parameter's path matches no rule.
  """

  def decide(path, _):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    for pattern, decayed in _DECAYED:
      if fnmatch.fnmatchcase(name, pattern):
        return decayed
    raise ValueError(
      f"no weight-decay rule covers parameter {name!r}; add one to"
      " optimizer._DECAYED"
    )

  return jax.tree_util.tree_map_with_path(decide, params)


def make_optimizer(cfg: OptimizerConfig) -> optax.GradientTransformation:
  return optax.chain(
    optax.clip_by_global_norm(cfg.clip_norm),
    optax.scale_by_adam(b1=cfg.beta1, b2=cfg.beta2, eps=cfg.eps),
    optax.add_decayed_weights(cfg.weight_decay, mask=decay_mask),
    optax.scale_by_learning_rate(learning_rate(cfg)),
  )
