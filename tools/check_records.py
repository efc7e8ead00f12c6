"""Checks that a prepared data set is still what was written.

  python tools/check_records.py data/songs

reads every byte: the description, the index, the list of rejected rows, and
every shard, whose records are decoded and compared with the index. Prints
each fault with the file and the record, and ends with exit code 1 if there
is any.
"""

import argparse
import os
import pathlib
import sys

from yue_jax.data.preparing.check import check_dataset


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "dataset", type=pathlib.Path, help="made by tools/prepare_songs.py"
  )
  parser.add_argument(
    "--workers", type=int, default=os.cpu_count(), help="processes"
  )
  args = parser.parse_args(argv)
  if args.workers < 1:
    parser.error(f"--workers={args.workers}, expected 1 or more")
  faults = check_dataset(args.dataset, workers=args.workers)
  for fault in faults:
    print(fault)
  if faults:
    sys.exit(f"check_records: {args.dataset} is damaged: {len(faults)} faults")
  print(f"{args.dataset}: whole")


if __name__ == "__main__":
  main()
