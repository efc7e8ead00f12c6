"""Exports a checkpoint as a folder that Hugging Face's LlamaForCausalLM loads.

  python tools/export_hf.py runs/stage1 exports/stage1 --dtype bfloat16 \\
    --tokenizer tokenizer.model

writes config.json, generation_config.json, safetensors shards with an index,
checksums.json, the tokenizer, vocabulary.json and a model card. Of several
checkpoints of a run, the mean of their weights is exported:

  python tools/export_hf.py runs/stage1/checkpoints/{8000,9000,10000} OUT

OUT appears when it is whole. The same command goes on after an interruption:
files that are finished are checked and kept, in .OUT.partial-..., which other
settings or checkpoints do not use (remove it to give them up). A 7B takes a few
hundred MiB of memory.
"""

import argparse
import pathlib
import sys

from yue_jax.checkpoint import find_checkpoint
from yue_jax.checkpoint_files import fingerprint
from yue_jax.exchange.folder import WORKERS, export_folder
from yue_jax.exchange.mean import mean_weights
from yue_jax.exchange.shards import DTYPES
from yue_jax.weights import check_stage, open_weights


def main(argv: list[str] | None = None) -> None:
  args = parse_args(argv)
  try:
    found = [find_checkpoint(path) for path in args.checkpoints]
    opened = [open_weights(path) for path in found]
    for path, weights in zip(found, opened, strict=True):
      check_stage(weights, args.stage, of=path)
    steps = [weights.step for weights in opened]
    export_folder(
      args.out,
      mean_weights(opened) if len(opened) > 1 else opened[0],
      dtype=args.dtype,
      shard_bytes=round(args.shard_gib * 2**30),
      tokenizer_model=args.tokenizer,
      rows=args.vocab_rows,
      steps=steps,
      source=" ".join(map(fingerprint, found)),
      workers=args.workers,
    )
  except (OSError, ValueError) as error:
    sys.exit(f"export_hf: {error}")
  which = ", ".join(map(str, steps))
  print(f"{args.out}: weights of step {which} as {args.dtype}")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add(
    "checkpoints",
    type=pathlib.Path,
    nargs="+",
    metavar="RUN_OR_CHECKPOINT",
    help="a run directory (newest checkpoint) or one checkpoint",
  )
  add("out", type=pathlib.Path, help="folder to make")
  add(
    "--dtype",
    choices=sorted(DTYPES),
    default="float32",
    help="of the stored weights (default: %(default)s, exact)",
  )
  add(
    "--shard-gib",
    type=float,
    default=4.0,
    help="most GiB of tensors in one file (default: %(default)s)",
  )
  add(
    "--tokenizer",
    type=pathlib.Path,
    help="SentencePiece .model to include, that of training",
  )
  add(
    "--vocab-rows",
    type=int,
    help="rows of the vocabulary: padding is added, as copies of the last row,"
    " or cut (default: as trained; the released stage 1 has 83968, stage 2"
    " 83840, and 83734 are ids)",
  )
  add(
    "--stage",
    type=int,
    choices=(1, 2),
    help="refuse a checkpoint that was trained for the other one",
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
