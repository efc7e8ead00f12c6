"""Makes songs of a small world whose every probability is known.

  python tools/make_world.py data/world --train-songs 20000 --heldout-songs 500

writes a new directory with two manifests and their codes (train/songs.jsonl,
heldout/songs.jsonl), the tokenizer of the world's text (tokenizer.model) and
its parameters (world.json). No held-out section has a sequence of words that
a training section has. The process is described in yue_jax/world/generator.py;
the flags below change it.
"""

import argparse
import collections
import dataclasses
import itertools
import pathlib
import sys

from yue_jax.progress import track
from yue_jax.whole_directory import whole_directory
from yue_jax.world import corpus
from yue_jax.world.config import WorldConfig
from yue_jax.world.generator import World


def main() -> None:
  args = _parser().parse_args()
  try:
    _make(args)
  except (ValueError, OSError) as error:
    sys.exit(f"make_world: {error}")


def _make(args: argparse.Namespace) -> None:
  world = World(_config(args))
  with whole_directory(args.out) as directory:
    corpus.write_world(world, directory / "world.json")
    corpus.write_tokenizer(world, directory / "tokenizer.model")
    _write_splits(world, directory, args)


def _write_splits(
  world: World, root: pathlib.Path, args: argparse.Namespace
) -> None:
  seen: set[tuple[int, ...]] = set()
  endless = corpus.draw(world, "train", seed=args.seed)
  train = itertools.islice(endless, args.train_songs)
  for song in _write(world, train, args.train_songs, root / "train"):
    seen |= corpus.lyrics_of(song)
  heldout = corpus.draw_unseen(
    world, songs=args.heldout_songs, seed=args.seed, seen=seen
  )
  written = _write(world, heldout, args.heldout_songs, root / "heldout")
  collections.deque(written, maxlen=0)


def _write(world, songs, count: int, root: pathlib.Path):
  written = corpus.write_songs(world, songs, root)
  return track(written, count, "songs", f"writing {root.name} songs")


def _config(args: argparse.Namespace) -> WorldConfig:
  given = {
    name: tuple(value) if isinstance(value, list) else value
    for name, value in vars(args).items()
    if name in _FIELDS
  }
  return WorldConfig(**given, seed=args.world_seed)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("out", type=pathlib.Path, help="a new directory")
  add("--train-songs", type=_count, required=True)
  add("--heldout-songs", type=_count, required=True)
  add("--seed", type=int, default=0, help="of the songs [0]")
  add("--world-seed", type=int, default=0, help="of the world's tables [0]")
  for name, default in _FIELDS.items():
    several = isinstance(default, tuple)
    kind = type(default[0] if several else default)
    add(
      f"--{name.replace('_', '-')}",
      type=kind,
      nargs="+" if several else None,
      default=default,
      help=f"[{' '.join(map(str, default)) if several else default}]",
    )
  return parser


def _count(text: str) -> int:
  if not text.isdecimal() or not int(text):
    raise argparse.ArgumentTypeError(f"{text!r}, expected a positive integer")
  return int(text)


_FIELDS = {
  field.name: field.default
  for field in dataclasses.fields(WorldConfig)
  if field.name != "seed"  # two seeds, hence named apart
}


if __name__ == "__main__":
  main()
