"""Exports the adapters of a run, for PEFT, or merged with their weights.

  python tools/export_lora.py runs/lora exports/lora \\
    --base-model m-a-p/YuE-s1-7B-anneal-en-cot

writes a folder that PEFT loads on a LlamaForCausalLM of these weights:

  model = PeftModel.from_pretrained(model, "exports/lora")

  python tools/export_lora.py runs/lora exports/merged --merged --dtype bfloat16

writes a whole model instead, as tools/export_hf.py does: W + s * A B for every
weight with an adapter, summed in float32. The weights are read from where they
lay in training, or from --base, a box at a time: of a 7B, a few hundred MiB and
its adapters are in memory. OUT appears when it is whole.
"""

import argparse
import pathlib
import sys

import jax

from yue_jax.checkpoint import find_checkpoint
from yue_jax.config import MeshConfig
from yue_jax.exchange.adapter import export_adapter
from yue_jax.exchange.folder import export_folder
from yue_jax.exchange.merged import merged_weights
from yue_jax.exchange.shards import DTYPES
from yue_jax.sharding import make_mesh
from yue_jax.weights import describe_weights, load_adapters


def main(argv: list[str] | None = None) -> None:
  args = parse_args(argv)
  mesh = make_mesh(MeshConfig(), jax.devices("cpu")[:1])
  try:
    checkpoint = find_checkpoint(args.checkpoint)
    adapters = load_adapters(checkpoint, mesh)
    if args.merged:
      described = describe_weights(checkpoint)
      export_folder(
        args.out,
        merged_weights(described, adapters, args.base),
        dtype=args.dtype,
        shard_bytes=round(args.shard_gib * 2**30),
        tokenizer_model=args.tokenizer,
        rows=described.model.vocab_size,
      )
    else:
      export_adapter(args.out, adapters, base_model=args.base_model)
  except (OSError, ValueError) as error:
    notes = getattr(error, "__notes__", [])
    sys.exit("\n".join([f"export_lora: {error}", *notes]))
  what = f"{args.out}: adapters of step {adapters.step}, rank"
  what += f" {adapters.lora.rank} on {', '.join(adapters.lora.targets)}"
  print(f"{what}, merged as {args.dtype}" if args.merged else what)


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
    "--base-model",
    help="name or folder of the Hugging Face model that PEFT is to load",
  )
  merged = parser.add_argument_group("a whole model")
  merged.add_argument("--merged", action="store_true", help="write one")
  merged.add_argument(
    "--base",
    type=pathlib.Path,
    help="run or checkpoint with the weights, if they were moved",
  )
  merged.add_argument(
    "--dtype",
    choices=sorted(DTYPES),
    default="float32",
    help="of the stored weights (default: %(default)s, exact)",
  )
  merged.add_argument(
    "--shard-gib",
    type=float,
    default=4.0,
    help="most GiB of tensors in one file (default: %(default)s)",
  )
  merged.add_argument(
    "--tokenizer",
    type=pathlib.Path,
    help="SentencePiece .model to include, that of training",
  )
  return parser.parse_args(argv)


if __name__ == "__main__":
  main()
