"""Imports a Hugging Face folder of a LlamaForCausalLM as a checkpoint.

  python tools/import_hf.py YuE-s1-7B-anneal-en-cot runs/imported

writes runs/imported/checkpoints/0 without optimiser state. Generate from it,
or train on by setting `initial_weights` in an experiment to runs/imported.

runs/imported appears when it is whole, and must not exist before. The same
command goes on after an interruption, in .imported.partial-..., as long as no
file of the folder has changed. Every tensor is checked by its shape, for
infinities and NaNs, and by its checksum where the folder has a checksums.json.
A 7B takes a few hundred MiB of memory, and 25 GiB of the disk.
"""

import argparse
import pathlib
import sys

from yue_jax.exchange.folder import WORKERS, import_folder


def main(argv: list[str] | None = None) -> None:
  args = parse_args(argv)
  try:
    checkpoint = import_folder(
      args.folder,
      args.out,
      rows=args.vocab_rows,
      stage=args.stage,
      workers=args.workers,
    )
  except (OSError, ValueError) as error:
    sys.exit(f"import_hf: {error}")
  print(checkpoint)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("folder", type=pathlib.Path, help="folder to read")
  add("out", type=pathlib.Path, help="run directory to make")
  add(
    "--vocab-rows",
    type=int,
    help="rows of the vocabulary: padding is added, as copies of the last row,"
    " or cut (default: as in the folder); a mesh cuts them into equal parts",
  )
  add(
    "--stage",
    type=int,
    choices=(1, 2),
    help="refuse a folder that says it is of the other one",
  )
  add(
    "--workers",
    type=int,
    default=WORKERS,
    help="tensors that are in memory at once (default: %(default)s)",
  )
  return parser.parse_args(argv)


if __name__ == "__main__":
  main()
