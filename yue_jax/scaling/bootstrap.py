"""Samples of runs drawn with replacement."""

from collections.abc import Sequence

import numpy as np

# Intervals are those of evaluations.
from yue_jax.evaluation.estimates import DRAWS as DRAWS
from yue_jax.evaluation.estimates import LEVEL as LEVEL
from yue_jax.evaluation.estimates import interval as interval


def resample(
  levels: Sequence[tuple[np.ndarray, int]],
  draws: int,
  rng: np.random.Generator,
) -> np.ndarray:
  """Draws as many runs as there are, and anew where too few of them differ.

  Args:
    levels: pairs of an array (runs,) and how many of its values every sample
      must hold at least, lest the curve be free to go anywhere.
    draws: number of samples.
    rng: of the sampling.

  Returns:
    (draws, runs) float64, how often a sample holds each run.
  """
  indicators = [
    ((values[:, None] == np.unique(values)).astype(float), least)
    for values, least in levels
  ]
  runs = len(levels[0][0])
  counts = np.empty((0, runs))
  while len(counts) < draws:
    drawn = rng.multinomial(runs, np.full(runs, 1 / runs), draws).astype(float)
    enough = np.ones(draws, bool)
    for indicator, least in indicators:
      enough &= (drawn @ indicator > 0).sum(1) >= least
    counts = np.concatenate([counts, drawn[enough]])
  return counts[:draws]
