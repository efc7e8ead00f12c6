"""L(N, D) = E + A / N^alpha + B / D^beta, and what it recommends.

Approach 3 of Hoffmann et al. 2022 (arXiv 2203.15556, section 3.3). The price
of a token is a power of the size, `Cost`: 6 N exactly by the usual rule, and a
fit to the table by the project's accounting, which also counts attention and
knows that embeddings are looked up. With it the best division of a budget has
a closed form, their equation 4 for exponents other than 1.
"""

import dataclasses
from typing import Self

import numpy as np

Numbers = float | np.ndarray


@dataclasses.dataclass(frozen=True)
class Cost:
  """FLOPs to train on a token: coefficient * N ** exponent.

  Attributes:
    coefficient, exponent: 6 and 1 by the usual rule.
    error: the largest relative error of this power over the runs it is from.
  """

  coefficient: float
  exponent: float
  error: float = 0.0

  @classmethod
  def through(cls, parameters: np.ndarray, flops_per_token: np.ndarray) -> Self:
    """The power that fits best, by least squares of logs."""
    size, price = np.log(parameters), np.log(flops_per_token)
    spread = size - size.mean()
    if not np.ptp(size):
      return cls(float(np.exp(price.mean() - size[0])), 1.0)
    exponent = spread @ price / (spread @ spread)
    level = price.mean() - exponent * size.mean()
    residuals = price - level - exponent * size
    error = float(np.expm1(np.abs(residuals)).max())
    return cls(float(np.exp(level)), float(exponent), error)

  def per_token(self, parameters: Numbers) -> Numbers:
    return self.coefficient * parameters**self.exponent


SIX_ND = Cost(6.0, 1.0)  # the usual rule


@dataclasses.dataclass(frozen=True)
class Law:
  """One law, or as many as its fields (all of one shape) have entries.

  Attributes:
    E: nats per token that no size and no amount of data removes.
    A, alpha: of what a finite size costs.
    B, beta: of what finite data costs.
  """

  E: Numbers
  A: Numbers
  B: Numbers
  alpha: Numbers
  beta: Numbers

  def loss(self, parameters: Numbers, tokens: Numbers) -> Numbers:
    """Nats per token; arguments broadcast against the fields."""
    size = self.A * parameters**-self.alpha
    return self.E + size + self.B * tokens**-self.beta

  def optimum(self, flops: Numbers, cost: Cost) -> tuple[Numbers, Numbers]:
    """The (N, D) of least loss whose training costs `flops`.

    Along D = C / cost(N), the loss is stationary where
    alpha A N^-alpha = exponent beta B D^-beta.
    """
    price = cost.exponent
    tokens_of_one = flops / cost.coefficient  # of a model with N = 1
    ratio = self.alpha * self.A / (price * self.beta * self.B)
    parameters = (ratio * tokens_of_one**self.beta) ** (
      1 / (self.alpha + price * self.beta)
    )
    return parameters, flops / cost.per_token(parameters)

  def best_tokens(self, parameters: Numbers, cost: Cost) -> Numbers:
    """The D for which N is the best size, whatever that costs in all."""
    ratio = cost.exponent * self.beta * self.B / (self.alpha * self.A)
    return (ratio * parameters**self.alpha) ** (1 / self.beta)
