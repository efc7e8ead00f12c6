"""What is printed of a fit, as lines."""

from collections.abc import Iterator, Sequence

import numpy as np

from yue_jax.scaling import bootstrap, fitting, sizes
from yue_jax.scaling.fitting import Fitted
from yue_jax.scaling.isoflop import IsoFlop
from yue_jax.scaling.runs import Runs
from yue_jax.scaling.sizes import Size
from yue_jax.scaling.tuning import Tuned

_REMARK = """\
A law of small runs tells how the loss goes with size and tokens among such
runs, and which of the two they lack. It does not tell, this far away, what E, A
and B are: they belong to the songs, vocabulary and context of the runs. Nor
that the exponents stay: embeddings, optimiser and repeated data weigh otherwise
in large models. The intervals hold the sampling of runs and none of that.
Before a large run, train three budgets of real songs within a factor of 100 of
its FLOPs."""


def describe(runs: Runs) -> Iterator[str]:
  """What the runs span."""
  for name, values in (
    ("parameters", runs.parameters),
    ("tokens", runs.tokens),
    ("FLOPs", runs.flops),
    ("loss", runs.loss),
  ):
    yield f"  {name:<12}{values.min():>10.4g} to {values.max():.4g}"


def law(fitted: Fitted) -> Iterator[str]:
  """The parameters of the law, with intervals, and how well it holds."""
  yield "L(N, D) = E + A / N^alpha + B / D^beta"
  yield f"{'':8}{'value':>12}{'std. error':>12}   {_percent()} interval"
  for name in ("E", "A", "B", "alpha", "beta"):
    yield _line(name, getattr(fitted.law, name), getattr(fitted.draws, name))
  price = fitted.cost.exponent
  yield (
    _line("a", *(d.beta / (d.alpha + price * d.beta) for d in _both(fitted)))
    + "   best N goes as C^a"
  )
  yield (
    f"FLOPs of a token: {fitted.cost.coefficient:.4g} N^{price:.3f}, within"
    f" {fitted.cost.error:.1%}"
  )
  yield (
    f"residuals of log loss: {_rms(fitted.residuals):.2%} (root mean square),"
    f" {np.abs(fitted.residuals).max():.2%} at most"
  )
  if fitted.on_edge:
    yield (
      f"in {fitted.on_edge:.1%} of the bootstrap samples an exponent is at the"
      " end of the search: intervals are open there"
    )


def left_out(one: np.ndarray, largest: np.ndarray) -> Iterator[str]:
  """Errors of log loss: each run left out alone, and the most expensive."""
  yield f"each run predicted from the others: {_rms(one):.2%} off"
  yield (
    f"the {len(largest)} most expensive predicted from cheaper ones:"
    f" {_rms(largest):.2%} off, {largest.mean():+.2%} on average"
  )


def recommendation(fitted: Fitted, flops: float, furthest: float) -> str:
  """The best N and D for a budget, with intervals, in a line."""
  best = fitting.recommend(fitted, flops, furthest=furthest)
  parts = [
    f"{symbol} = {getattr(best, name):.4g} {_range(bounds)}"
    for symbol, name, bounds in (
      ("N", "parameters", best.parameters_interval),
      ("D", "tokens", best.tokens_interval),
      ("loss", "loss", best.loss_interval),
    )
  ]
  return f"{flops:.3g} FLOPs ({best.beyond:.3g}x): {', '.join(parts)}"


def parabolas(found: IsoFlop) -> Iterator[str]:
  """The minimum of every budget, and the power through them."""
  yield f"{'FLOPs':>12}{'runs':>6}{'best N':>12}   {_percent()} interval"
  for budget in found.budgets:
    yield (
      f"{budget.flops:>12.4g}{len(budget.runs):>6}"
      f"{budget.best.setting:>12.4g}   {_range(budget.best.interval)}"
    )
  yield (
    f"best N goes as C^{found.exponent:.3f}"
    f" {_range(found.exponent_interval, 3)}, biased: see docs/isoflop.md"
  )
  if found.left_out:
    yield f"{found.left_out} runs are of budgets with too few sizes"


def tuning(tuned: Tuned) -> Iterator[str]:
  """The best setting of every cell, and the power through them."""
  name = tuned.setting
  yield f"{'N':>12}{'D':>12}{f'best {name}':>16}   {_percent()} interval"
  for (size, tokens), best in tuned.minima.items():
    yield (
      f"{size:>12.4g}{tokens:>12.4g}{best.setting:>16.4g}"
      f"   {_range(best.interval)}"
    )
  terms = []
  for number, variable in enumerate(tuned.variables):
    symbol = {"parameters": "N", "tokens": "D"}[variable]
    bounds = bootstrap.interval(tuned.draws.exponents[:, number])
    terms.append(
      f"{symbol}^{tuned.law.exponents[number]:.3f} {_range(bounds, 3)}"
    )
  yield f"best {name} goes as {' '.join(terms)}"


def yue(fitted: Fitted, known: Sequence[Size]) -> Iterator[str]:
  """Tokens for which each size of YuE is the best one, by this law."""
  cost = sizes.cost_of(list(known))
  yield (
    f"{'':14}{'N':>10}{'D, this law':>13}   {_percent() + ' interval':<22}"
    f"{'FLOPs':>9}{'beyond':>9}{'D = 20 N':>10}{'D, paper':>10}"
  )
  for size in known:
    best, drawn = (d.best_tokens(size.parameters, cost) for d in _both(fitted))
    flops = best * size.flops_per_token
    yield (
      f"{size.name:<14}{size.parameters:>10.3g}{best:>13.3g}"
      f"   {_range(bootstrap.interval(drawn), 3):<22}{flops:>9.2g}"
      f"{flops / fitted.runs.flops.max():>8.1g}x"
      f"{sizes.TOKENS_PER_PARAMETER * size.parameters:>10.3g}"
      f"{size.trained:>10.3g}"
    )
  yield _REMARK


def _both(fitted: Fitted):
  return fitted.law, fitted.draws


def _line(name: str, value: float, draws: np.ndarray) -> str:
  bounds = _range(bootstrap.interval(draws))
  return f"{name:<8}{value:>12.5g}{np.std(draws):>12.3g}   {bounds}"


def _range(bounds: tuple[float, float], digits: int = 4) -> str:
  low, high = bounds
  return f"[{low:.{digits}g}, {high:.{digits}g}]"


def _percent() -> str:
  return f"{bootstrap.LEVEL:.0%}"


def _rms(errors: np.ndarray) -> float:
  return float(np.sqrt(np.mean(errors**2)))
