"""How much raters agree: Krippendorff's alpha."""

import dataclasses

import krippendorff
import numpy as np

from yue_jax.study.results import Judgements

_VALUES = (0.0, 0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class Agreement:
  """Agreement in one aspect.

  Attributes:
    alpha: 1 if all agree, 0 if as by chance; None if nothing can be said.
    same: share of pairs of raters who gave the same answer to a comparison.
    comparisons: that at least two raters judged.
  """

  alpha: float | None
  same: float | None
  comparisons: int


def agreement(judged: Judgements, scores: np.ndarray) -> Agreement:
  """Agreement of the raters on the comparisons that they share.

  A tie is half way between the two answers (interval scale). Which clip of a
  comparison is called the first is arbitrary, hence each comparison is counted
  both ways round: chance is then a matter of how frequent ties are, and not of
  which system's name comes first.

  Args:
    judged: who judged what.
    scores: (judgements,) 0, 0.5 or 1; of one aspect.
  """
  counts = np.stack(
    [
      np.bincount(
        judged.comparison[scores == value],
        minlength=len(judged.key.comparisons),
      )
      for value in _VALUES
    ],
    axis=1,
  )
  counts = counts[counts.sum(1) > 1]
  if not len(counts):
    return Agreement(None, None, 0)
  raters = counts.sum(1)
  same = (counts * (counts - 1)).sum() / (raters * (raters - 1)).sum()
  if not counts[:, [0, 2]].any():  # all ties: chance would agree as well
    return Agreement(None, float(same), len(counts))
  alpha = krippendorff.alpha(
    value_counts=np.concatenate([counts, counts[:, ::-1]]),
    value_domain=_VALUES,
    level_of_measurement="interval",
  )
  return Agreement(float(alpha), float(same), len(counts))
