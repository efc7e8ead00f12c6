"""How far IsoFLOP parabolas are off, on tables of laws that are known.

A parabola is not the loss at one budget. Where u is log N minus that of the
best size, the loss of a law has third over second derivative beta - alpha (for
6 N D), so least squares over a grid of half-width w about u = s put the
minimum at, to first order in alpha - beta,

    (beta - alpha) (s^2 / 2 - w^2 / 10)

and even for equal exponents a wide grid that is off the centre is drawn by the
fourth derivative (arXiv 2603.22339). Grids alike at all budgets shift the best
size alike; grids that drift shift the exponent, and extrapolation multiplies
it. `noiseless` measures that without noise, `noisy` with it and beside the law
fitted to the same runs.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import itertools
from typing import Any

import numpy as np

from yue_jax.scaling import bootstrap, fitting, isoflop, refusals
from yue_jax.scaling.law import SIX_ND, Law
from yue_jax.scaling.planted import isoflops
from yue_jax.scaling.runs import Runs

LAWS = {
  "equal exponents": Law(E=1.8, A=480.0, B=1250.0, alpha=0.35, beta=0.35),
  "text": Law(E=1.8172, A=477.7, B=2143.0, alpha=0.3473, beta=0.3672),
  "data-hungry": Law(E=1.8, A=2000.0, B=240.0, alpha=0.45, beta=0.25),
  "size-hungry": Law(E=1.8, A=70.0, B=25000.0, alpha=0.25, beta=0.45),
}
LEAST = 1e18  # FLOPs of the smallest budget
BUDGETS, SIZES = 5, 7
WIDTHS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
CENTRES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
DRIFTS = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)
WIDTH = 16.0  # while something else is varied
FURTHER = 1000.0  # times the largest budget: what a sweep is asked about
NOISE = 5e-3  # of log loss
_DRAWS = 200


@dataclasses.dataclass(frozen=True)
class Grid:
  """Where the sizes of the budgets lie, as in `planted.isoflops`."""

  width: float = WIDTH
  centre: float = 1.0
  drift: float = 1.0


# Of `noisy`; sizes alike at all budgets drift by 16 against the best ones.
TRIED = (
  ("text", Grid()),
  ("text", Grid(width=4.0)),
  ("text", Grid(drift=1 / 16)),
  ("size-hungry", Grid()),
  ("size-hungry", Grid(centre=2.0)),
  ("data-hungry", Grid(width=64.0)),
)


def grids() -> Iterator[tuple[str, Grid]]:
  """What is varied, and the grid."""
  for name, values in (
    ("width", WIDTHS),
    ("centre", CENTRES),
    ("drift", DRIFTS),
  ):
    for value in values:
      yield name, dataclasses.replace(Grid(), **{name: value})


def noiseless() -> Iterator[dict[str, Any]]:
  """A row for every law and grid: errors on losses that are exact."""
  for (name, law), (varied, grid) in itertools.product(LAWS.items(), grids()):
    row = {"law": name, "varied": varied, **dataclasses.asdict(grid)}
    runs = _planted(law, grid)
    fitted = fitting.fit(runs, draws=1).law
    row["fit_exponent_error"] = exponent_of(fitted) - exponent_of(law)
    try:
      found = isoflop.fit(runs, draws=0)
    except refusals.Refusal as refusal:
      yield row | {"refused": type(refusal).__name__}
      continue
    largest = runs.flops.max()
    yield row | {
      "exponent": exponent_of(law),
      "exponent_error": found.exponent - exponent_of(law),
      "size_ratio": _ratio(law, found, largest),
      "first_order": first_order(law, grid),
      "further_size_ratio": _ratio(law, found, FURTHER * largest),
      "further_waste": waste(
        law, _size(found, FURTHER * largest), FURTHER * largest
      ),
    }


def noisy(law_name: str, grid: Grid, tables: int) -> dict[str, Any]:
  """A row: the law and parabolas, both fitted to tables with noise.

  Args:
    law_name: of `LAWS`.
    grid: of the sizes.
    tables: how many, with other noise each.
  """
  law = LAWS[law_name]
  drawn = [_planted(law, grid, NOISE, seed) for seed in range(tables)]
  row = {"law": law_name, **dataclasses.asdict(grid), "tables": tables}
  for method, fit in (("fit", _by_law), ("parabolas", _by_parabolas)):
    found = []
    for runs in drawn:
      with contextlib.suppress(refusals.Refusal):  # counted below
        found.append(fit(runs))
    row[method] = {"refused": tables - len(found)}
    if found:
      row[method] |= _summary(law, np.array(found), drawn[0].flops.max())
  return row


def exponent_of(law: Law) -> float:
  """Of the best size in the budget."""
  return law.beta / (law.alpha + law.beta)


def first_order(law: Law, grid: Grid) -> float:
  """Ratio of sizes as above, of a fine grid that does not drift."""
  half, off = np.log(grid.width) / 2, np.log(grid.centre)
  shift = (law.beta - law.alpha) * (off**2 / 2 - half**2 / 10)
  return float(np.exp(shift))


def waste(law: Law, parameters: float, flops: float) -> float:
  """Share of a budget that a wrong size throws away.

  The best size would reach the same loss with so much less.
  """
  reached = law.loss(parameters, flops / SIX_ND.per_token(parameters))
  budgets = np.geomspace(flops * 1e-4, flops, 4001)
  least = law.loss(*law.optimum(budgets, SIX_ND))  # falls with the budget
  enough = np.interp(-reached, -least, np.log(budgets / flops))
  return float(-np.expm1(enough))


def _planted(law: Law, grid: Grid, noise: float = 0.0, seed: int = 0) -> Runs:
  return isoflops(
    law,
    least=LEAST,
    budgets=BUDGETS,
    sizes=SIZES,
    noise=noise,
    seed=seed,
    **dataclasses.asdict(grid),
  )


def _size(found: isoflop.IsoFlop, flops: float) -> float:
  return float(found.sizes.at(np.array([flops])))


def _ratio(law: Law, found: isoflop.IsoFlop, flops: float) -> float:
  """Of the size that the parabolas recommend to the best one."""
  return _size(found, flops) / float(law.optimum(flops, SIX_ND)[0])


def _by_law(runs: Runs) -> list[float]:
  """Exponent of the best size, its interval, and the same of its log, far."""
  found = fitting.fit(runs, draws=_DRAWS)
  flops = FURTHER * runs.flops.max()
  numbers = []
  for of in (exponent_of, lambda law: np.log(law.optimum(flops, SIX_ND)[0])):
    numbers += [of(found.law), *bootstrap.interval(of(found.draws))]
  return numbers


def _by_parabolas(runs: Runs) -> list[float]:
  """The same as `_by_law`."""
  found = isoflop.fit(runs, draws=_DRAWS)
  flops = np.array([FURTHER * runs.flops.max()])
  sizes = np.log(found.draws.at(flops))
  return [
    found.exponent,
    *found.exponent_interval,
    np.log(found.sizes.at(flops)),
    *bootstrap.interval(sizes),
  ]


def _summary(law: Law, found: np.ndarray, largest: float) -> dict[str, Any]:
  """Of (tables, 6): errors, and how often intervals hold the truth."""
  far = law.optimum(FURTHER * largest, SIX_ND)[0]
  summary = {}
  for name, truth, (value, low, high) in (
    ("exponent", exponent_of(law), found[:, :3].T),
    ("log_further_size", np.log(far), found[:, 3:].T),
  ):
    summary[name] = {
      "bias": float(np.mean(value) - truth),
      "deviation": float(np.std(value)),
      "inside": float(np.mean((low <= truth) & (truth <= high))),
    }
  return summary
