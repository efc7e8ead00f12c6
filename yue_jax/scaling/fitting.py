"""The law of a table of runs: intervals, leave-out errors, recommendations."""

import dataclasses

import numpy as np

from yue_jax.scaling import bootstrap, projection, refusals
from yue_jax.scaling.bootstrap import interval
from yue_jax.scaling.law import Cost, Law
from yue_jax.scaling.runs import Runs

MIN_RUNS = 10  # twice the parameters of the law
MIN_LEVELS = 3  # of sizes and of tokens: a floor and an exponent
MIN_SPREAD = 0.1  # of log tokens among runs of one size
FURTHEST = 100.0  # times the FLOPs of the largest run


@dataclasses.dataclass(frozen=True)
class Fitted:
  """What `fit` found.

  Attributes:
    law: of all runs; its fields are numbers.
    draws: laws of bootstrap draws; fields of shape (draws,).
    runs: it was fitted to.
    cost: of a token, by the FLOPs of the runs.
    on_edge: share of draws with an exponent at the end of the search; an
      interval is open on that side if there are many.
  """

  law: Law
  draws: Law
  runs: Runs
  cost: Cost
  on_edge: float

  @property
  def residuals(self) -> np.ndarray:
    """(runs,), log loss - log L(N, D)."""
    return _errors(self.law, self.runs)


@dataclasses.dataclass(frozen=True)
class Recommendation:
  """The best division of a budget, each with its interval.

  Attributes:
    beyond: how many times the FLOPs of the largest run the budget is.
    parameters, tokens, loss: of least loss.
    parameters_interval, tokens_interval, loss_interval: (low, high); of the
      sampling of runs alone, were the form of the law true out there.
  """

  beyond: float
  parameters: float
  tokens: float
  loss: float
  parameters_interval: tuple[float, float]
  tokens_interval: tuple[float, float]
  loss_interval: tuple[float, float]


def fit(runs: Runs, *, draws: int = bootstrap.DRAWS, seed: int = 0) -> Fitted:
  """Fits the law, and again to `draws` bootstrap samples of the runs.

  A sample has as many runs, drawn with replacement; it is drawn anew if its
  distinct runs could not be fitted alone.

  Raises:
    TooFewRuns: fewer than 10 runs, or than three sizes or numbers of tokens.
    NotIdentified: tokens follow from sizes, or the loss falls with neither.
    ExponentOnEdge: of those searched, 0.02 to 2.
  """
  _check(runs)
  law = _only(projection.solve(runs, np.ones((1, len(runs)))))
  _check_law(law, runs)
  levels = [
    (np.arange(len(runs)), len(dataclasses.fields(Law)) + 1),
    (runs.parameters, MIN_LEVELS),
    (runs.tokens, MIN_LEVELS),
  ]
  counts = bootstrap.resample(levels, draws, np.random.default_rng(seed))
  drawn = projection.solve(runs, counts)
  low, high = projection.EXPONENTS
  exponents = np.stack([drawn.alpha, drawn.beta])
  on_edge = ((exponents <= low) | (exponents >= high)).any(0).mean()
  return Fitted(
    law,
    drawn,
    runs,
    Cost.through(runs.parameters, runs.flops / runs.tokens),
    float(on_edge),
  )


def recommend(
  fitted: Fitted, flops: float, *, furthest: float = FURTHEST
) -> Recommendation:
  """The best (N, D) for a budget.

  Args:
    fitted: of `fit`.
    flops: of the whole training.
    furthest: times the FLOPs of the largest run that may be asked for.

  Raises:
    Extrapolation: the budget is larger than that.
  """
  largest = fitted.runs.flops.max()
  beyond = refusals.check_reach(flops, largest, furthest, "FLOPs")
  best, drawn = (
    _best(law, flops, fitted.cost) for law in (fitted.law, fitted.draws)
  )
  return Recommendation(
    beyond,
    **{name: float(value) for name, value in best.items()},
    **{f"{name}_interval": interval(v) for name, v in drawn.items()},
  )


def leave_one_out(runs: Runs) -> np.ndarray:
  """(runs,), log loss - log of what the other runs predict for each."""
  _check(runs)
  laws = projection.solve(runs, 1 - np.eye(len(runs)))
  return _errors(laws, runs)


def leave_largest(
  runs: Runs, share: float = 0.2
) -> tuple[np.ndarray, np.ndarray]:
  """Predicts the most expensive runs from all others.

  Args:
    runs: all of them.
    share: of runs to hold out at least; runs of equal FLOPs stay together.

  Returns:
    A mask of the runs held out, and log loss - log predicted for these.
  """
  held_out = runs.flops >= np.quantile(runs.flops, 1 - share, method="lower")
  rest = runs.take(~held_out)
  _check(rest)
  law = _only(projection.solve(rest, np.ones((1, len(rest)))))
  _check_law(law, rest)
  return held_out, _errors(law, runs.take(held_out))


def _best(law: Law, flops: float, cost: Cost) -> dict[str, np.ndarray]:
  parameters, tokens = law.optimum(flops, cost)
  loss = law.loss(parameters, tokens)
  return {"parameters": parameters, "tokens": tokens, "loss": loss}


def _errors(law: Law, runs: Runs) -> np.ndarray:
  return np.log(runs.loss / law.loss(runs.parameters, runs.tokens))


def _only(laws: Law) -> Law:
  values = dataclasses.astuple(laws)
  return Law(*(float(value[0]) for value in values))


def _check(runs: Runs) -> None:
  if len(runs) < MIN_RUNS:
    raise refusals.TooFewRuns(
      f"{len(runs)} finished runs, expected at least {MIN_RUNS}: the law has"
      " five parameters"
    )
  for name in ("parameters", "tokens"):
    levels = len(np.unique(getattr(runs, name)))
    if levels < MIN_LEVELS:
      raise refusals.TooFewRuns(
        f"{levels} different numbers of {name}, expected at least"
        f" {MIN_LEVELS}: with fewer, floor and exponent cannot be told apart"
      )
  if _spread(runs) < MIN_SPREAD:
    raise refusals.NotIdentified(
      f"tokens follow from sizes: log tokens depart by {_spread(runs):.2g} from"
      f" a line in log parameters, expected {MIN_SPREAD} or more; train some"
      " sizes on fewer and on more tokens"
    )


def _spread(runs: Runs) -> float:
  """Standard deviation of log tokens about a line in log parameters."""
  size = np.log(runs.parameters)
  line = np.polynomial.Polynomial.fit(size, np.log(runs.tokens), 1)
  return float(np.std(np.log(runs.tokens) - line(size)))


def _check_law(law: Law, runs: Runs) -> None:
  for name, variable, term in (
    ("alpha", "parameters", law.A * runs.parameters**-law.alpha),
    ("beta", "tokens", law.B * runs.tokens**-law.beta),
  ):
    if np.ptp(term) < 1e-6 * runs.loss.min():
      raise refusals.NotIdentified(
        f"the loss does not fall with {variable}, expected that it does; were"
        " the runs trained long enough, and tuned?"
      )
    exponent = getattr(law, name)
    low, high = projection.EXPONENTS
    if not low < exponent < high:
      raise refusals.ExponentOnEdge(
        f"the best {name} is {exponent:g}, at the end of the search from"
        f" {low} to {high}: the runs do not bend enough to say where it ends;"
        f" vary {variable} more widely"
      )
