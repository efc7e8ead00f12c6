"""Makes a listening test: one HTML page that works offline, and its key.

  python tools/make_study.py ours=songs/ours base=songs/base --out studies/1

Folders hold the songs of one system each, as NAME.wav or, made by
tools/generate.py and tools/decode_audio.py, NAME/mix.wav (also NAME/song.wav;
flac, ogg and mp3 as well); songs of one prompt have one name.

OUT/page is for the raters: they open study.html in a browser, compare songs
blindly in the twelve aspects of the paper, and send back a JSON file.
OUT/key.json says which clip is which; tools/analyse_study.py needs it, and
raters must not have it.

Prompts are shown to raters: those of song.json beside NAME/mix.wav, as
tools/generate.py writes it, or --prompts with {"NAME": {"tags": "...",
"lyrics": "..."}}. What a page without prompts cannot ask is left out by
--aspects. See docs/human_study.md.
"""

import argparse
import pathlib
import sys

try:
  from yue_jax.study.aspects import ASPECTS, aspects_named
  from yue_jax.study.clips import Excerpt
  from yue_jax.study.folder import StudyConfig, write_study
  from yue_jax.study.songs import find_prompts, read_prompts, shared_songs
except ImportError as error:
  sys.exit(f"make_study: {error}; pip install 'yue_jax[eval]'")


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    _make(args)
  except (ValueError, OSError) as error:
    sys.exit(f"make_study: {error}")


def _make(args: argparse.Namespace) -> None:
  songs = shared_songs(_systems(args.systems))
  prompts = read_prompts(args.prompts) if args.prompts else find_prompts(songs)
  cfg = StudyConfig(
    title=args.title,
    aspects=aspects_named(args.aspects),
    excerpt=Excerpt(start=args.start, seconds=args.seconds),
    loudness=args.loudness,
    per_rater=args.per_rater,
    seed=args.seed,
    embedded=not args.separate_clips,
  )
  key = write_study(args.out, songs, prompts, cfg)
  size = sum(p.stat().st_size for p in (args.out / "page").rglob("*.*"))
  print(
    f"study {key.study}: {len(key.comparisons)} comparisons of"
    f" {len(key.systems)} systems by {len(songs)} songs\n"
    f"{args.out / 'page'}  for raters ({size / 2**20:.1f} MiB)\n"
    f"{args.out / 'key.json'}  for the analysis; not for raters"
  )


def _systems(given: list[str]) -> dict[str, pathlib.Path]:
  systems: dict[str, pathlib.Path] = {}
  for text in given:
    name, equals, folder = text.partition("=")
    path = pathlib.Path(folder if equals else text)
    name = name if equals else path.name
    if name in systems:
      raise ValueError(f"two systems are called {name}; name them: NAME={path}")
    systems[name] = path
  return systems


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add(
    "systems",
    nargs="+",
    metavar="NAME=FOLDER",
    help="songs of a system; without NAME=, it is called as its folder",
  )
  add("--out", type=pathlib.Path, required=True, help="a new directory")
  add("--prompts", type=pathlib.Path, help="a JSON file; replaces song.json")
  add(
    "--aspects",
    nargs="+",
    default=list(ASPECTS),
    metavar="ASPECT",
    help=f"what is asked [all: {' '.join(ASPECTS)}]",
  )
  add("--title", default="Listening test", help="raters see it [%(default)s]")
  add("--start", type=float, default=0.0, help="of clips, seconds [0]")
  add(
    "--seconds",
    type=float,
    default=30.0,
    help="of a clip at most; inf for whole songs [30]",
  )
  add(
    "--loudness",
    type=float,
    default=-18.0,
    help="LUFS of all clips; less where one would clip [-18]",
  )
  add(
    "--per-rater",
    type=int,
    help="comparisons for one rater, of all systems equally often [all]",
  )
  add("--seed", type=int, default=0, help="of ids, order and sides [0]")
  add(
    "--separate-clips",
    action="store_true",
    help="clips as files beside the page instead of inside it",
  )
  return parser


if __name__ == "__main__":
  main()
