"""Generates a song from lyrics and tags.

  python tools/generate.py --stage1 runs/stage1 --stage2 runs/stage2 \\
    --tokenizer tokenizer.model --lyrics lyrics.txt --tags "pop female airy" \\
    --out songs/1 --seed 0

writes vtrack.npy and itrack.npy, (8, frames) uint16 codes of the vocal and of
the backing track, and song.json: where each section lies, and every setting.
song.json is written last, so a folder that has one is whole.

The lyrics file has sections, each begun by a line such as [verse] or
[pre-chorus]. A clip for the song to resemble is given as codes: vocal and
backing together (the best), or one track.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import json
import os
import pathlib
import sys
import time
from typing import Any

from flax import nnx
import jax
import numpy as np

from yue_jax.checkpoint import Weights, load_weights
from yue_jax.config import MeshConfig
from yue_jax.documents import window_length
from yue_jax.encoding import Phrases
from yue_jax.model import Decoder
from yue_jax.sampling import prompts, song
from yue_jax.sampling.logits import GREEDY, Sampling
from yue_jax.sharding import make_mesh
from yue_jax.tokenizer import Tokenizer
from yue_jax.train.state import decoder_graph
from yue_jax.vocab import MAX_CODEBOOKS, Vocab

TRACK_FILES = {"vocal": "vtrack.npy", "backing": "itrack.npy"}
REFERENCES = ("reference_vocal", "reference_backing", "reference_mixture")


def main(argv: list[str] | None = None) -> None:
  args = parse_args(argv)
  try:
    description = generate(args)
  except (OSError, ValueError) as error:
    sys.exit(f"generate: {error}")
  print(
    f"{args.out}: {len(description['sections'])} sections,"
    f" {description['frames']} frames in"
    f" {sum(description['seconds'].values()):.1f} s"
  )


def generate(args: argparse.Namespace) -> dict[str, Any]:
  """Generates and writes the song; returns what song.json holds."""
  if (args.out / "song.json").exists():
    raise ValueError(f"{args.out} holds a song already; choose another --out")
  settings = track_settings(args)
  tokenizer = Tokenizer(args.tokenizer)
  lyrics = prompts.split_lyrics(args.lyrics.read_text("utf-8"))
  mesh = mesh_of(args)
  stages = [load_weights(path, mesh) for path in (args.stage1, args.stage2)]
  check_together(stages, tokenizer, args)
  prompt = prompts.encode_prompt(
    read_tags(args),
    lyrics,
    tokenizer=tokenizer,
    vocab=stages[0].vocab,
    reference=read_reference(args, stages[0].vocab),
  )
  args.out.mkdir(parents=True, exist_ok=True)
  with jax.set_mesh(mesh):
    start = time.monotonic()
    sections = sing(stages[0], prompt, tokenizer, args, settings)
    middle = time.monotonic()
    tracks = complete(stages[1], sections, args)
    end = time.monotonic()
  description = {
    "frames": tracks[0].shape[1],
    "sections": spans(lyrics, sections),
    "seconds": {"stage1": middle - start, "stage2": end - middle},
    "tags": read_tags(args),
    "settings": {
      name: str(value) if isinstance(value, pathlib.Path) else value
      for name, value in vars(args).items()
    },
    "steps": {f"stage{n}": w.step for n, w in enumerate(stages, start=1)},
    "vocabulary": stages[0].vocab.fingerprint(),
    "tokenizer": tokenizer.fingerprint(),
    "versions": {"jax": jax.__version__, "numpy": np.__version__},
  }
  write(args.out, tracks, description)
  return description


def sing(
  weights: Weights,
  prompt: prompts.Prompt,
  tokenizer: Tokenizer,
  args: argparse.Namespace,
  settings: song.TrackSettings,
) -> list[song.SongSection]:
  (sections,) = song.generate_tracks(
    decoder_of(weights),
    [prompt],
    vocab=weights.vocab,
    phrases=Phrases.encode(tokenizer),
    settings=settings,
    seeds=[args.seed],
  )
  return sections


def complete(
  weights: Weights,
  sections: Sequence[song.SongSection],
  args: argparse.Namespace,
) -> list[np.ndarray]:
  """All codebooks of the vocal and of the backing track, greedily."""
  return song.generate_codebooks(
    decoder_of(weights),
    [np.concatenate(track) for track in zip(*sections, strict=True)],
    vocab=weights.vocab,
    seeds=[(args.seed, track) for track in range(len(TRACK_FILES))],
    window=args.window,
    codebooks=codebooks_of(weights.vocab),
    sampling=GREEDY,
  )


def check_together(
  stages: Sequence[Weights], tokenizer: Tokenizer, args: argparse.Namespace
) -> None:
  """Refuses what would fail, or give noise, after stage 1 has run."""
  first, second = stages
  if first.vocab != second.vocab:
    raise ValueError(
      f"{args.stage1} has vocabulary {first.vocab.fingerprint()},"
      f" {args.stage2} has {second.vocab.fingerprint()}; use two stages of one"
      " vocabulary"
    )
  first.vocab.check_tokenizer(tokenizer.size)
  # <EOA>, the last token of a window, is not generated.
  needed = window_length(args.window, codebooks=codebooks_of(first.vocab)) - 1
  if needed > second.model.max_positions:
    raise ValueError(
      f"--window {args.window} needs {needed} tokens, {args.stage2} has"
      f" max_positions={second.model.max_positions}; give the window it was"
      " trained on"
    )


def mesh_of(args: argparse.Namespace) -> jax.sharding.Mesh:
  cfg = MeshConfig(fsdp=args.fsdp, tensor=args.tensor)
  return make_mesh(cfg, jax.devices()[: args.fsdp * args.tensor])


def decoder_of(weights: Weights) -> Decoder:
  return nnx.merge(decoder_graph(weights.model), weights.params)


def codebooks_of(vocab: Vocab) -> int:
  return min(vocab.codebooks(), MAX_CODEBOOKS)


def track_settings(args: argparse.Namespace) -> song.TrackSettings:
  return song.TrackSettings(
    sampling=Sampling(
      temperature=args.temperature,
      top_k=args.top_k,
      top_p=args.top_p,
      repetition_penalty=args.repetition_penalty,
    ),
    min_frames=args.min_frames,
    max_frames=args.max_frames,
    first_guidance=args.first_guidance,
    later_guidance=args.later_guidance,
  )


def read_tags(args: argparse.Namespace) -> str:
  """The tags given, or those in the file of that name."""
  if os.path.isfile(args.tags):  # False for a text too long to be a name
    return pathlib.Path(args.tags).read_text("utf-8").strip()
  return args.tags


def read_reference(args: argparse.Namespace, vocab: Vocab) -> np.ndarray | None:
  """Ids of the clip that the --reference options describe, if any."""
  given = {name: getattr(args, name) for name in REFERENCES}
  clips = {n: read_clip(p, args) for n, p in given.items() if p is not None}
  match sorted(clips):
    case []:
      return None
    case [name]:
      return prompts.single_reference(clips[name], vocab)
    case ["reference_backing", "reference_vocal"]:
      return prompts.dual_reference(
        clips["reference_vocal"], clips["reference_backing"], vocab
      )
  raise ValueError(
    "give --reference-mixture alone; --reference-vocal and"
    " --reference-backing may come together"
  )


def read_clip(path: pathlib.Path, args: argparse.Namespace) -> np.ndarray:
  """Frames --reference-start and on of a (codebooks, frames) file."""
  codes = np.load(path, allow_pickle=False)
  codes = codes[None] if codes.ndim == 1 else codes
  start, frames = args.reference_start, args.reference_frames
  end = codes.shape[-1] if frames is None else start + frames
  if not 0 <= start < end <= codes.shape[-1]:
    raise ValueError(
      f"{path} has {codes.shape[-1]} frames, the reference is"
      f" {start}..{end}; change --reference-start or --reference-frames"
    )
  return codes[..., start:end]


def spans(
  lyrics: Sequence[str], sections: Sequence[song.SongSection]
) -> list[dict[str, Any]]:
  """Text and frames of each section."""
  ends = np.cumsum([len(section.vocal) for section in sections]).tolist()
  return [
    {"text": text, "start": start, "end": end}
    for text, start, end in zip(lyrics, [0, *ends[:-1]], ends, strict=True)
  ]


def write(
  out: pathlib.Path, tracks: Sequence[np.ndarray], description: dict[str, Any]
) -> None:
  for name, codes in zip(TRACK_FILES.values(), tracks, strict=True):
    np.save(out / name, codes, allow_pickle=False)
  unfinished = out / "song.json.unfinished"
  unfinished.write_text(json.dumps(description, indent=2) + "\n", "utf-8")
  unfinished.replace(out / "song.json")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )

  def add(name, kind=pathlib.Path, **options):
    if "default" in options and options["default"] is not None:
      options["help"] += " (default: %(default)s)"
    parser.add_argument(name, type=kind, **options)

  checkpoint = "run directory (newest checkpoint) or one checkpoint"
  add("--stage1", required=True, help=f"lyrics to two tracks: {checkpoint}")
  add("--stage2", required=True, help=f"residual codebooks: {checkpoint}")
  add("--tokenizer", required=True, help="SentencePiece .model file")
  add("--lyrics", required=True, help="text file")
  add("--tags", str, required=True, help="words, or a file of them")
  add("--out", required=True, help="folder to make")
  add("--seed", int, default=0, help="same seed, same song")
  for name in REFERENCES:
    add(f"--{name.replace('_', '-')}", help=".npy codes of a clip")
  add("--reference-start", int, default=0, help="first frame of the clip")
  add("--reference-frames", int, help="its length (default: to the end)")
  add("--window", int, default=300, help="frames stage 2 was trained on")
  defaults = song.TrackSettings()
  for name in ("min_frames", "max_frames"):
    add(
      f"--{name.replace('_', '-')}",
      int,
      default=getattr(defaults, name),
      help="of a section",
    )
  for name in ("first_guidance", "later_guidance"):
    add(
      f"--{name.replace('_', '-')}",
      float,
      default=getattr(defaults, name),
      help="how strongly the text counts; 1 is off",
    )
  for field in dataclasses.fields(Sampling):
    add(
      f"--{field.name.replace('_', '-')}",
      type(field.default),
      default=field.default,
      help="of stage 1",
    )
  add("--fsdp", int, default=1, help="devices the weights are cut over")
  add("--tensor", int, default=1, help="devices a layer is cut over")
  return parser.parse_args(argv)


if __name__ == "__main__":
  main()
