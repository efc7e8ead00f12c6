"""Tables of runs of a law that is known."""

import numpy as np

from yue_jax.scaling.law import Cost, Law
from yue_jax.scaling.runs import Runs

TEXT = Law(E=1.8, A=480.0, B=2080.0, alpha=0.35, beta=0.37)
TOY = Law(E=0.9, A=60.0, B=900.0, alpha=0.4, beta=0.5)
SIX_ND = Cost(6.0, 1.0)


def isoflops(
  law: Law,
  *,
  least: float,
  budgets: int = 4,
  sizes: int = 6,
  width: float = 16.0,
  centre: float = 1.0,
  noise: float = 0.0,
  cost: Cost = SIX_ND,
  seed: int = 0,
) -> Runs:
  """Budgets from `least` on, each four times the last.

  Sizes of a budget span a factor of `width` about `centre` times the best;
  `noise` is the standard deviation of the log loss.
  """
  flops = least * 4.0 ** np.arange(budgets)
  best, _ = law.optimum(flops, cost)
  spread = centre * np.geomspace(width**-0.5, width**0.5, sizes)
  parameters = (best[:, None] * spread).ravel()
  flops = flops.repeat(sizes)
  tokens = flops / cost.per_token(parameters)
  errors = noise * np.random.default_rng(seed).standard_normal(len(flops))
  loss = law.loss(parameters, tokens) * np.exp(errors)
  return Runs(parameters, tokens, flops, loss)
