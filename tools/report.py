"""One HTML page of one or several runs: curves, time, songs.

  python tools/report.py runs/demo/stage1 runs/demo/stage2 --out report.html

Losses by stream against the floors of the small world (of scores.json, which
tools/score_world.py writes, beside the runs), rate, gradient norm, throughput,
where the time went, and songs that lie in a run, or in `song` or `songs`
beside it: codes as a picture, words, and players for sound files. The page
loads nothing from anywhere. Runs may still be running.
"""

import argparse
import pathlib
import sys

from yue_jax.report import songs
from yue_jax.report.page import page
from yue_jax.report.runs import read_runs


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    runs = read_runs(args.runs, args.scores)
    if args.songs:
      folders = songs.folders_in(*args.songs)
      if not folders and args.most_songs:
        raise ValueError(
          f"no song.json in {', '.join(map(str, args.songs))}; expected folders"
          " of tools/generate.py or tools/sing_world.py"
        )
    else:
      near = (songs.beside(run.path) for run in runs)
      folders = list(dict.fromkeys(f for found in near for f in found))
    samples = [songs.read_sample(f) for f in folders[: args.most_songs]]
    text = page(
      runs, samples, by=args.by, sound_bytes=int(args.sound_mib * 2**20)
    )
    args.out.write_text(text, encoding="utf-8")
  except (ValueError, OSError) as error:
    sys.exit(f"report: {error}")
  print(args.out)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("runs", type=pathlib.Path, nargs="+", metavar="RUN", help="its directory")
  add("--out", type=pathlib.Path, required=True, help="page to write")
  add("--by", choices=("steps", "tokens"), default="steps", help="[steps]")
  add("--scores", type=pathlib.Path, help="floors [scores.json beside a run]")
  add(
    "--songs",
    type=pathlib.Path,
    nargs="+",
    help="folders of songs, or of such folders [those beside the runs]",
  )
  add("--most-songs", type=int, default=6, help="that are shown [6]")
  add(
    "--sound-mib",
    type=float,
    default=16.0,
    help="largest sound file that is embedded [16]",
  )
  return parser


if __name__ == "__main__":
  main()
