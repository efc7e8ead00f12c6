"""A table of runs and its law as a picture: frontier, IsoFLOPs, residuals."""

import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from yue_jax.scaling import bootstrap, isoflop
from yue_jax.scaling.fitting import Fitted
from yue_jax.scaling.isoflop import IsoFlop

_POINTS = 100  # of a curve
_FEW = 4  # runs of a budget that is drawn as a curve


def draw(
  fitted: Fitted, out: pathlib.Path, *, parabolas: IsoFlop | None, title: str
) -> None:
  """Writes a PNG.

  Args:
    fitted: the law.
    out: file.
    parabolas: the same runs by Approach 2, unless it refused.
    title: of the whole.
  """
  figure, axes = plt.subplots(2, 2, figsize=(12, 9), layout="constrained")
  figure.suptitle(title)
  _draw_frontier(axes[0, 0], fitted)
  _draw_isoflops(axes[0, 1], fitted, parabolas)
  _draw_best_sizes(axes[1, 0], fitted, parabolas)
  _draw_residuals(axes[1, 1], fitted)
  figure.savefig(out, dpi=110)
  plt.close(figure)


def _budgets(fitted: Fitted, beyond: float) -> np.ndarray:
  flops = fitted.runs.flops
  return np.geomspace(flops.min(), beyond * flops.max(), _POINTS)


def _draw_frontier(axes, fitted: Fitted) -> None:
  """Loss against compute: runs by size, and the least that the law allows."""
  runs = fitted.runs
  drawn = axes.scatter(
    runs.flops, runs.loss, c=np.log10(runs.parameters), s=14, cmap="viridis"
  )
  axes.figure.colorbar(drawn, ax=axes, label="log10 of parameters")
  flops = _budgets(fitted, 10)
  axes.plot(
    flops,
    fitted.law.loss(*fitted.law.optimum(flops, fitted.cost)),
    color="black",
    label="best division of the budget",
  )
  low, high = _band(fitted, flops, loss=True)
  axes.fill_between(flops, low, high, color="black", alpha=0.15, lw=0)
  axes.axhline(fitted.law.E, color="C3", ls="--", label="E")
  axes.set(
    title="loss and compute",
    xlabel="FLOPs",
    ylabel="nats per token",
    xscale="log",
  )
  axes.legend()


def _draw_isoflops(axes, fitted: Fitted, parabolas: IsoFlop | None) -> None:
  """Loss against size, one colour for each budget."""
  by_flops = {b.flops: b for b in parabolas.budgets} if parabolas else {}
  shades = plt.cm.ScalarMappable(cmap="viridis")
  shades.set_array(np.log10(fitted.runs.flops))
  shades.autoscale()
  axes.figure.colorbar(shades, ax=axes, label="log10 of FLOPs")
  for group in isoflop.group_budgets(fitted.runs):
    if len(group) < _FEW:
      continue
    flops = float(np.exp(np.log(group.flops).mean()))
    color = shades.to_rgba(np.log10(flops))
    size = np.geomspace(group.parameters.min(), group.parameters.max(), _POINTS)
    tokens = flops / fitted.cost.per_token(size)
    axes.plot(group.parameters, group.loss, "o", color=color, ms=4)
    axes.plot(size, fitted.law.loss(size, tokens), color=color)
    if flops in by_flops:
      best = by_flops[flops].best
      bend = best.curvature * np.log(size / best.setting) ** 2 / 2
      axes.plot(size, best.loss + bend, ":", color=color)
  axes.set(
    title="IsoFLOPs: law, and parabolas dotted",
    xlabel="parameters",
    ylabel="nats per token",
    xscale="log",
  )


def _draw_best_sizes(axes, fitted: Fitted, parabolas: IsoFlop | None) -> None:
  flops = _budgets(fitted, 10)
  axes.plot(
    flops, fitted.law.optimum(flops, fitted.cost)[0], color="black", label="law"
  )
  low, high = _band(fitted, flops, loss=False)
  axes.fill_between(flops, low, high, color="black", alpha=0.15, lw=0)
  if parabolas:
    best = [budget.best for budget in parabolas.budgets]
    middle = np.array([b.setting for b in best])
    ends = np.array([b.interval for b in best])
    axes.errorbar(
      [budget.flops for budget in parabolas.budgets],
      middle,
      np.abs(ends - middle[:, None]).T,
      fmt="o",
      color="C1",
      label="parabolas (biased)",
    )
  axes.axvline(fitted.runs.flops.max(), color="C3", ls=":", label="largest run")
  axes.set(
    title="best size",
    xlabel="FLOPs",
    ylabel="parameters",
    xscale="log",
    yscale="log",
  )
  axes.legend()


def _draw_residuals(axes, fitted: Fitted) -> None:
  runs = fitted.runs
  drawn = axes.scatter(
    runs.flops,
    100 * fitted.residuals,
    c=np.log10(runs.tokens / runs.parameters),
    s=14,
    cmap="coolwarm",
  )
  axes.figure.colorbar(drawn, ax=axes, label="log10 of tokens a parameter")
  axes.axhline(0, color="black", lw=0.8)
  axes.set(
    title="residuals",
    xlabel="FLOPs",
    ylabel="log loss - log L(N, D), %",
    xscale="log",
  )


def _band(
  fitted: Fitted, flops: np.ndarray, *, loss: bool
) -> tuple[np.ndarray, np.ndarray]:
  """Ends of the interval of the least loss, or of the best size."""
  ends = []
  for budget in flops:
    best = fitted.draws.optimum(budget, fitted.cost)
    values = fitted.draws.loss(*best) if loss else best[0]
    ends.append(bootstrap.interval(values))
  low, high = np.array(ends).T
  return low, high
