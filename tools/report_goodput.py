"""Says where the time of a run went, restarts and lost work included.

  python tools/report_goodput.py runs/stage1

prints hours and shares by kind (see yue_jax/train/goodput.py), of all attempts
together; --attempts prints a line for each as well.
"""

import argparse
import sys

from etils import epath

from yue_jax.json_lines import read_lines
from yue_jax.train.goodput import attempts_of, summarise


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("run_dir", help="of the run; may be in a bucket")
  parser.add_argument(
    "--attempts", action="store_true", help="a line for each start as well"
  )
  args = parser.parse_args()
  path = epath.Path(args.run_dir) / "goodput.jsonl"
  lines = read_lines(path)
  if not lines:
    sys.exit(f"report_goodput: {path} has no lines; no run has taken a step")
  if args.attempts:
    for number, attempt in enumerate(attempts_of(lines), start=1):
      seconds = summarise(attempt).total
      print(
        f"attempt {number}: steps {attempt[0]['resumed_at']} to"
        f" {attempt[-1]['step']}, {seconds:.0f} s"
      )
  print(summarise(lines).table())


if __name__ == "__main__":
  main()
