"""Exports a checkpoint as a folder that Hugging Face's LlamaForCausalLM loads.

  python tools/export_hf.py runs/stage1 exports/stage1 --dtype bfloat16 \\
    --tokenizer tokenizer.model

writes config.json, generation_config.json, safetensors shards with an index,
the tokenizer, vocabulary.json and a model card. OUT appears when it is whole.
"""

import argparse
import pathlib
import sys

import jax

from yue_jax.checkpoint import load_weights
from yue_jax.config import MeshConfig
from yue_jax.exchange.folder import export_folder
from yue_jax.exchange.shards import DTYPES
from yue_jax.sharding import make_mesh


def main(argv: list[str] | None = None) -> None:
  args = parse_args(argv)
  # On the host: a whole model need not fit on one accelerator.
  mesh = make_mesh(MeshConfig(), jax.devices("cpu")[:1])
  try:
    weights = load_weights(args.checkpoint, mesh)
    export_folder(
      args.out,
      weights,
      dtype=args.dtype,
      shard_bytes=round(args.shard_gib * 2**30),
      tokenizer_model=args.tokenizer,
    )
  except (OSError, ValueError) as error:
    sys.exit(f"export_hf: {error}")
  print(f"{args.out}: weights of step {weights.step} as {args.dtype}")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "checkpoint",
    type=pathlib.Path,
    metavar="RUN_OR_CHECKPOINT",
    help="a run directory (newest checkpoint) or one checkpoint",
  )
  parser.add_argument("out", type=pathlib.Path, help="folder to make")
  parser.add_argument(
    "--dtype",
    choices=sorted(DTYPES),
    default="float32",
    help="of the stored weights (default: %(default)s, exact)",
  )
  parser.add_argument(
    "--shard-gib",
    type=float,
    default=4.0,
    help="most GiB of tensors in one file (default: %(default)s)",
  )
  parser.add_argument(
    "--tokenizer",
    type=pathlib.Path,
    help="SentencePiece .model to include, that of training",
  )
  return parser.parse_args(argv)


if __name__ == "__main__":
  main()
