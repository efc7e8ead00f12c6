"""Figures of claims, drawn from tables of results alone."""

from collections.abc import Sequence
import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from yue_jax.paper.cases import Claim, Panel
from yue_jax.paper.results import Table

_INCHES = (4.2, 3.3)  # of a panel


def draw(claim: Claim, table: Table, path: pathlib.Path) -> None:
  """Writes a PNG with the panels of a claim side by side.

  Dots are seeds, lines and bars their means.
  """
  count = len(claim.panels)
  figure, row = plt.subplots(
    1,
    count,
    figsize=(_INCHES[0] * count, _INCHES[1]),
    layout="constrained",
    squeeze=False,
  )
  for axes, panel in zip(row[0], claim.panels, strict=True):
    (_bars if panel.bars else _lines)(axes, panel, table)
    axes.set(ylabel=panel.ylabel, xlabel=panel.xlabel)
    if axes.dataLim.ymin >= 0:
      axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
  if not claim.panels[0].bars:
    row[0][0].legend(fontsize="small")
  # No date in it: the same results give the same file.
  figure.savefig(path, dpi=100, metadata={"Software": None})
  plt.close(figure)


def _lines(axes, panel: Panel, table: Table) -> None:
  """A line an arm, along x or along the places of a list."""
  for number, arm in enumerate(table.arms):
    color = f"C{number}"
    points = (
      _by_place(panel, table, arm) if panel.places else _by_x(panel, table, arm)
    )
    if not points:
      continue
    for x, values in points:
      axes.plot([x] * len(values), values, ".", color=color, alpha=0.4)
    means = [(x, _mean(values)) for x, values in points]
    axes.plot(*zip(*means, strict=True), "-", color=color, label=arm)
  if panel.log:
    axes.set_xscale("log")


def _by_x(panel: Panel, table: Table, arm: str) -> list:
  found = [
    (x, list(table.by_seed(panel.value, arm, x).values()))
    for x in table.xs(arm)
  ]
  return [(x, values) for x, values in found if values]


def _by_place(panel: Panel, table: Table, arm: str) -> list:
  lists = list(table.by_seed(panel.value, arm).values())
  return list(enumerate(zip(*lists, strict=True), start=1)) if lists else []


def _bars(axes, panel: Panel, table: Table) -> None:
  """A bar an arm, at its largest x."""
  for number, arm in enumerate(table.arms):
    values = list(table.by_seed(panel.value, arm).values())
    if values:
      axes.bar(number, _mean(values), color=f"C{number}", alpha=0.6)
      axes.plot([number] * len(values), values, "k.", ms=4)
  axes.set_xticks(
    range(len(table.arms)), table.arms, rotation=30, ha="right", fontsize=8
  )


def _mean(values: Sequence[float]) -> float:
  return sum(values) / len(values)
