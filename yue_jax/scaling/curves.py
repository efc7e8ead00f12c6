"""Parabolas in the logarithm of a setting, and powers through their minima.

Both are the usual tools for what has no law of its own: the best size at one
budget (Approach 2 of arXiv 2203.15556), the best learning rate of one size.
"""

import dataclasses
from typing import Self

import numpy as np

from yue_jax.scaling import bootstrap, refusals

MIN_SETTINGS = 4  # one more than a parabola has parameters
_MIN_DRAWN = 3  # settings in a bootstrap sample
_MIN_PROPER = 0.9  # of bootstrap samples, which have a minimum inside


@dataclasses.dataclass(frozen=True)
class Minimum:
  """The least loss over a setting, by a parabola.

  Attributes:
    setting: where the loss is least.
    loss: there.
    curvature: second derivative of the loss by the log of the setting.
    draws: (draws,) settings by bootstrap over runs; NaN where a sample has no
      minimum inside.
  """

  setting: float
  loss: float
  curvature: float
  draws: np.ndarray

  @property
  def interval(self) -> tuple[float, float]:
    return bootstrap.interval(self.draws[np.isfinite(self.draws)])


def minimum(
  settings: np.ndarray,
  loss: np.ndarray,
  *,
  of: str,
  draws: int,
  rng: np.random.Generator,
) -> Minimum:
  """Fits loss = quadratic of log setting by least squares.

  Args:
    settings: (runs,), positive; repeated where several seeds were run.
    loss: (runs,), nats per token.
    of: what is varied and where, for errors: "learning rate of 1e6 ...".
    draws: bootstrap samples; with 0 nothing is asked of them.
    rng: of the sampling.

  Raises:
    TooFewRuns: fewer than four different settings.
    WrongWayUp: the parabola has no minimum.
    NoInteriorMinimum: its minimum, or that of more than a tenth of bootstrap
      samples, lies outside the settings.
  """
  x = np.log(settings)
  different = len(np.unique(x))
  if different < MIN_SETTINGS:
    raise refusals.TooFewRuns(
      f"{of}: {different} different settings, expected at least"
      f" {MIN_SETTINGS} for a parabola"
    )
  [vertex], [curvature], [least] = vertices(x, loss, np.ones((1, len(x))))
  if not curvature > 0:
    raise refusals.WrongWayUp(
      f"{of}: the parabola has curvature {curvature:.3g}, expected a positive"
      " one; the noise exceeds the differences: vary more widely, or add seeds"
    )
  low, high = settings.min(), settings.max()
  if not x.min() < vertex < x.max():
    raise refusals.NoInteriorMinimum(
      f"{of}: the loss is least at {np.exp(vertex):.3g}, outside the settings"
      f" that were run, {low:.3g} to {high:.3g}; add some on that side"
    )
  counts = bootstrap.resample([(x, _MIN_DRAWN)], draws, rng)
  drawn, bends, _ = vertices(x, loss, counts)
  proper = (bends > 0) & (x.min() < drawn) & (drawn < x.max())
  if proper.sum() < _MIN_PROPER * draws:
    raise refusals.NoInteriorMinimum(
      f"{of}: {np.mean(~proper):.0%} of bootstrap samples have no minimum"
      f" between {low:.3g} and {high:.3g}, expected at most"
      f" {1 - _MIN_PROPER:.0%}; add settings or seeds"
    )
  return Minimum(
    float(np.exp(vertex)),
    float(least),
    float(curvature),
    np.exp(np.where(proper, drawn, np.nan)),
  )


def vertices(
  x: np.ndarray, loss: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, ...]:
  """Parabolas by least squares, for every sample of runs.

  Args:
    x: (runs,), of which every sample holds three different values.
    loss: (runs,).
    counts: (samples, runs), how often a sample holds a run.

  Returns:
    Where the slope is zero, second derivative, and loss there: (samples,).
  """
  centre, scale = x.mean(), np.ptp(x) / 2
  powers = ((x - centre) / scale) ** np.arange(5)[:, None]
  moments = counts @ powers.T  # (samples, 5)
  matrix = moments[:, np.add.outer(range(3), range(3))]
  right = counts @ (powers[:3] * loss).T
  c0, c1, c2 = np.linalg.solve(matrix, right[:, :, None])[:, :, 0].T
  with np.errstate(divide="ignore", invalid="ignore"):
    at = -c1 / (2 * c2)
    return centre + scale * at, 2 * c2 / scale**2, c0 + c1 * at / 2


@dataclasses.dataclass(frozen=True)
class PowerLaw:
  """value = coefficient * product of variable ** exponent.

  Attributes:
    coefficient: of one law, or (draws,).
    exponents: (variables,), or (draws, variables).
  """

  coefficient: float | np.ndarray
  exponents: np.ndarray

  @classmethod
  def through(cls, variables: np.ndarray, values: np.ndarray) -> Self:
    """By least squares of logs.

    Args:
      variables: (points, variables), positive; more points than unknowns.
      values: (points,) or (draws, points), positive.
    """
    logs = np.log(variables)
    centre = logs.mean(0)
    design = np.concatenate([np.ones((len(logs), 1)), logs - centre], axis=1)
    solution = np.log(values) @ np.linalg.pinv(design).T
    exponents = solution[..., 1:]
    return cls(np.exp(solution[..., 0] - exponents @ centre), exponents)

  def at(self, variables: np.ndarray) -> float | np.ndarray:
    """The value at one point, (variables,)."""
    return self.coefficient * np.exp(self.exponents @ np.log(variables))
