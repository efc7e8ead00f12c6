"""AdamW, its rate through the phases, and decay chosen by path."""

from collections.abc import Callable, Sequence
import fnmatch

import jax
import jax.numpy as jnp
import optax

from yue_jax import mup
from yue_jax.config import OptimizerConfig, RunConfig
from yue_jax.phases import PhaseConfig, first_steps

# First match wins; every parameter must match. Norm scales are not decayed.
_DECAYED = (
  ("*norm/scale", False),
  ("embed", True),
  ("unembed", True),
  ("blocks/attention/*", True),
  ("blocks/mlp/*", True),
)


def learning_rate(phases: Sequence[PhaseConfig]) -> optax.Schedule:
  """Rate of update number `count` (0 for the first), through all phases.

  The first update already moves: with four steps of warm-up the rates are
  1/4, 2/4, 3/4 and 4/4 of the peak. Beyond the last phase its last rate stays.
  """
  starts = first_steps(phases)[:-1]

  def rate(count):
    value = _phase_rate(phases[0], count)
    for phase, start in zip(phases[1:], starts[1:], strict=True):
      later = _phase_rate(phase, count - start)
      value = jnp.where(count < start, value, later)
    return value

  return rate


def _phase_rate(phase: PhaseConfig, step):
  """Rate at a step of one phase."""
  peak, final = phase.rate.peak, phase.rate.final
  warm = jnp.minimum(1.0, (step + 1) / max(phase.warmup_steps, 1))
  if not phase.decay_steps:
    return warm * peak
  into_decay = step - (phase.planned_steps - phase.decay_steps)
  done = jnp.clip(into_decay / phase.decay_steps, 0.0, 1.0)
  return warm * (final + (peak - final) * 0.5 * (1.0 + jnp.cos(jnp.pi * done)))


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


def optimizer_of(cfg: RunConfig) -> optax.GradientTransformation:
  """The optimiser of a run."""

  def scale(name):
    return mup.scales(name, cfg.model, cfg.mup).updates

  return make_optimizer(
    cfg.optimizer, learning_rate(cfg.phases), scale if cfg.mup else None
  )


def make_optimizer(
  cfg: OptimizerConfig,
  rate: optax.Schedule,
  scale: Callable[[str], float] | None = None,
) -> optax.GradientTransformation:
  """AdamW.

  Args:
    cfg: all but the rate.
    rate: by number of updates.
    scale: of Adam's part of the updates, by the path of a parameter; None
      for 1. What decays is rate * weight_decay of a weight, whatever it is.
  """
  adam = optax.scale_by_adam(b1=cfg.beta1, b2=cfg.beta2, eps=cfg.eps)
  if scale is not None:
    adam = _scaled(scale, adam)
  return optax.chain(
    optax.clip_by_global_norm(cfg.clip_norm),
    _stored_as(cfg.moment_dtype, adam),
    optax.add_decayed_weights(cfg.weight_decay, mask=decay_mask),
    optax.scale_by_learning_rate(rate),
  )


def _scaled(
  scale: Callable[[str], float], inner: optax.GradientTransformation
) -> optax.GradientTransformation:
  """`inner` with its updates times a number by path; its state is the same."""

  def update(updates, state, params=None):
    updates, state = inner.update(updates, state, params)
    return mup.times(updates, scale), state

  return optax.GradientTransformation(inner.init, update)


def _stored_as(
  dtype: str, inner: optax.GradientTransformation
) -> optax.GradientTransformation:
  """`inner` with floats of its state in `dtype` between updates.

  Updates are computed in float32. A second moment in bfloat16 moves as long
  as one update changes it by more than 1/256, which beta2 = 0.95 does.
  """

  def cast(tree, to):
    return jax.tree.map(
      lambda x: x.astype(to) if jnp.issubdtype(x.dtype, jnp.floating) else x,
      tree,
    )

  def init(params):
    return cast(inner.init(params), dtype)

  def update(updates, state, params=None):
    updates, state = inner.update(updates, cast(state, jnp.float32), params)
    return updates, cast(state, dtype)

  return optax.GradientTransformation(init, update)
