"""Makes a folder of songs of the small world as sound, lyrics and structure.

  python tools/make_world_audio.py songs --songs 20

writes, for each song, songs/NAME/vocals.wav and accompaniment.wav (16 kHz),
lyrics.txt (or lyrics.lrc with times), structure.json and tags.txt: what people
have who have recordings. A formant singer and plucked chords make the sound of
codes that follow the words (yue_jax/world/rendering.py); it is a demonstration.
The same flags make the same files. --tokenizer writes the tokenizer of the
world's words beside them, for tools/prepare_songs.py. Wants the extra [audio].
"""

import argparse
import itertools
import pathlib
import sys

from yue_jax.progress import track
from yue_jax.whole_directory import whole_directory
from yue_jax.world import corpus, folder, rendering
from yue_jax.world.config import WorldConfig
from yue_jax.world.generator import World


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    _make(args)
  except (ValueError, OSError) as error:
    sys.exit(f"make_world_audio: {error}")


def _make(args: argparse.Namespace) -> None:
  if args.songs < 1:
    raise ValueError(f"--songs {args.songs}, expected at least 1")
  world = (
    corpus.read_world(args.world / "world.json")
    if args.world
    else World(WorldConfig(sections=args.sections))
  )
  songs = corpus.draw(world, "train", seed=args.seed)
  with whole_directory(args.out) as directory:
    drawn = itertools.islice(songs, args.songs)
    for number, song in enumerate(
      track(drawn, args.songs, "songs", "rendering")
    ):
      folder.write_song(
        world,
        song,
        directory / f"{number:06}",
        lrc=args.lrc,
        frame_seconds=args.frame_seconds,
      )
  if args.tokenizer:
    corpus.write_tokenizer(world, args.tokenizer)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("out", type=pathlib.Path, help="a new directory")
  add("--songs", type=int, default=20, help="how many [20]")
  add("--lrc", action="store_true", help="lyrics with times")
  add("--tokenizer", type=pathlib.Path, help="a .model file to write")
  add("--sections", type=int, default=4, help="of a song, three seconds each")
  add("--world", type=pathlib.Path, help="one of make_world.py, instead")
  add("--seed", type=int, default=0, help="of the songs [0]")
  add(
    "--frame-seconds",
    type=float,
    default=rendering.FRAME_SECONDS,
    help=f"how long a frame sounds [{rendering.FRAME_SECONDS}]",
  )
  return parser


if __name__ == "__main__":
  main()
