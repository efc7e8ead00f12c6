"""Makes generated songs of a small world audible.

  python tools/render_world.py runs/demo/songs --world runs/demo/world \
    --out runs/demo/wav

writes ID.wav for every song of a folder of songs (by tools/sing_world.py, or
by tools/generate.py with the world's models), and, where ID is one of the
world's held-out songs, ID.true.wav, the song those lyrics come from. A formant
singer and plucked chords play what codebook 0 says, one frame every 100 ms
(yue_jax/world/rendering.py): no codec, and no measure of anything; words that a
model sings wrong are heard. Wants the extra [audio].
"""

import argparse
import pathlib
import sys

import numpy as np

from yue_jax.manifest import read_manifest
from yue_jax.progress import track
from yue_jax.sampling.song_folder import TRACKS, load_codes
from yue_jax.whole_directory import whole_directory
from yue_jax.world import corpus, folder, rendering
from yue_jax.world.generator import World
from yue_jax.world.manifest import track_path

_PLACES = (".", "stage2", "stage1")  # of the codes, inside a song's folder


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    _render(args)
  except (ValueError, OSError) as error:
    sys.exit(f"render_world: {error}")


def _render(args: argparse.Namespace) -> None:
  world = corpus.read_world(args.world / "world.json")
  found = find_songs(args.songs)[: args.count]
  heldout = args.world / "heldout"
  known = _ids(heldout / "songs.jsonl")
  with whole_directory(args.out) as directory:
    for song in track(found, len(found), "songs", "rendering"):
      _write(world, tracks_of(song), directory / f"{song.name}.wav")
      if song.name in known:
        true = [
          load_codes(heldout / track_path(song.name, name))
          for name in ("vocal", "backing")
        ]
        _write(world, true, directory / f"{song.name}.true.wav")
  print(f"{args.out}: {len(found)} songs to play")


def find_songs(root: pathlib.Path) -> list[pathlib.Path]:
  """Folders of songs: `root` itself, or those inside it, by name."""
  places = (f"{place}/{TRACKS[0]}" for place in _PLACES)
  found = {
    path.parent if path.parent.name not in _PLACES else path.parent.parent
    for place in places
    for path in (*root.glob(place), *root.glob(f"*/{place}"))
  }
  if not found:
    raise ValueError(f"{root} holds no songs; expected folders with {TRACKS}")
  return sorted(found)


def tracks_of(song: pathlib.Path) -> list[np.ndarray]:
  """Codes of the vocal and of the backing track, (codebooks, frames)."""
  for place in _PLACES:
    if all((song / place / name).exists() for name in TRACKS):
      return [load_codes(song / place / name) for name in TRACKS]
  raise ValueError(f"{song} lacks one of {TRACKS}")


def _ids(path: pathlib.Path) -> set[str]:
  if not path.exists():
    return set()
  return {row["id"] for _, row in read_manifest(path)}


def _write(world: World, tracks: list[np.ndarray], path: pathlib.Path) -> None:
  folder.write_wav(path, rendering.render(world, *tracks).mixture)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("songs", type=pathlib.Path, help="folder of songs, or of one")
  add("--world", type=pathlib.Path, required=True, help="by make_world.py")
  add("--out", type=pathlib.Path, required=True, help="a new directory")
  add("--count", type=int, help="only the first so many [all]")
  return parser


if __name__ == "__main__":
  main()
