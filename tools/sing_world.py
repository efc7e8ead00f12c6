"""Generates songs of a small world from unseen lyrics and reads them back.

  python tools/sing_world.py --world data/world --stage1 runs/stage1 \
    --stage2 runs/stage2 --out runs/songs --songs 64

takes tags and lyrics of held-out songs, generates both tracks (stage 1) and
all codebooks (stage 2), reads the words back from the vocal codes and compares
(yue_jax/world/lyrics.py). Writes vtrack.npy, itrack.npy and song.json of every
song, and songs.json with the lyric error rate, that of the same model before
training, and how many residual codes agree with the world. OUT/untrained has
the songs of the model before training, with codebook 0 alone.
"""

import argparse
import json
import pathlib
import sys

import jax
import numpy as np

from yue_jax import config, sharding
from yue_jax.encoding import Phrases
from yue_jax.progress import track
from yue_jax.rehearsal.world_words import WorldWords, error_rate
from yue_jax.sampling import song as singing
from yue_jax.sampling import stages
from yue_jax.sampling.layered import unstack
from yue_jax.sampling.logits import Sampling
from yue_jax.sampling.prompts import encode_prompt
from yue_jax.sampling.windows import generate_codebooks
from yue_jax.tokenizer import Tokenizer
from yue_jax.train.state import init_params
from yue_jax.world import corpus


def main() -> None:
  args = _parser().parse_args()
  try:
    summary = sing(args)
  except (ValueError, OSError) as error:
    sys.exit(f"sing_world: {error}")
  print(json.dumps(summary))


def sing(args: argparse.Namespace) -> dict:
  """Generates, writes and scores the songs; returns songs.json."""
  mesh = sharding.make_mesh(config.MeshConfig(), jax.devices()[:1])
  words = WorldWords(args.world / "world.json")
  world = words.world
  stage1 = stages.load_stage(args.stage1, mesh, stage=1)
  stage2 = stages.load_stage(args.stage2, mesh, stage=2)
  given = _heldout_songs(args, stage1.vocab)
  singer = _Singer(args, stage1.vocab)
  with jax.set_mesh(mesh):
    sung = singer.sing(stage1.decoder, given)
    model = stage1.decoder.cfg
    untrained = unstack(init_params(model, seed=args.seed), model)
    noise = singer.sing(untrained, given)
    tracks = _tracks(sung)
    completed = generate_codebooks(
      stage2.decoder,
      tracks,
      vocab=stage2.vocab,
      seeds=[[args.seed, number] for number in range(len(tracks))],
      window=stages.window_of(stage2.described, args.window),
      codebooks=world.cfg.codebooks,
    )
    full = list(completed)
  true = [words.given([s.text for s in song.sections]) for song in given]
  readings = [words.sung(sections) for sections in sung]
  _write_songs(world, args.out, given, sung, full, readings)
  noises = [words.sung(sections) for sections in noise]
  first = [track[None] for track in _tracks(noise)]
  _write_songs(world, args.out / "untrained", given, noise, first, noises)
  summary = {
    "songs": len(given),
    "lyric_error_rate": error_rate(true, readings),
    "lyric_error_rate_untrained": error_rate(true, noises),
    "residual_agreement": _agreement(world, full),
  }
  (args.out / "songs.json").write_text(json.dumps(summary, indent=2) + "\n")
  return summary


class _Singer:
  """Stage 1 with the settings of the small world."""

  def __init__(self, args: argparse.Namespace, vocab):
    self._tokenizer = Tokenizer(args.world / "tokenizer.model")
    self._phrases = Phrases.encode(self._tokenizer)
    self._vocab, self._seed = vocab, args.seed
    # No guidance: the unconditional branch needs training of its own. No
    # repetition penalty: a syllable is a repetition.
    self._settings = singing.TrackSettings(
      sampling=Sampling(top_k=50, top_p=args.top_p, repetition_penalty=1.0),
      min_frames=1,
      max_frames=args.max_frames,
      first_guidance=1.0,
      later_guidance=1.0,
    )

  def sing(self, decoder, songs):
    prompts = [
      encode_prompt(
        song.tags,
        [section.text for section in song.sections],
        tokenizer=self._tokenizer,
        vocab=self._vocab,
      )
      for song in songs
    ]
    return singing.generate_tracks(
      decoder,
      prompts,
      vocab=self._vocab,
      phrases=self._phrases,
      settings=self._settings,
      seeds=[self._seed + number for number in range(len(songs))],
    )


def _heldout_songs(args, vocab) -> list:
  path = args.world / "heldout/songs.jsonl"
  songs = corpus.read_songs(path, args.songs, vocab=vocab)
  return list(track(songs, args.songs, "songs", "reading"))


def _tracks(sung: singing.Songs) -> list[np.ndarray]:
  """(frames,) codes of the vocal and of the backing, song after song."""
  return [
    np.concatenate(codes) for song in sung for codes in zip(*song, strict=True)
  ]


def _agreement(world, full: list[np.ndarray]) -> float:
  """Share of residual codes that are what codebook 0 implies."""
  codes = np.concatenate(full, axis=1).astype(np.int64)
  return float(np.mean(codes[1:] == world.residuals(codes[0])[1:]))


def _write_songs(world, out, given, sung, full, readings) -> None:
  for number, song in enumerate(given):
    folder = out / song.id
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "vtrack.npy", full[2 * number])
    np.save(folder / "itrack.npy", full[2 * number + 1])
    description = {
      "tags": song.tags,
      "sections": [section.text for section in song.sections],
      "frames": [len(section.vocal) for section in sung[number]],
      "words": [[world.words[w] for w in words] for words in readings[number]],
    }
    text = json.dumps(description, indent=2) + "\n"
    (folder / "song.json").write_text(text)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--world", type=pathlib.Path, required=True, help="by make_world.py")
  add("--stage1", type=pathlib.Path, required=True, help="run or checkpoint")
  add("--stage2", type=pathlib.Path, required=True, help="run or checkpoint")
  add("--out", type=pathlib.Path, required=True, help="directory")
  add("--songs", type=int, default=64, help="from the held-out ones [64]")
  add("--window", type=int, help="frames of stage 2 [as trained]")
  add("--max-frames", type=int, default=40, help="of a section [40]")
  add("--top-p", type=float, default=0.9, help="of stage 1 [0.9]")
  add("--seed", type=int, default=0, help="of the draws [0]")
  return parser


if __name__ == "__main__":
  main()
