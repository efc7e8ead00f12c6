"""Embeds songs and their lyrics by CLAP, for tools/evaluate.py.

  python tools/embed.py results --audio wav --model laion/larger_clap_music

writes results/embeddings/clap/ID.npy, one row for each window of a song, and,
if there is results/lyrics.jsonl, results/texts/clap/ID.npy of its text. --audio
has ID/mix.wav of every song, as tools/decode_audio.py writes it, or ID.wav.
Songs that cannot be read are listed, and stop nothing.
"""

import argparse
import pathlib
import sys

import numpy as np

try:
  from yue_jax.audio.reading import FORMATS, Limits, read_audio
  from yue_jax.evaluation.clap import Clap
except ImportError as error:
  sys.exit(f"embed: {error}; pip install 'yue_jax[audio,hf]' torch")
from yue_jax.errors import SongError
from yue_jax.manifest import read_rows
from yue_jax.progress import track


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    rejected = _embed(args)
  except (ValueError, OSError) as error:
    sys.exit(f"embed: {error}")
  for song, reason in rejected.items():
    print(f"rejected {song}: {reason}")


def _embed(args: argparse.Namespace) -> dict[str, str]:
  """Writes the embeddings; returns the songs that have none, with reasons."""
  songs = _songs(args.audio)
  if not songs:
    raise ValueError(f"{args.audio} has neither ID/mix.wav nor ID.wav")
  clap = Clap(args.model)
  rejected = {}
  for song, path in track(songs.items(), len(songs), "songs", "embedding"):
    try:
      sound = read_audio(path, Limits(), rate=clap.sample_rate)
    except SongError as error:
      rejected[song] = str(error)
      continue
    _save(args.results / "embeddings/clap", song, clap.sound(sound.samples))
  lyrics = args.results / "lyrics.jsonl"
  for row in read_rows(lyrics) if lyrics.exists() else []:
    if row["id"] in songs and row["id"] not in rejected:
      text = "\n".join(section["text"] for section in row["sections"])
      (embedding,) = clap.texts([text])
      _save(args.results / "texts/clap", row["id"], embedding)
  return rejected


def _songs(root: pathlib.Path) -> dict[str, pathlib.Path]:
  """The sound of every song, by id."""
  found = {p.stem: p for p in sorted(root.glob("*")) if p.suffix in FORMATS}
  for folder in sorted(root.glob("*/")):
    mixes = [
      folder / f"mix{s}" for s in FORMATS if (folder / f"mix{s}").is_file()
    ]
    if mixes:
      found[folder.name] = mixes[0]
  return found


def _save(folder: pathlib.Path, song: str, array: np.ndarray) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  np.save(folder / f"{song}.npy", array, allow_pickle=False)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("results", type=pathlib.Path, help="folder of a system")
  add("--audio", type=pathlib.Path, required=True, help="folder of sound")
  add("--model", required=True, help="a CLAP model: a folder or a hub name")
  return parser


if __name__ == "__main__":
  main()
