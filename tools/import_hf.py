"""Imports a Hugging Face folder of a LlamaForCausalLM as a checkpoint.

  python tools/import_hf.py YuE-s1-7B-anneal-en-cot runs/imported

writes runs/imported/checkpoints/0 without optimiser state. Generate from it,
or train on by setting `initial_weights` in an experiment to runs/imported.
"""

import argparse
import pathlib
import sys

from yue_jax.checkpoint import save_weights
from yue_jax.exchange.folder import import_folder


def main(argv: list[str] | None = None) -> None:
  args = parse_args(argv)
  try:
    if args.out.exists():
      raise FileExistsError(f"{args.out} exists; choose another name")
    weights = import_folder(args.folder)
    checkpoint = save_weights(args.out, weights)
  except (OSError, ValueError) as error:
    sys.exit(f"import_hf: {error}")
  print(f"{checkpoint}: {weights.model}")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("folder", type=pathlib.Path, help="folder to read")
  parser.add_argument("out", type=pathlib.Path, help="run directory to make")
  return parser.parse_args(argv)


if __name__ == "__main__":
  main()
