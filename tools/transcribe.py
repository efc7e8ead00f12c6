"""Writes what is heard of songs, for tools/evaluate.py.

  python tools/transcribe.py results --audio wav --model openai/whisper-large-v3
  python tools/transcribe.py results --audio wav --command "asr {audio}"
  python tools/transcribe.py results --world runs/demo/world

reads results/lyrics.jsonl (see yue_jax/evaluation/transcripts.py) and writes
results/transcripts.jsonl, section by section. Where there are no lyrics yet
they are made of the folders of tools/generate.py in results/songs, for which
--language has to be given. --audio has ID/vocal.wav of every song, as
tools/decode_audio.py writes it, or ID.wav: the voice alone. --world reads the
words of a small world from the codes, and needs no sound.

Songs that were transcribed before are not heard again.
"""

import argparse
from collections.abc import Callable
import json
import pathlib
import sys
from typing import Any

import numpy as np

try:
  from yue_jax.evaluation import transcription
  from yue_jax.evaluation.normalise import LANGUAGES
  from yue_jax.evaluation.results import Results
except ImportError as error:
  sys.exit(f"transcribe: {error}; pip install 'yue_jax[audio,eval]'")
from yue_jax.codec import FRAME_RATE
from yue_jax.json_lines import JsonLines, read_lines
from yue_jax.manifest import read_rows
from yue_jax.progress import track
from yue_jax.sheets.labelled import split_label
from yue_jax.world import corpus, lyrics


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    _transcribe(args)
  except (ValueError, OSError) as error:
    sys.exit(f"transcribe: {error}")


def _transcribe(args: argparse.Namespace) -> None:
  path = args.results / "lyrics.jsonl"
  if not path.exists():
    path.write_text(_lyrics_of_songs(args.results, args.language))
  rows = read_rows(path)
  out = args.results / "transcripts.jsonl"
  done = {row["id"] for row in read_lines(out)}
  hear = _hearing(args)
  written = JsonLines(out, keep=lambda row: True)
  try:
    left = [row for row in rows if row["id"] not in done]
    for row in track(left, len(left), "songs", "transcribing"):
      written.write(hear(row))
  finally:
    written.close()
  print(out)


def _hearing(args: argparse.Namespace) -> Callable[[dict], dict]:
  """The function from a row of lyrics to one of transcripts."""
  if args.world is not None:
    world = corpus.read_world(args.world / "world.json")
    codes = Results(args.results).codes("vocal")
    return lambda row: _read_words(world, row, codes)
  if args.audio is None:
    raise ValueError("--audio is needed, a folder with the voice of every song")
  if args.command is not None:
    hear = transcription.command_recogniser(args.command)
  else:
    hear = transcription.model_recogniser(args.model)
  return lambda row: transcription.transcribe(
    row, transcription.find_audio(args.audio, row["id"]), hear
  )


def _read_words(
  world, row: dict[str, Any], codes: dict[str, np.ndarray]
) -> dict:
  if row["id"] not in codes:
    raise ValueError(f"song {row['id']!r} has lyrics, but no codes in songs/")
  parts = [
    codes[row["id"]][
      slice(*(round(s[t] * FRAME_RATE) for t in ("start", "end")))
    ]
    for s in row["sections"]
  ]
  readings = lyrics.read(world, parts)
  sections = [
    {"label": s["label"], "text": " ".join(world.words[w] for w in r.words)}
    for s, r in zip(row["sections"], readings, strict=True)
  ]
  return {"id": row["id"], "sections": sections}


def _lyrics_of_songs(results: pathlib.Path, language: str | None) -> str:
  """lyrics.jsonl of the songs that tools/generate.py wrote."""
  if language is None:
    raise ValueError(
      f"{results} has no lyrics.jsonl; say the --language of its songs, and it"
      " is made of songs/*/song.json"
    )
  paths = sorted(results.glob("songs/*/song.json"))
  if not paths:
    raise ValueError(f"{results} has neither lyrics.jsonl nor finished songs")
  rows = []
  for path in paths:
    song = json.loads(path.read_text("utf-8"))
    sections = [
      {
        "label": _label(section["text"]),
        "text": section["text"],
        "start": section["start"] / FRAME_RATE,
        "end": section["end"] / FRAME_RATE,
      }
      for section in song["sections"]
    ]
    row = {"id": path.parent.name, "language": language, "sections": sections}
    rows.append(json.dumps(row, ensure_ascii=False) + "\n")
  return "".join(rows)


def _label(text: str) -> str:
  found = split_label(text.strip().partition("\n")[0])
  return found[0] if found else ""


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("results", type=pathlib.Path, help="folder of a system")
  add("--audio", type=pathlib.Path, help="folder with the songs' voices")
  add("--language", choices=LANGUAGES, help="of songs without lyrics.jsonl")
  how = parser.add_mutually_exclusive_group(required=True)
  how.add_argument("--model", help="of transformers: a folder or a name")
  how.add_argument("--command", help="with {audio}, perhaps {language}")
  how.add_argument("--world", type=pathlib.Path, help="by make_world.py")
  return parser


if __name__ == "__main__":
  main()
