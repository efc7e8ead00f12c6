"""One way to pack, chosen by name: what to count, to plan and to restore."""

from collections.abc import Mapping

import numpy as np

from yue_jax.data.planning.best_fit import (
  BestFitPlan,
  count_best_fit,
  plan_best_fit,
)
from yue_jax.data.planning.plan import Counts, Draw, Plan
from yue_jax.data.planning.split import SplitPlan, count_split, plan_split

PACKINGS = ("best_fit", "split")


def count_samples(packing: str, lengths: np.ndarray, draw: Draw) -> Counts:
  """Of the samples of `make_plan`, without making it."""
  count = count_best_fit if packing == "best_fit" else count_split
  return count(lengths, draw)


def make_plan(packing: str, lengths: np.ndarray, draw: Draw) -> Plan:
  """Packs every token of every document once; lengths (documents,)."""
  plan = plan_best_fit if packing == "best_fit" else plan_split
  return plan(lengths, draw)


def restore_plan(
  packing: str, arrays: Mapping[str, np.ndarray], draw: Draw
) -> Plan:
  """The plan that had these `arrays()` and this draw."""
  plan = BestFitPlan if packing == "best_fit" else SplitPlan
  return plan(draw, **arrays)
