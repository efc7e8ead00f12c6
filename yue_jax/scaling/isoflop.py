"""The best size of every budget by parabolas, and a power through them.

Approach 2 of Hoffmann et al. 2022 (arXiv 2203.15556, section 3.2), for the
picture: what it recommends is biased by the width of the grid of sizes, by a
grid that is off the centre, and by unequal exponents (arXiv 2603.22339;
docs/isoflop.md measures it). `fitting` has none of this.
"""

import dataclasses

import numpy as np

from yue_jax.scaling import bootstrap, curves, refusals
from yue_jax.scaling.curves import Minimum, PowerLaw
from yue_jax.scaling.law import Cost
from yue_jax.scaling.runs import Runs

MIN_BUDGETS = 3
SAME_BUDGET = 1.25  # runs within this factor are of one budget


@dataclasses.dataclass(frozen=True)
class Budget:
  """Runs that cost the same, and the size that is best among them.

  Attributes:
    flops: geometric mean over the runs.
    runs: of this budget.
    best: over sizes N.
  """

  flops: float
  runs: Runs
  best: Minimum


@dataclasses.dataclass(frozen=True)
class IsoFlop:
  """What `fit` found.

  Attributes:
    budgets: in rising order.
    sizes: best N = coefficient * C ** exponent.
    draws: the same, of bootstrap samples of the runs of every budget.
    cost: of a token.
    left_out: runs of budgets with too few sizes for a parabola.
  """

  budgets: tuple[Budget, ...]
  sizes: PowerLaw
  draws: PowerLaw
  cost: Cost
  left_out: int

  @property
  def exponent(self) -> float:
    """Of the best size in the budget, `a` of the paper."""
    return float(self.sizes.exponents[0])

  @property
  def exponent_interval(self) -> tuple[float, float]:
    return bootstrap.interval(self.draws.exponents[:, 0])


def fit(runs: Runs, *, draws: int = bootstrap.DRAWS, seed: int = 0) -> IsoFlop:
  """Parabolas in log N for every budget, and a power through their minima.

  Budgets with fewer than four sizes have no parabola and are left out.

  Raises:
    TooFewBudgets: fewer than three others.
    WrongWayUp, NoInteriorMinimum: see `curves.minimum`.
  """
  rng = np.random.default_rng(seed)
  groups = group_budgets(runs)
  used = [g for g in groups if _sizes(g) >= curves.MIN_SETTINGS]
  if len(used) < MIN_BUDGETS:
    raise refusals.TooFewBudgets(
      f"{len(used)} budgets with at least {curves.MIN_SETTINGS} sizes (of"
      f" {len(groups)} budgets in all), expected at least {MIN_BUDGETS};"
      f" runs within a factor of {SAME_BUDGET} in FLOPs are of one budget"
    )
  budgets = tuple(_budget(group, draws, rng) for group in used)
  flops = np.array([[budget.flops] for budget in budgets])
  drawn = np.stack([budget.best.draws for budget in budgets], axis=1)
  return IsoFlop(
    budgets,
    PowerLaw.through(flops, np.array([b.best.setting for b in budgets])),
    PowerLaw.through(flops, drawn[np.isfinite(drawn).all(1)]),
    Cost.through(runs.parameters, runs.flops / runs.tokens),
    len(runs) - sum(len(group) for group in used),
  )


def group_budgets(runs: Runs) -> list[Runs]:
  """Runs of equal FLOPs, up to 25 %, in rising order."""
  order = np.argsort(runs.flops, kind="stable")
  groups: list[list[int]] = []
  for index in order:
    first = runs.flops[groups[-1][0]] if groups else 0
    if runs.flops[index] > SAME_BUDGET * first:
      groups.append([])
    groups[-1].append(index)
  return [runs.take(np.array(group)) for group in groups]


def _sizes(runs: Runs) -> int:
  return len(np.unique(runs.parameters))


def _budget(runs: Runs, draws: int, rng: np.random.Generator) -> Budget:
  flops = float(np.exp(np.log(runs.flops).mean()))
  best = curves.minimum(
    runs.parameters,
    runs.loss,
    of=f"size for {flops:.3g} FLOPs",
    draws=draws,
    rng=rng,
  )
  return Budget(flops, runs, best)
