"""Fits a scaling law to the table of a sweep, and says what to train.

  python tools/fit_scaling_law.py runs/sizes/results.jsonl --tuned rate

prints L(N, D) = E + A / N^alpha + B / D^beta with intervals by bootstrap over
runs, errors of predicting runs that were left out, the best size and tokens
for budgets (--flops, as many as you like), IsoFLOP parabolas for comparison
(they are biased, see docs/isoflop.md), and what this would mean for the sizes
of YuE. --png draws all of it.

Only runs with status done count. --tuned takes the best run over these axes,
for every setting of the others, before anything is fitted; --where data=cot
takes the runs with one value on an axis. --setting rate fits how the best rate
(or batch) goes with size and tokens instead; runs along the axis seed are
repetitions.

N has embeddings, unless --without_embedding. A table of others is read with
--columns, and --six_nd where it has only one of tokens and FLOPs:

  python tools/fit_scaling_law.py table.csv --six_nd \\
    --columns parameters='Model Size' flops='Training FLOP'

What the runs do not answer is refused with the reason; --furthest says how many
times the FLOPs of the largest run may be asked for.
"""

import argparse
import pathlib
import sys

from yue_jax.scaling import (
  bootstrap,
  fitting,
  isoflop,
  refusals,
  report,
  table,
  tuning,
)
from yue_jax.scaling.isoflop import IsoFlop
from yue_jax.scaling.sizes import yue_sizes


def main() -> None:
  options = _options()
  try:
    rows = _rows(options)
    if options.setting:
      _fit_setting(rows, options)
    else:
      _fit_law(rows, options)
  except ValueError as error:
    sys.exit(f"fit_scaling_law: {error}")


def _options() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("table", type=pathlib.Path, help="a .jsonl or .csv")
  parser.add_argument(
    "--tuned", nargs="+", default=[], metavar="AXIS", help="best over these"
  )
  parser.add_argument(
    "--where", nargs="+", default=[], metavar="AXIS=VALUE", help="only these"
  )
  parser.add_argument("--setting", metavar="AXIS", help="fit the best of it")
  parser.add_argument(
    "--without_embedding", action="store_true", help="N has no embeddings"
  )
  parser.add_argument(
    "--columns", nargs="+", default=[], metavar="FIELD=NAME", help="as named"
  )
  parser.add_argument("--six_nd", action="store_true", help="FLOPs = 6 N D")
  parser.add_argument(
    "--below", type=float, help="leave out runs of this loss or more"
  )
  parser.add_argument(
    "--flops",
    nargs="+",
    type=float,
    help="budgets; 1, 10, 100 times the largest",
  )
  parser.add_argument(
    "--furthest", type=float, default=fitting.FURTHEST, help="%(default)g times"
  )
  parser.add_argument(
    "--draws", type=int, default=bootstrap.DRAWS, help="bootstrap samples"
  )
  parser.add_argument("--png", type=pathlib.Path, help="draw into this file")
  return parser.parse_args()


def _rows(options: argparse.Namespace) -> list[table.Row]:
  """Of finished runs, as chosen and tuned; says what was left out."""
  rows = table.read(options.table, dict(map(_pair, options.columns)))
  rows, others = table.finished(rows)
  for status, count in others.items():
    print(f"{count} runs left out: {status}")
  for axis, value in map(_pair, options.where):
    rows = table.where(rows, axis, value)
  if options.below is not None:
    below = [row for row in rows if row["loss"] < options.below]
    print(f"{len(rows) - len(below)} runs left out: loss >= {options.below:g}")
    rows = below
  if options.tuned:
    tried = len(rows)
    rows, ends = table.tuned(rows, options.tuned)
    print(f"{len(rows)} best of {tried} runs over {', '.join(options.tuned)}")
    for axis, count in ends.items():
      print(
        f"  of {count} the {axis} is the smallest or largest tried: the best"
        " may lie beyond"
      )
  return rows


def _pair(text: str) -> tuple[str, str]:
  name, equals, value = text.partition("=")
  if not equals:
    raise ValueError(f"{text!r}, expected NAME=VALUE")
  return name, value


def _fit_setting(rows: list[table.Row], options: argparse.Namespace) -> None:
  cells = table.cells_of(
    rows, options.setting, embeddings=not options.without_embedding
  )
  found = tuning.fit(cells, options.setting, draws=options.draws)
  print("\n".join(report.tuning(found)))


def _fit_law(rows: list[table.Row], options: argparse.Namespace) -> None:
  embeddings = not options.without_embedding
  runs = table.runs_of(rows, embeddings=embeddings, six_nd=options.six_nd)
  kind = "with" if embeddings else "without"
  print(f"{len(runs)} runs, N {kind} embeddings")
  print("\n".join(report.describe(runs)) + "\n")
  fitted = fitting.fit(runs, draws=options.draws)
  print("\n".join(report.law(fitted)) + "\n")
  _print_left_out(fitted)
  print("\nbest division of a budget")
  largest = runs.flops.max()
  for flops in options.flops or (largest, 10 * largest, 100 * largest):
    _print_recommendation(fitted, flops, options.furthest)
  parabolas = _parabolas(fitted, options.draws)
  print("\nthe sizes of YuE, if this law held that far")
  known = yue_sizes(embeddings=embeddings)
  print("\n".join(report.yue(fitted, known)))
  if options.png:
    from yue_jax.scaling import plot  # the [plots] extra

    title = f"{options.table.name}: {len(runs)} runs, N {kind} embeddings"
    plot.draw(fitted, options.png, parabolas=parabolas, title=title)
    print(options.png)


def _print_left_out(fitted: fitting.Fitted) -> None:
  try:
    _, largest = fitting.leave_largest(fitted.runs)
  except refusals.Refusal as refusal:
    print(f"the most expensive cannot be left out: {refusal}")
    return
  one = fitting.leave_one_out(fitted.runs)
  print("\n".join(report.left_out(one, largest)))


def _print_recommendation(
  fitted: fitting.Fitted, flops: float, furthest: float
) -> None:
  try:
    print(report.recommendation(fitted, flops, furthest))
  except refusals.Extrapolation as refusal:
    print(f"refused: {refusal}")


def _parabolas(fitted: fitting.Fitted, draws: int) -> IsoFlop | None:
  print("\nIsoFLOP parabolas")
  try:
    found = isoflop.fit(fitted.runs, draws=draws)
  except refusals.Refusal as refusal:
    print(f"refused: {type(refusal).__name__}: {refusal}")
    return None
  print("\n".join(report.parabolas(found)))
  return found


if __name__ == "__main__":
  main()
