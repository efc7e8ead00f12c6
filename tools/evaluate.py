"""Evaluates songs by the paper's automatic metrics, with intervals.

  python tools/evaluate.py results/ours results/theirs --reference real \
    --training data/songs --index runs/index --out runs/evaluation

reads folders of results, one a system (what may be in them is said in
yue_jax/evaluation/results.py and docs/evaluation.md), and a folder of real
songs that looks the same. Writes evaluation.json, table.txt and figures, and
prints the table: value and 95 % interval, from resampling songs.

Whatever a folder has material for is computed. Songs that cannot be used are
rejected and metrics refused with the reason, in the JSON and below the table;
if a metric was refused, the exit code is 1.
"""

import argparse
import pathlib
import sys

try:
  from yue_jax.evaluation import figures, measures, report, results
  from yue_jax.evaluation.training_songs import index_dataset
except ImportError as error:
  sys.exit(f"evaluate: {error}; pip install 'yue_jax[eval]'")
from yue_jax.progress import track


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    found = _evaluate(args)
  except (ValueError, OSError) as error:
    sys.exit(f"evaluate: {error}")
  lines = report.table(found)
  report.write_json(found, args.out / "evaluation.json")
  (args.out / "table.txt").write_text("\n".join(lines) + "\n", "utf-8")
  print("\n".join(lines))
  for path in figures.draw_all(found, args.out):
    print(path)
  if refused := sum(len(e.refused) for e in found):
    sys.exit(f"evaluate: {refused} metrics were refused, see above")


def _evaluate(args: argparse.Namespace) -> list[measures.Evaluation]:
  systems = [results.open_results(root) for root in args.results]
  reference = results.open_results(args.reference)
  names = [system.name for system in systems]
  if len(set(names)) < len(names):
    raise ValueError(f"folders are called {names}; expected different names")
  if args.training and args.index is None:
    raise ValueError("--training needs --index, a folder to keep its index in")
  indexes = {}
  if args.index is not None:
    indexes = index_dataset(args.training, args.index, n=args.ngram)
  training = measures.training_songs(indexes, reference)
  args.out.mkdir(parents=True, exist_ok=True)
  return [
    measures.evaluate(
      system,
      reference,
      training=training,
      ngram=args.ngram,
      time_step=args.time_step,
    )
    for system in track(systems, len(systems), "systems", "evaluating")
  ]


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("results", type=pathlib.Path, nargs="+", help="folder of a system")
  add("--reference", type=pathlib.Path, required=True, help="of real songs")
  add("--out", type=pathlib.Path, required=True, help="directory to write")
  add("--training", type=pathlib.Path, help="prepared training songs")
  add(
    "--index",
    type=pathlib.Path,
    help="where the index of the training songs is, or is to be",
  )
  add(
    "--ngram",
    type=int,
    default=12,
    help="frames in a row that count as copied [12]",
  )
  add(
    "--time-step",
    type=float,
    default=measures.TIME_STEP,
    help="seconds, of error rates as songs go on [30]",
  )
  return parser


if __name__ == "__main__":
  main()
