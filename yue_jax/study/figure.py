"""An analysis as a picture."""

import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from yue_jax.study.analysis import AVERAGE, Analysis
from yue_jax.study.report import label


def draw(found: Analysis, out: pathlib.Path) -> None:
  """Writes a PNG: preferences, wins and losses, strengths, correlations."""
  metrics = found.aspects[AVERAGE].correlations
  pairs = len(next(iter(found.aspects.values())).tallies)
  rows = 3 if metrics else 2
  heights = [
    max(3.2, 0.45 * pairs + 1.2),
    0.5 + len(found.aspects) * (0.1 + 0.12 * len(found.systems)),
    0.32 * len(metrics) + 2.0,
  ][:rows]
  figure = plt.figure(figsize=(11, sum(heights)), layout="constrained")
  grid = figure.add_gridspec(rows, 2, height_ratios=heights)
  _draw_shares(figure.add_subplot(grid[0, 0]), found)
  _draw_tallies(figure.add_subplot(grid[0, 1]), found)
  _draw_strengths(figure.add_subplot(grid[1, :]), found)
  if metrics:
    _draw_correlations(figure.add_subplot(grid[2, :]), found)
  figure.savefig(out, dpi=110)
  plt.close(figure)


def _draw_shares(axes, found: Analysis) -> None:
  shares = 100 * found.aspects[AVERAGE].shares
  _heat(axes, shares, found.systems, found.systems, "{:.0f}", (0, 100))
  axes.set_title("row beats column, %, all aspects")


def _draw_tallies(axes, found: Analysis) -> None:
  """Of the first aspect, which is overall musicality unless left out."""
  name, aspect = next(iter(found.aspects.items()))
  names = [f"{its.first} / {its.second}" for its in aspect.tallies][::-1]
  start = np.zeros(len(names))
  for field, color, text in (
    ("wins", "#3b6fb6", "white"),
    ("ties", "#c9d1d9", "black"),
    ("losses", "#c43c39", "white"),
  ):
    shares = [100 * getattr(i, field).value for i in aspect.tallies[::-1]]
    bars = axes.barh(names, shares, left=start, color=color, label=field)
    axes.bar_label(
      bars,
      [f"{share:.0f}" if share >= 5 else "" for share in shares],
      label_type="center",
      color=text,
      fontsize=9,
    )
    start += shares
  axes.set(title=f"{label(name)}, % of judgements", xlim=(0, 100))
  axes.legend(ncols=3, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 0))
  axes.tick_params(axis="x", labelbottom=False, length=0)
  axes.spines[:].set_visible(False)


def _draw_strengths(axes, found: Analysis) -> None:
  names = list(found.aspects)
  places = -np.arange(len(names), dtype=float)
  step = 0.7 / len(found.systems)
  for number, system in enumerate(found.systems):
    its = [found.aspects[name].strength[system] for name in names]
    at = places + 0.35 - step * (number + 0.5)
    axes.plot([b.value for b in its], at, "o", ms=4, label=system)
    if its[0].low is not None:
      bounds = [b.low for b in its], [b.high for b in its]
      axes.hlines(at, *bounds, color=f"C{number}", lw=1.5)
  axes.axvline(0, color="0.6", lw=0.8)
  axes.set(
    yticks=places,
    yticklabels=[label(name) for name in names],
    xlabel="Bradley-Terry strength, log-odds (95 %, over raters)",
  )
  axes.grid(axis="x", color="0.9")
  axes.set_axisbelow(True)
  axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def _draw_correlations(axes, found: Analysis) -> None:
  """Over systems, as the paper's; within songs where there are too few."""
  metrics = list(found.aspects[AVERAGE].correlations)
  field, title = "systems", "Pearson's r over systems"
  if all(
    getattr(its.correlations[m], field) is None
    for its in found.aspects.values()
    for m in metrics
  ):
    field, title = "songs", "correlation within songs"
  values = np.full((len(metrics), len(found.aspects)), np.nan)
  for column, its in enumerate(found.aspects.values()):
    for row, metric in enumerate(metrics):
      bounded = getattr(its.correlations[metric], field)
      values[row, column] = np.nan if bounded is None else bounded.value
  names = [label(name) for name in found.aspects]
  _heat(axes, values, metrics, names, "{:.2f}", (-1, 1))
  axes.set_title(title)


def _heat(axes, values, rows, columns, form: str, limits) -> None:
  low, high = limits
  axes.imshow(values, cmap="RdBu", vmin=low, vmax=high, aspect="auto")
  for (row, column), value in np.ndenumerate(values):
    if not np.isnan(value):
      dark = abs(value - (low + high) / 2) > 0.35 * (high - low)
      axes.text(
        column,
        row,
        form.format(value),
        ha="center",
        va="center",
        color="white" if dark else "black",
        fontsize=9,
      )
  axes.set(
    xticks=range(len(columns)),
    yticks=range(len(rows)),
    yticklabels=rows,
  )
  slanted = len(columns) > 6
  axes.set_xticklabels(
    columns,
    rotation=35 if slanted else 0,
    ha="right" if slanted else "center",
  )
  axes.tick_params(length=0)
  axes.spines[:].set_visible(False)
