"""Says which system the raters of a listening test prefer.

  python tools/analyse_study.py studies/1/key.json results/*.json \\
    --metrics runs/evaluation/evaluation.json --out studies/1/analysis

reads the key that tools/make_study.py wrote and the files that raters saved.
Prints, and writes as tables.txt, analysis.json and study.png: how often each
system beats each (ties as half wins), wins, ties and losses in every aspect
with intervals, Bradley-Terry strengths with intervals from drawing raters,
agreement of the raters, and, with --metrics, how every automatic metric
correlates with preference: over systems, and within songs. Metrics are those
of tools/evaluate.py, or {"SYSTEM": {"METRIC": 1.5}}, or {"SYSTEM": {"METRIC":
{"SONG": 1.5}}}. What each number means is in docs/human_study.md.
"""

import argparse
import pathlib
import sys

try:
  from yue_jax.study import analysis, figure, report
  from yue_jax.study.comparisons import read_key
  from yue_jax.study.metrics import read_metrics
  from yue_jax.study.results import read_results
except ImportError as error:
  sys.exit(f"analyse_study: {error}; pip install 'yue_jax[eval]'")
from yue_jax.whole_directory import whole_directory


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    _analyse(args)
  except (ValueError, OSError) as error:
    sys.exit(f"analyse_study: {error}")


def _analyse(args: argparse.Namespace) -> None:
  key = read_key(args.key)
  judged = read_results(args.results, key, incomplete=args.incomplete)
  metrics = {}
  for path in args.metrics:
    read = read_metrics(path, key)
    if twice := sorted(metrics.keys() & read.keys()):
      raise ValueError(f"{path} has {', '.join(twice)}, which another file has")
    metrics |= read
  with whole_directory(args.out) as out:
    found = analysis.analyse(judged, metrics, seed=args.seed, draws=args.draws)
    text = "\n".join(report.tables(found)) + "\n"
    (out / "tables.txt").write_text(text, encoding="utf-8")
    analysis.write_json(found, out / "analysis.json")
    figure.draw(found, out / "study.png")
  print(text + f"\n{args.out}")


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("key", type=pathlib.Path, help="key.json of the study")
  add("results", type=pathlib.Path, nargs="+", help="one file of each rater")
  add("--out", type=pathlib.Path, required=True, help="a new directory")
  add(
    "--metrics",
    type=pathlib.Path,
    nargs="+",
    default=[],
    help="JSON of automatic metrics",
  )
  add(
    "--incomplete",
    action="store_true",
    help="use results of raters who have not answered all",
  )
  add("--draws", type=_count, default=1000, help="for each interval [1000]")
  add("--seed", type=int, default=0, help="of the draws [0]")
  return parser


def _count(text: str) -> int:
  if not text.isdecimal() or not int(text):
    raise argparse.ArgumentTypeError(f"{text!r}, expected a positive integer")
  return int(text)


if __name__ == "__main__":
  main()
