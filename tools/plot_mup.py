"""Draws where the best learning rate lies at every width.

  python tools/plot_mup.py docs/mup.jsonl --out docs/mup.png

takes the results of tools/sweep_mup.py: the loss by rate at every width,
without muP and with it, and the minima of parabolas through these, whose
intervals are by bootstrap over runs (yue_jax/scaling/tuning.py). Prints the
minima, and the power of the width that they follow.
"""

import argparse
from collections.abc import Sequence
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from yue_jax.json_lines import Record, read_lines
from yue_jax.scaling import bootstrap, tuning

TITLES = {False: "standard", True: "muP"}


def main() -> None:
  args = _parser().parse_args()
  try:
    rows = [r for r in read_lines(args.results) if r["loss"] is not None]
    if not rows:
      raise ValueError(
        f"{args.results} has no finished runs; tools/sweep_mup.py makes them"
      )
    tuned = {scaled: tune(rows, scaled) for scaled in TITLES}
  except (ValueError, OSError) as error:
    sys.exit(f"plot_mup: {error}")
  for scaled, found in tuned.items():
    print("\n".join(lines(TITLES[scaled], found)))
  draw(rows, tuned, args.out)
  print(args.out)


def tune(rows: Sequence[Record], scaled: bool) -> tuning.Tuned:
  """The best rate as a power of the width.

  Raises:
    ValueError: the best rate of a width is no minimum inside of those tried.
  """
  cells = {
    (width, 1.0): _columns(of) for width, of in by_width(rows, scaled).items()
  }
  return tuning.fit(cells, "rate")


def by_width(rows: Sequence[Record], scaled: bool) -> dict[int, list[Record]]:
  """Runs of one parametrisation; at the base width both are the same."""
  base = min(row["width"] for row in rows)
  return {
    width: [
      row
      for row in rows
      if row["width"] == width and row["mup"] == (scaled and width > base)
    ]
    for width in sorted({row["width"] for row in rows})
  }


def lines(title: str, found: tuning.Tuned) -> list[str]:
  """Minima with their intervals, and the exponent with its."""
  rows = [
    f"{title:<10} width {width:>4}  best rate {best.setting:.4f}"
    f" ({best.interval[0]:.4f} to {best.interval[1]:.4f})  loss {best.loss:.3f}"
    for (width, _), best in found.minima.items()
  ]
  low, high = bootstrap.interval(found.draws.exponents[:, 0])
  power = found.law.exponents[0]
  return [*rows, f"{title:<10} ~ width^{power:.2f} ({low:.2f} to {high:.2f})"]


def draw(
  rows: Sequence[Record],
  tuned: dict[bool, tuning.Tuned],
  out: pathlib.Path,
) -> None:
  """Losses by rate of both, and the best rates by width."""
  figure, axes = plt.subplots(
    1, 3, figsize=(13, 4.2), width_ratios=(1, 1, 0.9), layout="constrained"
  )
  axes[1].sharey(axes[0])
  for number, (scaled, title) in enumerate(TITLES.items()):
    _draw_losses(axes[number], by_width(rows, scaled))
    axes[number].set(
      title=title, xlabel="peak learning rate", ylabel="nats per token"
    )
    _draw_best(axes[2], tuned[scaled], title, f"C{3 * scaled + 1}")
  axes[1].legend(title="width")
  axes[2].set(title="best learning rate", xlabel="width")
  axes[2].legend()
  figure.savefig(out, dpi=110)
  plt.close(figure)


def _draw_losses(axes, of_width: dict[int, list[Record]]) -> None:
  shades = plt.get_cmap("viridis_r")(np.linspace(0.15, 0.95, len(of_width)))
  for shade, (width, runs) in zip(shades, of_width.items(), strict=True):
    rates, loss = _columns(runs)
    axes.plot(rates, loss, "o", color=shade, ms=3, alpha=0.5)
    tried = np.unique(rates)
    means = [loss[rates == rate].mean() for rate in tried]
    axes.plot(tried, means, color=shade, label=width)
    best = int(np.argmin(means))
    axes.plot(tried[best], means[best], "o", color=shade, ms=8, mfc="none")
  axes.set_xscale("log", base=2)


def _draw_best(axes, found: tuning.Tuned, title: str, color: str) -> None:
  widths = np.array([width for width, _ in found.minima])
  best = np.array([m.setting for m in found.minima.values()])
  intervals = np.array([m.interval for m in found.minima.values()])
  axes.errorbar(
    widths,
    best,
    yerr=np.abs(intervals.T - best),
    fmt="o",
    capsize=3,
    color=color,
    label=f"{title}, width^{found.law.exponents[0]:.2f}",
  )
  law = [found.law.at(np.array([width])) for width in widths]
  axes.plot(widths, law, color=color, lw=1)
  axes.set_xscale("log", base=2)
  axes.set_yscale("log", base=2)
  axes.set_xticks(widths, labels=widths)


def _columns(rows: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
  return tuple(np.array([row[n] for row in rows]) for n in ("rate", "loss"))


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("results", type=pathlib.Path, help="docs/mup.jsonl")
  add("--out", type=pathlib.Path, required=True, help="picture (.png)")
  return parser


if __name__ == "__main__":
  main()
