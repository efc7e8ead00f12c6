"""Generates a song from lyrics and tags.

  python tools/generate.py --stage1 runs/stage1 --stage2 runs/stage2 \\
    --tokenizer tokenizer.model --lyrics lyrics.txt --tags "pop female airy" \\
    --out songs/1 --seed 0

writes vtrack.npy and itrack.npy, (8, frames) uint16 codes of the vocal and of
the backing track, and song.json: where each section lies, and every setting.
song.json is written last, so a folder that has one is whole. What stage 1 gave,
codebook 0 alone, is in vtrack0.npy and itrack0.npy before stage 2 begins.

The lyrics file has sections, each begun by a line such as [verse] or
[pre-chorus]. A section without words is instrumental; a file of labels alone
is an instrumental song, and this is printed.

A clip for the song to resemble is given as codes: vocal and backing together
(the best), or one track.
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

import jax
import numpy as np

from yue_jax import lengths
from yue_jax.checkpoint import Weights
from yue_jax.config import MeshConfig
from yue_jax.encoding import Phrases
from yue_jax.sampling import prompts, song, stages
from yue_jax.sampling.logits import GREEDY, Sampling
from yue_jax.sharding import make_mesh
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import MAX_CODEBOOKS, Vocab

# Of the vocal and of the backing track.
TRACK_FILES = ("vtrack.npy", "itrack.npy")
CODEBOOK_0_FILES = ("vtrack0.npy", "itrack0.npy")
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
  first = stages.load_stage(args.stage1, mesh, stage=1)
  second = stages.load_stage(args.stage2, mesh, stage=2)
  window = stages.window_of(second, args.window)
  check_together(first, second, tokenizer, args)
  check_window(second, window, args)
  prompt = prompts.encode_prompt(
    read_tags(args),
    lyrics,
    tokenizer=tokenizer,
    vocab=first.vocab,
    reference=read_reference(args, first.vocab),
  )
  phrases = Phrases.encode(tokenizer)
  if args.max_frames is None:
    settings = shortened(settings, prompt, first, phrases)
  if prompts.is_instrumental(lyrics):
    print(f"{args.lyrics} has labels and no words: an instrumental song")
  args.out.mkdir(parents=True, exist_ok=True)
  with jax.set_mesh(mesh):
    start = time.monotonic()
    sections = sing(first, prompt, phrases, settings, args.seed)
    codebook_0 = [np.concatenate(t) for t in zip(*sections, strict=True)]
    save_tracks(args.out, CODEBOOK_0_FILES, codebook_0)
    middle = time.monotonic()
    tracks = complete(second, codebook_0, window, args.seed)
    end = time.monotonic()
  description = {
    "frames": tracks[0].shape[1],
    "sections": spans(lyrics, sections),
    "seconds": {"stage1": middle - start, "stage2": end - middle},
    "tags": read_tags(args),
    "settings": {
      name: str(value) if isinstance(value, pathlib.Path) else value
      for name, value in vars(args).items()
    }
    | {"window": window, "max_frames": settings.max_frames},
    "steps": {"stage1": first.step, "stage2": second.step},
    "vocabulary": first.vocab.fingerprint(),
    "tokenizer": tokenizer.fingerprint(),
    "versions": {"jax": jax.__version__, "numpy": np.__version__},
  }
  save_tracks(args.out, TRACK_FILES, tracks)
  write_description(args.out, description)
  return description


def sing(
  weights: Weights,
  prompt: prompts.Prompt,
  phrases: Phrases,
  settings: song.TrackSettings,
  seed: int,
) -> list[song.SongSection]:
  (sections,) = song.generate_tracks(
    stages.decoder_of(weights),
    [prompt],
    vocab=weights.vocab,
    phrases=phrases,
    settings=settings,
    seeds=[seed],
  )
  return sections


def complete(
  weights: Weights, codebook_0: Sequence[np.ndarray], window: int, seed: int
) -> list[np.ndarray]:
  """All codebooks of the vocal and of the backing track, greedily."""
  return song.generate_codebooks(
    stages.decoder_of(weights),
    codebook_0,
    vocab=weights.vocab,
    seeds=[(seed, track) for track in range(len(codebook_0))],
    window=window,
    codebooks=codebooks_of(weights.vocab),
    sampling=GREEDY,
  )


def check_together(
  first: Weights,
  second: Weights,
  tokenizer: Tokenizer,
  args: argparse.Namespace,
) -> None:
  """Refuses what would give noise: other vocabularies, other text."""
  if first.vocab != second.vocab:
    raise ValueError(
      f"{args.stage1} has vocabulary {first.vocab.fingerprint()},"
      f" {args.stage2} has {second.vocab.fingerprint()}; use two stages of one"
      " vocabulary"
    )
  first.vocab.check_tokenizer(tokenizer.size)
  for path, weights in ((args.stage1, first), (args.stage2, second)):
    if weights.data is not None and weights.data.tokenizer:
      tokenizer.check_fingerprint(weights.data.tokenizer, of=str(path))


def check_window(
  second: Weights, window: int, args: argparse.Namespace
) -> None:
  """Refuses what would fail only after stage 1 has run."""
  if window < 1:
    raise ValueError(f"--window {window} has no frames; give at least 1")
  # <EOA>, the last token of a window, is not generated.
  needed = lengths.window(window, codebooks=codebooks_of(second.vocab)) - 1
  if needed > second.model.max_positions:
    raise ValueError(
      f"--window {window} needs {needed} tokens, {args.stage2} has"
      f" max_positions={second.model.max_positions}; give the window it was"
      " trained on"
    )


def mesh_of(args: argparse.Namespace) -> jax.sharding.Mesh:
  cfg = MeshConfig(fsdp=args.fsdp, tensor=args.tensor)
  return make_mesh(cfg, jax.devices()[: args.fsdp * args.tensor])


def codebooks_of(vocab: Vocab) -> int:
  return min(vocab.codebooks(), MAX_CODEBOOKS)


def track_settings(args: argparse.Namespace) -> song.TrackSettings:
  longest = song.TrackSettings.max_frames
  return song.TrackSettings(
    sampling=Sampling(
      temperature=args.temperature,
      top_k=args.top_k,
      top_p=args.top_p,
      repetition_penalty=args.repetition_penalty,
    ),
    min_frames=args.min_frames,
    max_frames=longest if args.max_frames is None else args.max_frames,
    first_guidance=args.first_guidance,
    later_guidance=args.later_guidance,
  )


def shortened(
  settings: song.TrackSettings,
  prompt: prompts.Prompt,
  weights: Weights,
  phrases: Phrases,
) -> song.TrackSettings:
  """With sections so long that all of them fit the context of stage 1."""
  row = song.track_row(
    prompt, weights.vocab, phrases=phrases, settings=settings
  )
  fits = song.frames_that_fit(row, weights.model.max_positions)
  # Where not even the shortest fit, stage 1 says so.
  frames = max(settings.min_frames, min(settings.max_frames, fits))
  return dataclasses.replace(settings, max_frames=frames)


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
  codes = load_codes(path)
  codes = codes[None] if codes.ndim == 1 else codes
  start, frames = args.reference_start, args.reference_frames
  end = codes.shape[-1] if frames is None else start + frames
  if not 0 <= start < end <= codes.shape[-1]:
    raise ValueError(
      f"{path} has {codes.shape[-1]} frames, the reference is"
      f" {start}..{end}; change --reference-start or --reference-frames"
    )
  return codes[..., start:end]


def load_codes(path: pathlib.Path) -> np.ndarray:
  try:
    codes = np.lib.format.open_memmap(path, mode="r")
  except OSError:
    raise  # says which file
  except Exception as error:  # a broken header can raise nearly anything
    raise ValueError(
      f"{path} is no .npy array of codes ({error}); give one that np.save"
      " wrote, such as a vtrack.npy"
    ) from error
  if codes.ndim not in (1, 2):
    raise ValueError(
      f"{path} has shape {codes.shape}, expected (codebooks, frames) or"
      " (frames,)"
    )
  return codes


def spans(
  lyrics: Sequence[str], sections: Sequence[song.SongSection]
) -> list[dict[str, Any]]:
  """Text and frames of each section."""
  ends = np.cumsum([len(section.vocal) for section in sections]).tolist()
  return [
    {"text": text, "start": start, "end": end}
    for text, start, end in zip(lyrics, [0, *ends[:-1]], ends, strict=True)
  ]


def save_tracks(
  out: pathlib.Path, names: Sequence[str], tracks: Sequence[np.ndarray]
) -> None:
  for name, codes in zip(names, tracks, strict=True):
    np.save(out / name, codes, allow_pickle=False)


def write_description(out: pathlib.Path, description: dict[str, Any]) -> None:
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
  add(
    "--window",
    int,
    help="frames stage 2 was trained on (default: what its checkpoint says,"
    f" or else {stages.RELEASED_WINDOW})",
  )
  defaults = song.TrackSettings()
  add("--min-frames", int, default=defaults.min_frames, help="of a section")
  add(
    "--max-frames",
    int,
    help=f"of a section (default: {defaults.max_frames}, or as many as let"
    " all sections fit the context of stage 1; song.json says how many)",
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
