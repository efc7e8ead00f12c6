"""Two systems on the same songs: differences, and claims about them."""

from collections.abc import Mapping
import dataclasses

import numpy as np

from yue_jax.evaluation import estimates
from yue_jax.evaluation.distributions import frechet_distance
from yue_jax.evaluation.embeddings import (
  Embeddings,
  expect_same_ids,
  expect_same_width,
)
from yue_jax.evaluation.estimates import Estimate


@dataclasses.dataclass(frozen=True)
class Claim:
  """That a value is below or above a bound, with all of its interval.

  Attributes:
    text: what is claimed.
    estimate: of the value.
    below, above: the bounds; None where there is none.
  """

  text: str
  estimate: Estimate
  below: float | None = None
  above: float | None = None

  @property
  def holds(self) -> bool:
    return (self.below is None or self.estimate.high < self.below) and (
      self.above is None or self.estimate.low > self.above
    )

  def __str__(self) -> str:
    bounds = [
      f"{sign} {bound:.3g}"
      for sign, bound in (("<", self.below), (">", self.above))
      if bound is not None
    ]
    return (
      f"{'yes' if self.holds else 'NO '}  {self.text}: {self.estimate}"
      f" {' and '.join(bounds)}"
    )


def difference(a: Mapping[str, float], b: Mapping[str, float]) -> Estimate:
  """The mean of a - b over songs; both have the same.

  Pairs are drawn, so that what makes a song hard for both does not widen the
  interval.
  """
  expect_same_ids(tuple(a), tuple(b), of="a difference")
  return estimates.mean(np.array([a[song] - b[song] for song in sorted(a)]))


def frechet_difference(
  a: Embeddings, b: Embeddings, reference: Embeddings, *, draws: int = 200
) -> Estimate:
  """How much farther `a` is from the reference than `b`, by Fréchet distance.

  Songs of `a` and `b` are drawn as pairs, those of the reference apart. Both
  distances have about the same bias, which the difference loses.
  """
  expect_same_width(a, b)
  expect_same_width(a, reference)
  expect_same_ids(a.ids, b.ids, of="a difference")

  def statistic(i: np.ndarray, j: np.ndarray) -> float:
    real = reference.of(j)
    return frechet_distance(a.of(i), real) - frechet_distance(b.of(i), real)

  return estimates.percentile(
    statistic, len(a.ids), len(reference.ids), draws=draws
  )
