"""Tables of runs of a law that is known, to try methods on."""

import numpy as np

from yue_jax.scaling.law import SIX_ND, Cost, Law
from yue_jax.scaling.runs import Runs

STEP = 4.0  # from a budget to the next


def isoflops(
  law: Law,
  *,
  least: float,
  budgets: int = 4,
  sizes: int = 6,
  width: float = 16.0,
  centre: float = 1.0,
  drift: float = 1.0,
  noise: float = 0.0,
  cost: Cost = SIX_ND,
  seed: int = 0,
) -> Runs:
  """Several sizes at each of some budgets, each budget four times the last.

  Args:
    law: that the losses follow.
    least: FLOPs of the smallest budget.
    budgets: how many.
    sizes: of each budget, geometrically spaced.
    width: the largest size of a budget over its smallest.
    centre: their geometric mean over the best size.
    drift: that of the last budget's centre over that of the first.
    noise: standard deviation of the log loss.
    cost: of a token.
    seed: of the noise.
  """
  flops = least * STEP ** np.arange(budgets)
  centres = centre * np.geomspace(drift**-0.5, drift**0.5, budgets)
  best, _ = law.optimum(flops, cost)
  spread = np.geomspace(width**-0.5, width**0.5, sizes)
  parameters = np.outer(centres * best, spread).ravel()
  flops = flops.repeat(sizes)
  tokens = flops / cost.per_token(parameters)
  errors = noise * np.random.default_rng(seed).standard_normal(len(flops))
  loss = law.loss(parameters, tokens) * np.exp(errors)
  return Runs(parameters, tokens, flops, loss)
