"""Writes the documents of a prepared data set as Megatron's indexed data set.

  python tools/export_megatron.py data/songs --kind cot --out mmap/songs_cot

writes mmap/songs_cot.bin, .idx and .json, for any trainer that reads
Megatron's format and for this one (kinds megatron_dual, megatron_mixture,
...). Documents stand in the order of the data set, and are divided into
sequences as the released preprocessing divides them. Of kind window, a track
is a document and each of its windows a sequence.

Reference clips and whatever else is drawn are those of --epoch and --seed;
export several epochs for different ones. The .json names the vocabulary and
the phrases, which the other two files do not record.
"""

import argparse
from collections.abc import Iterator
import pathlib
import sys

import numpy as np

from yue_jax.data.dataset import Dataset, open_dataset
from yue_jax.data.megatron.files import MegatronDocuments
from yue_jax.data.megatron.meaning import describe, description_path
from yue_jax.data.megatron.sequences import song_sequences, track_sequences
from yue_jax.data.megatron.writer import released_dtype, write_megatron
from yue_jax.data.sources.kinds import KINDS
from yue_jax.progress import track


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    written = _export(args)
  except (OSError, ValueError) as error:
    sys.exit(f"export_megatron: {error}")
  print(
    f"{args.out}: {len(written)} documents of kind {args.kind},"
    f" {written.tokens} tokens, {written.dtype}"
  )


def _export(args: argparse.Namespace) -> MegatronDocuments:
  dataset = open_dataset(args.dataset)
  if not args.out.parent.is_dir():
    raise ValueError(f"no folder {args.out.parent} to write {args.out.name} to")
  how = {"kind": args.kind, "epoch": args.epoch, "seed": args.seed}
  count, documents = _documents(dataset, **how)
  if not count:
    raise ValueError(
      f"{args.dataset} has no documents of kind {args.kind}; left out:"
      f" {dataset.info['left_out']}"
    )
  description = description_path(args.out)
  with open(description, "x") as file:
    file.write(describe(dataset, **how))
  try:
    write_megatron(
      args.out,
      track(documents, count, "documents", "exporting"),
      dtype=released_dtype(dataset.vocab),
    )
  except BaseException:
    description.unlink()
    raise
  return MegatronDocuments(args.out)


def _documents(
  dataset: Dataset, *, kind: str, epoch: int, seed: int
) -> tuple[int, Iterator[list[np.ndarray]]]:
  """How many documents there are, and each as its sequences."""
  if kind == "window":
    return track_sequences(dataset)
  return song_sequences(dataset, kind, epoch=epoch, seed=seed)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("dataset", type=pathlib.Path, help="made by tools/prepare_songs.py")
  add("--kind", choices=KINDS, required=True, help="of documents")
  add("--out", type=pathlib.Path, required=True, help="prefix of new files")
  add("--epoch", type=int, default=0, help="of what is drawn")
  add("--seed", type=int, default=0, help="of what is drawn")
  return parser


if __name__ == "__main__":
  main()
