"""What `bias` has measured, as a page and a picture."""

from collections.abc import Iterator, Mapping, Sequence
import pathlib
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from yue_jax.scaling import bias

Rows = Sequence[Mapping[str, Any]]
_ABOUT = """\
# How far IsoFLOP parabolas are off

Made by `tools/measure_isoflop.py` from laws that are known (all numbers are in
[isoflop.json](isoflop.json)): {budgets} budgets, each four times the last, with
{sizes} sizes each, whose FLOPs are 6 N D. *width* is the largest size of a
budget over its smallest, *centre* the middle of the sizes over the best one,
*drift* that of the last budget over that of the first: sizes that are alike at
all budgets have a drift of about 1/16.

![errors of parabolas](isoflop.png)

To first order in beta - alpha, a parabola over a grid of half-width w about s,
in log N from the best size, has its minimum at
(beta - alpha)(s² / 2 - w² / 10): the broken lines. So

- a grid that is centred is off by as much at all budgets: the exponent is
  right, the best size is not where exponents are unequal and the grid is wide;
- a grid that is off the centre pulls the minimum towards itself, even with
  equal exponents, and soon has none inside, which is refused;
- only a grid that drifts falsifies the exponent, and extrapolation multiplies
  that.

The law that is fitted by variable projection has none of these errors.
"""
_NOISELESS = """
## Without noise

*fit* is the law fitted to the same runs, with the error of its exponent; the
others are of parabolas. *N* is the recommended size over the best one, at the
largest budget and at {further:g} times that; *waste* the share of that budget
which is thrown away: with the best size, so much less would have done as well.
"""
_NOISELESS_HEAD = (
  "law",
  "alpha",
  "beta",
  "varied",
  "width",
  "centre",
  "drift",
  "fit: exponent",
  "exponent",
  "N",
  f"N, {bias.FURTHER:g}x",
  "waste",
)
_NOISY = """
## With noise

Noise of {noise:.1%} of the loss; {tables} tables of {runs} runs for each grid.
*N* is at {further:g} times the largest budget: mean error of its log, standard
deviation, and how often the interval of 95 % (bootstrap over runs) held the
truth; *exponent* likewise. Where most tables are refused, the others are those
whose noise happened to look right.
"""
_NOISY_HEAD = (
  "law",
  "width",
  "centre",
  "drift",
  "method",
  "refused",
  "exponent: bias",
  "deviation",
  "inside",
  "log N: bias",
  "deviation",
  "inside",
)


def write(measured: Mapping[str, Rows], out: pathlib.Path) -> None:
  """isoflop.md and isoflop.png into a directory.

  Args:
    measured: "noiseless" and "noisy", rows of `bias`.
    out: an existing directory.
  """
  (out / "isoflop.md").write_text("\n".join(_page(measured)) + "\n")
  figure, axes = plt.subplots(2, 2, figsize=(12, 8), layout="constrained")
  exact = measured["noiseless"]
  _draw_ratio(axes[0, 0], exact, "width")
  _draw_ratio(axes[0, 1], exact, "centre")
  _draw_exponent(axes[1, 0], exact)
  _draw_noisy(axes[1, 1], measured["noisy"])
  figure.savefig(out / "isoflop.png", dpi=110)
  plt.close(figure)


def _page(measured: Mapping[str, Rows]) -> Iterator[str]:
  numbers = {
    "budgets": bias.BUDGETS,
    "sizes": bias.SIZES,
    "runs": bias.BUDGETS * bias.SIZES,
    "further": bias.FURTHER,
    "noise": bias.NOISE,
    "tables": measured["noisy"][0]["tables"],
  }
  yield _ABOUT.format(**numbers)
  yield _NOISELESS.format(**numbers)
  yield from _head(_NOISELESS_HEAD)
  for row in measured["noiseless"]:
    yield _exact_line(row)
  yield _NOISY.format(**numbers)
  yield from _head(_NOISY_HEAD)
  for row in measured["noisy"]:
    for method in ("fit", "parabolas"):
      yield _noisy_line(row, method)


def _head(columns: Sequence[str]) -> Iterator[str]:
  yield f"| {' | '.join(columns)} |"
  yield "|---" * len(columns) + "|"


def _exact_line(row: Mapping[str, Any]) -> str:
  law = bias.LAWS[row["law"]]
  start = (
    f"| {row['law']} | {law.alpha} | {law.beta} | {row['varied']} |"
    f" {row['width']:g} | {row['centre']:g} | {row['drift']:g} |"
    f" {row['fit_exponent_error']:+z.4f} |"
  )
  if "refused" in row:
    return f"{start} {row['refused']} | | | |"
  return (
    f"{start} {row['exponent_error']:+z.4f} | {row['size_ratio']:.3f} |"
    f" {row['further_size_ratio']:.3f} | {row['further_waste']:z.1%} |"
  )


def _noisy_line(row: Mapping[str, Any], method: str) -> str:
  start = (
    f"| {row['law']} | {row['width']:g} | {row['centre']:g} | {row['drift']:g}"
    f" | {method} | {row[method]['refused']} |"
  )
  if "exponent" not in row[method]:
    return start + " | | | | | |"
  for name in ("exponent", "log_further_size"):
    its = row[method][name]
    start += (
      f" {its['bias']:+.3f} | {its['deviation']:.3f} | {its['inside']:.0%} |"
    )
  return start


def _draw_ratio(axes, rows: Rows, varied: str) -> None:
  for number, law in enumerate(bias.LAWS):
    its = [
      row
      for row in rows
      if row["law"] == law and row["varied"] == varied and "exponent" in row
    ]
    at = [row[varied] for row in its]
    color = f"C{number}"
    axes.plot(at, [r["size_ratio"] for r in its], "o-", color=color, label=law)
    axes.plot(at, [r["first_order"] for r in its], "--", color=color, lw=1)
  axes.axhline(1, color="black", lw=0.8)
  axes.set(
    title=f"{varied} of the grid (broken: first order)",
    xlabel=varied,
    ylabel="recommended N / best N",
    xscale="log",
  )
  axes.set_xscale("log", base=2)
  axes.legend(fontsize="small")


def _draw_exponent(axes, rows: Rows) -> None:
  for number, law in enumerate(bias.LAWS):
    its = [
      row
      for row in rows
      if row["law"] == law and row["varied"] == "drift" and "exponent" in row
    ]
    axes.plot(
      [row["drift"] for row in its],
      [row["exponent_error"] for row in its],
      "o-",
      color=f"C{number}",
      label=law,
    )
  axes.axhline(0, color="black", lw=0.8)
  axes.set(
    title="grids that drift", xlabel="drift", ylabel="error of the exponent"
  )
  axes.set_xscale("log", base=2)
  axes.legend(fontsize="small")


def _draw_noisy(axes, rows: Rows) -> None:
  names = []
  for number, row in enumerate(rows):
    names.append(
      f"{row['law']}\nwidth {row['width']:g}, centre {row['centre']:g},"
      f" drift {row['drift']:g}\nparabolas refused"
      f" {row['parabolas']['refused']} of {row['tables']}"
    )
    for offset, method, color in (
      (-0.12, "fit", "C0"),
      (0.12, "parabolas", "C1"),
    ):
      if "exponent" not in row[method]:
        continue
      its = row[method]["log_further_size"]
      axes.errorbar(
        its["bias"],
        number + offset,
        xerr=its["deviation"],
        fmt="o",
        color=color,
        label=method if number == 0 else None,
      )
  axes.axvline(0, color="black", lw=0.8)
  axes.set_yticks(np.arange(len(names)), names, fontsize="small")
  axes.invert_yaxis()
  axes.set(
    title=f"noise {bias.NOISE:.1%}: mean and deviation over tables",
    xlabel=f"log of N at {bias.FURTHER:g}x over the best",
  )
  axes.legend(fontsize="small")
