"""Tries the claims of the paper in the small world: make paper.

  python tools/paper.py             full form: hours, continues
  python tools/paper.py --quick     the same in minutes (make paper QUICK=1)
  python tools/paper.py --report    writes the document again, nothing more

Every claim is a file of experiments/paper: what is compared with what, on how
many seeds. Each distinct model is trained once, as a process of its own, and
measured; every result is a line of docs/paper/CLAIM.jsonl as soon as it is
there (runs/paper-quick/CLAIM.jsonl in the quick form). From these files alone
follow the figures and docs/paper-in-miniature.md
(runs/paper-quick/paper-in-miniature.md) with a section and a verdict a claim.

Interrupted or killed, the same command goes on. A case whose settings were
changed in its file is run again. Models lie in runs/paper and runs/paper-quick.
"""

import argparse
import os
import pathlib
import sys

import jax

try:
  from yue_jax.paper import claims, machine, report
except ImportError as error:
  sys.exit(f"paper: {error}; pip install '.[plots]'")

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main() -> None:
  args = _parser().parse_args()
  form = "quick" if args.quick else "full"
  work = ROOT / ("runs/paper-quick" if args.quick else "runs/paper")
  results = work if args.quick else ROOT / "docs/paper"
  document = (work if args.quick else ROOT / "docs") / "paper-in-miniature.md"
  places = machine.Places(work, results)
  jax.config.update("jax_compilation_cache_dir", str(work / "compiled"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  folder = ROOT / "experiments/paper"
  results.mkdir(parents=True, exist_ok=True)
  try:
    chosen = claims.load(folder, args.claims)
    if not args.report:
      done = machine.complete(chosen, form, places, parallel=args.parallel)
      print(
        f"{done.measured} cases measured, {done.done} were there,"
        f" {done.dropped} lines of other settings dropped"
      )
    # All sections, whatever was run: the document is written whole.
    verdicts = report.write(claims.load(folder), form, results, document)
  except (ValueError, OSError, machine.FailedRuns) as error:
    sys.exit(f"paper: {error}")
  except KeyboardInterrupt:
    sys.exit("paper: stopped; the same command goes on")
  print("\n".join(verdicts))
  print(document.relative_to(ROOT))


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("claims", nargs="*", help="by name [all]", metavar="CLAIM")
  add("--quick", action="store_true", help="small and short, in minutes")
  add("--report", action="store_true", help="only write the document")
  add(
    "--parallel",
    type=int,
    default=min(2, os.cpu_count() or 1),
    help="trainings side by side [2]",
  )
  return parser


if __name__ == "__main__":
  main()
