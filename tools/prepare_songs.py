"""Prepares the songs of a manifest for training.

  python tools/prepare_songs.py songs.jsonl --tokenizer tokenizer.model \
    --out data/songs

reads one song per line (JSON, with the paths of its codec codes relative to
the manifest) and writes a new directory of records, index and description.
Songs that cannot be used are listed in rejected.jsonl and stop nothing.

--content music reads rows without lyrics (one to three tracks, and `genres`
if there are any), --content speech rows of a track `codec` and what is said
in it, `transcript`. Any row may name its `language`.

Ids follow the released vocabulary unless --small-vocab is given: text as
large as the tokenizer, then one codec block of --codebooks times --codes.
"""

import argparse
import os
import pathlib
import sys

from yue_jax.data.flags import add_vocabulary_flags, vocabulary
from yue_jax.data.parts import CONTENTS, Recipe
from yue_jax.data.prepare import prepare
from yue_jax.songs import Rules
from yue_jax.tokenizer import Tokenizer


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    info = _prepare(args)
  except (ValueError, OSError) as error:
    sys.exit(f"prepare_songs: {error}")
  left_out = ", ".join(f"{n} {what}" for what, n in info["left_out"].items())
  print(
    f"{args.out}: {info['songs']} of {info['rows']} songs,"
    f" {info['hours']:.4g} hours, {info['tokens']['cot']} tokens of"
    f" lyrics-to-song documents, {info['tokens']['window']} of windows;"
    f" rejected {sum(info['rejected'].values())} {dict(info['rejected'])};"
    f" left out: {left_out or 'nothing'}"
  )


def _prepare(args: argparse.Namespace) -> dict:
  tokenizer = Tokenizer(args.tokenizer)
  recipe = Recipe(
    tokenizer=tokenizer,
    vocab=vocabulary(args, tokenizer),
    rules=Rules(min_section_seconds=args.min_section_seconds),
    window=args.window,
    windows_per_record=args.windows_per_record,
    content=args.content,
  )
  return prepare(
    args.manifest,
    args.out,
    recipe=recipe,
    workers=args.workers,
    songs_per_shard=args.songs_per_shard,
  )


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("manifest", type=pathlib.Path, help="JSON lines, one song each")
  add("--tokenizer", type=pathlib.Path, required=True, help=".model file")
  add("--out", type=pathlib.Path, required=True, help="a new directory")
  add("--content", choices=CONTENTS, default="songs", help="what a row is")
  add("--window", type=int, default=300, help="frames of a window")
  add(
    "--windows-per-record",
    type=int,
    default=3,
    help="windows read at once: as many as fit into a sample",
  )
  add(
    "--min-section-seconds",
    type=float,
    default=1.0,
    help="shorter sections are dropped",
  )
  add("--workers", type=int, default=os.cpu_count(), help="processes")
  add("--songs-per-shard", type=int, default=512, help="rows in one file")
  add_vocabulary_flags(parser)
  return parser


if __name__ == "__main__":
  main()
