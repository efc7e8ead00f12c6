"""How the best learning rate, or batch, goes with size and tokens.

In every cell, the runs of one size and one number of tokens, the loss is a
parabola in the log of the setting near its minimum; the minima of the cells
lie on a power of size and tokens (arXiv 2401.02954, section 3; 2503.04715).
"""

from collections.abc import Mapping
import dataclasses

import numpy as np

from yue_jax.scaling import bootstrap, curves, refusals
from yue_jax.scaling.curves import Minimum, PowerLaw

NEIGHBOURS = 2  # settings on either side of the best one, in a parabola
MORE_CELLS = 2  # than exponents
Cell = tuple[float, float]  # size and tokens


@dataclasses.dataclass(frozen=True)
class Tuned:
  """What `fit` found.

  Attributes:
    setting: its name.
    variables: on which the best setting depends, "parameters", "tokens" or
      both: those that differ among cells.
    minima: by (N, D).
    law: the best setting as a power of the variables.
    draws: the same, of bootstrap samples of the runs of every cell.
  """

  setting: str
  variables: tuple[str, ...]
  minima: dict[Cell, Minimum]
  law: PowerLaw
  draws: PowerLaw

  def recommend(
    self, parameters: float, tokens: float, *, furthest: float
  ) -> tuple[float, tuple[float, float]]:
    """The best setting and its interval.

    Raises:
      Extrapolation: N or D is more than `furthest` times the largest.
    """
    at = []
    for name, value, column in zip(
      ("parameters", "tokens"),
      (parameters, tokens),
      np.array(list(self.minima)).T,
      strict=True,
    ):
      if name in self.variables:
        refusals.check_reach(value, column.max(), furthest, name)
        at.append(value)
    found = self.law.at(np.array(at))
    return float(found), bootstrap.interval(self.draws.at(np.array(at)))


def fit(
  cells: Mapping[Cell, tuple[np.ndarray, np.ndarray]],
  setting: str,
  *,
  draws: int = bootstrap.DRAWS,
  seed: int = 0,
) -> Tuned:
  """The best setting of every cell, and a power of size and tokens.

  Args:
    cells: by (N, D): settings (runs,) and losses (runs,).
    setting: its name, for errors.
    draws: bootstrap samples.
    seed: of the sampling.

  Raises:
    TooFewRuns: fewer cells than the power needs, or settings in a cell.
    NoInteriorMinimum: the best setting of a cell is the largest or smallest
      that was run, or the parabola's minimum is outside.
    WrongWayUp: the parabola of a cell has no minimum.
  """
  points = np.array(list(cells), float).reshape(-1, 2)
  differ = np.ptp(np.log(points), axis=0) > 0.1
  variables = tuple(np.array(["parameters", "tokens"])[differ])
  least = max(1, len(variables)) + MORE_CELLS
  if not variables or len(cells) < least:
    raise refusals.TooFewRuns(
      f"{len(cells)} pairs of size and tokens at which {setting} was varied,"
      f" expected at least {least} that differ in one or both"
    )
  rng = np.random.default_rng(seed)
  minima = {
    cell: _minimum(cell, *columns, setting, draws, rng)
    for cell, columns in cells.items()
  }
  chosen = points[:, differ]
  drawn = np.stack([m.draws for m in minima.values()], axis=1)
  return Tuned(
    setting,
    variables,
    minima,
    PowerLaw.through(chosen, np.array([m.setting for m in minima.values()])),
    PowerLaw.through(chosen, drawn[np.isfinite(drawn).all(1)]),
  )


def _minimum(
  cell: Cell,
  settings: np.ndarray,
  loss: np.ndarray,
  setting: str,
  draws: int,
  rng: np.random.Generator,
) -> Minimum:
  """Of the settings near the best: far from it the loss is no parabola."""
  of = f"{setting} of {cell[0]:.3g} parameters on {cell[1]:.3g} tokens"
  tried = np.unique(settings)
  means = [loss[settings == value].mean() for value in tried]
  best = int(np.argmin(means))
  if best in (0, len(tried) - 1):
    raise refusals.NoInteriorMinimum(
      f"{of}: the best of those tried is {tried[best]:.3g}, at the end of"
      f" {tried[0]:.3g} to {tried[-1]:.3g}; try some beyond it"
    )
  near = tried[max(0, best - NEIGHBOURS) : best + NEIGHBOURS + 1]
  inside = np.isin(settings, near)
  return curves.minimum(
    settings[inside], loss[inside], of=of, draws=draws, rng=rng
  )
