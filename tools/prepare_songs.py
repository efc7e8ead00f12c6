"""Prepares the songs of manifests for training.

  python tools/prepare_songs.py 'songs/*.jsonl.gz' --tokenizer tokenizer.model \
    --out data/songs

reads one song per line (JSON, with the paths of its codec codes) and writes a
new directory of records, index and description. Rows that cannot be used are
listed in rejected.jsonl with the reason, and stop nothing.

Finished parts are kept in the folder OUT.parts, beside OUT, until all are
there. The same command continues after an interruption, and writes what it
would have written without one. Machines that share the folder can divide the
work: with --shard 0/4 ... --shard 3/4 each writes its parts only, and then
the same command without --shard joins them (and writes what is missing).

Paths of codes are relative to the folder of their manifest, or to --root, and
must lie inside it, links followed. A row whose path leads out is rejected.

--beam writes the parts with Apache Beam (pip install '.[beam]', in an
environment of its own), on the runner that its flags name, as in
--beam --runner=DirectRunner --direct_num_workers=4.

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
from typing import Any

from yue_jax.data.flags import add_vocabulary_flags, vocabulary
from yue_jax.data.preparing.prepare import prepare, prepare_shard
from yue_jax.data.preparing.recipe import CONTENTS, Recipe
from yue_jax.songs import Rules
from yue_jax.tokenizer import Tokenizer


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  if args.shard and args.beam is not None:
    sys.exit("prepare_songs: --shard or --beam, not both: Beam divides it")
  try:
    settings = _settings(args)
    if args.beam is not None:
      from yue_jax.data.preparing.beam import prepare_on_beam  # an extra

      del settings["workers"]
      info = prepare_on_beam(
        args.manifests, args.out, flags=args.beam, **settings
      )
      _report(args.out, info)
    elif args.shard:
      done, parts = prepare_shard(
        args.manifests, args.out, shard=args.shard, **settings
      )
      print(f"{args.out}: {done} of {parts} parts are there")
    else:
      _report(args.out, prepare(args.manifests, args.out, **settings))
  except (ValueError, OSError) as error:
    sys.exit(f"prepare_songs: {error}")


def _report(out: pathlib.Path, info: dict[str, Any]) -> None:
  left_out = ", ".join(f"{n} {what}" for what, n in info["left_out"].items())
  tokens = ", ".join(
    f"{n} of {kind}" for kind, n in info["tokens"].items() if n
  )
  print(
    f"{out}: {info['songs']} of {info['rows']} songs,"
    f" {info['hours']:.4g} hours; tokens: {tokens};"
    f" rejected {sum(info['rejected'].values())} {info['rejected']};"
    f" left out: {left_out or 'nothing'}"
  )


def _settings(args: argparse.Namespace) -> dict[str, Any]:
  tokenizer = Tokenizer(args.tokenizer)
  recipe = Recipe(
    tokenizer=tokenizer,
    vocab=vocabulary(args, tokenizer),
    rules=Rules(min_section_seconds=args.min_section_seconds),
    window=args.window,
    windows_per_record=args.windows_per_record,
    content=args.content,
  )
  return {
    "recipe": recipe,
    "root": args.root,
    "workers": args.workers,
    "shard_mib": args.shard_mib,
    "songs_per_shard": args.songs_per_shard,
  }


def _shard(text: str) -> tuple[int, int]:
  index, slash, count = text.partition("/")
  if not (slash and index.isdecimal() and count.isdecimal()):
    raise argparse.ArgumentTypeError(f"{text!r}, expected i/n, as 0/4")
  return int(index), int(count)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add(
    "manifests",
    nargs="+",
    metavar="MANIFEST",
    help="files of JSON lines or globs of them, .gz too",
  )
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
  add("--root", type=pathlib.Path, help="folder of all codes")
  add(
    "--shard-mib",
    type=float,
    default=256,
    help="size of a shard of songs and its shard of windows together, about",
  )
  add("--songs-per-shard", type=int, default=8192, help="most rows of a shard")
  add(
    "--shard",
    type=_shard,
    metavar="I/N",
    help="write only the parts whose number is I modulo N, and do not join",
  )
  add_vocabulary_flags(parser)
  add(
    "--beam",
    nargs=argparse.REMAINDER,
    metavar="FLAG",
    help="write the parts with Apache Beam; all that follows are its flags",
  )
  return parser


if __name__ == "__main__":
  main()
