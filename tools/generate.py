"""Generates songs from lyrics and tags.

  python tools/generate.py --stage1 runs/stage1 --stage2 runs/stage2 \\
    --tokenizer tokenizer.model --lyrics lyrics.txt --tags "pop female airy" \\
    --out songs/1

makes a folder:

  songs/1/stage1/vtrack.npy itrack.npy   (1, frames) codebook 0 of the vocal and
                                         the backing track, section by section
          stage2/vtrack.npy itrack.npy   (8, frames) all codebooks
          song.json                      where each section lies, every setting,
                                         fingerprints of the checkpoints

song.json comes last: until then there is song.json.unfinished, and the same
command with --resume goes on, to the same song.

The lyrics file has sections, each begun by a line such as [verse] or
[pre-chorus]. A section without words is instrumental; a file of labels alone
is an instrumental song. A clip for the song to resemble is given as codes:
vocal and backing together (the best), or one track.

Several songs are sung side by side, and each is what it would be alone:

  --lyrics a.txt b.txt --tags "pop" --tags "rock" --seeds 0 1    4 songs, in
                                                  OUT/a-0 OUT/a-1 OUT/b-0 ...
  --jobs songs.jsonl       one song a line: {"lyrics": "a.txt", "tags": "pop",
                           "seed": 0, "out": "a", "reference_vocal": "c.npy"}

  --continue-from songs/1 --section 3 --seeds 1 --out songs/2
                           sections 1 and 2 as they are, the others anew; with
                           --only, section 3 alone anew

A song whose sections do not fit the context of stage 1 is sung in passes: its
tags and lyrics and the reference stay, of its sections the nearest.
"""

import argparse
from collections.abc import Iterable
import dataclasses
import pathlib
import sys
from typing import Any

import jax
import numpy as np

from yue_jax import lengths
from yue_jax.checkpoint import find_checkpoint
from yue_jax.checkpoint_files import fingerprint
from yue_jax.config import MeshConfig
from yue_jax.encoding import Phrases
from yue_jax.sampling import jobs, song, song_folder, stages, studio, windows
from yue_jax.sampling.jobs import CLIPS, Job
from yue_jax.sampling.logits import GREEDY, Sampling
from yue_jax.sampling.studio import Models
from yue_jax.sharding import make_mesh
from yue_jax.tokenizer import Tokenizer
from yue_jax.weights import Weights

_INTERRUPTED = 130  # what a shell makes of SIGINT


def main(argv: list[str] | None = None) -> None:
  args = parse_args(argv)
  if not jax.config.jax_compilation_cache_dir:  # JAX_COMPILATION_CACHE_DIR
    jax.config.update("jax_compilation_cache_dir", str(args.compiled))
  try:
    generate(args)
  except (OSError, ValueError) as error:
    sys.exit(f"generate: {error}")
  except KeyboardInterrupt:
    print(
      "generate: interrupted; what was finished is on disk, and the same"
      " command with --resume goes on from there",
      file=sys.stderr,
    )
    sys.exit(_INTERRUPTED)


def generate(args: argparse.Namespace) -> None:
  """Makes all songs that are not whole yet."""
  for name in ("songs_at_once", "windows_at_once"):
    if getattr(args, name) < 1:
      raise ValueError(f"{name}={getattr(args, name)}, expected at least 1")
  asked = jobs_of(args)
  if not args.resume:
    check_new(job.out for job in asked)
  mesh = mesh_of(args)
  models = load(args, mesh)
  opened = [studio.open_song(job, models) for job in asked]
  missing = [job for job in opened if not job.whole]
  print(f"{len(missing)} of {len(asked)} songs to make")
  studio.say_what_is_unusual(missing)
  with jax.set_mesh(mesh):
    for start in range(0, len(missing), args.songs_at_once):
      group = missing[start : start + args.songs_at_once]
      songs = studio.sing(group, models)
      studio.complete(group, songs, models, args.windows_at_once)


def load(args: argparse.Namespace, mesh: jax.sharding.Mesh) -> Models:
  """Reads both checkpoints and refuses what does not go together."""
  tracks = track_settings(args)
  residuals = read_sampling(args, "stage2_")
  tokenizer = Tokenizer(args.tokenizer)
  first = stages.load_stage(args.stage1, mesh, stage=1)
  second = stages.load_stage(args.stage2, mesh, stage=2)
  window = stages.window_of(second.described, args.window)
  check_together(first.described, second.described, tokenizer, args)
  check_window(second.described, window, args)
  if not second.described.kinds:
    check_residuals(second, window, args, mesh)
  description = {
    "settings": {
      "stage1": dataclasses.asdict(tracks),
      "stage2": {
        "window": window,
        "ranges": args.stage2_ranges,
        "sampling": dataclasses.asdict(residuals),
      },
    },
    "checkpoints": {
      name: {
        "step": stage.described.step,
        "fingerprint": fingerprint(find_checkpoint(path)),
      }
      for name, stage, path in (
        ("stage1", first, args.stage1),
        ("stage2", second, args.stage2),
      )
    },
    "vocabulary": first.vocab.fingerprint(),
    "tokenizer": tokenizer.fingerprint(),
    "arguments": {name: _plain(value) for name, value in vars(args).items()},
    "versions": {"jax": jax.__version__, "numpy": np.__version__},
  }
  return Models(
    tokenizer,
    Phrases.encode(tokenizer),
    first,
    second,
    tracks,
    residuals,
    window,
    args.stage2_ranges,
    description,
  )


def _plain(value: Any) -> Any:
  """As JSON can hold it: paths as text, in lists as well."""
  if isinstance(value, list):
    return [_plain(item) for item in value]
  return str(value) if isinstance(value, pathlib.Path) else value


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
  needed = lengths.window(window, codebooks=second.vocab.window_codebooks) - 1
  if needed > second.model.max_positions:
    raise ValueError(
      f"--window {window} needs {needed} tokens, {args.stage2} has"
      f" max_positions={second.model.max_positions}; give the window it was"
      " trained on"
    )


def check_residuals(
  second: stages.Stage,
  window: int,
  args: argparse.Namespace,
  mesh: jax.sharding.Mesh,
) -> None:
  """Refuses a model of stage 1 that does not say that it is one."""
  try:
    with jax.set_mesh(mesh):
      windows.check_stage_2(second.decoder, second.vocab, window=window)
  except ValueError as error:
    raise ValueError(f"--stage2 {args.stage2}: {error}") from error


def check_new(folders: Iterable[pathlib.Path]) -> None:
  """Refuses folders that hold a song."""
  for folder in folders:
    if (stored := song_folder.read_song(folder)) is not None:
      raise ValueError(
        f"{folder} holds {'a' if stored.whole else 'an unfinished'} song"
        " already; choose another --out, or add --resume"
      )


def mesh_of(args: argparse.Namespace) -> jax.sharding.Mesh:
  cfg = MeshConfig(fsdp=args.fsdp, tensor=args.tensor)
  return make_mesh(cfg, jax.devices()[: args.fsdp * args.tensor])


def track_settings(args: argparse.Namespace) -> song.TrackSettings:
  return song.TrackSettings(
    sampling=read_sampling(args, ""),
    min_frames=args.min_frames,
    max_frames=args.max_frames,
    first_guidance=args.first_guidance,
    later_guidance=args.later_guidance,
  )


def read_sampling(args: argparse.Namespace, prefix: str) -> Sampling:
  names = [field.name for field in dataclasses.fields(Sampling)]
  return Sampling(**{name: getattr(args, prefix + name) for name in names})


def jobs_of(args: argparse.Namespace) -> list[Job]:
  """The songs that the options ask for, each with a folder of its own."""
  common = {
    name: getattr(args, name)
    for name in (
      *CLIPS,
      *("reference_start", "reference_frames"),
      *("continue_from", "section", "only"),
    )
  }
  if args.jobs is not None:
    if args.lyrics or args.tags:
      raise ValueError(
        "--jobs names lyrics and tags; leave out --lyrics, --tags"
      )
    asked = jobs.read_jobs(args.jobs, {"out": args.out, **common}, args.seeds)
  else:
    asked = jobs.combine(args.lyrics, args.tags, args.seeds, args.out, common)
  jobs.check_folders(asked)
  return asked


def parse_args(argv: list[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )

  def add(name, kind=pathlib.Path, **options):
    if options.get("default") not in (None, []):
      options["help"] += " (default: %(default)s)"
    parser.add_argument(name, type=kind, **options)

  several = {"nargs": "+", "action": "extend", "default": []}
  checkpoint = "run directory (newest checkpoint) or one checkpoint"
  add("--stage1", required=True, help=f"lyrics to two tracks: {checkpoint}")
  add("--stage2", required=True, help=f"residual codebooks: {checkpoint}")
  add("--tokenizer", required=True, help="SentencePiece .model file")
  add("--lyrics", **several, help="text file, or several")
  add(
    "--tags",
    str,
    action="append",
    default=[],
    help="words, or a file of them; once for all songs, or once for each of"
    " the lyrics",
  )
  add(
    "--seeds",
    int,
    nargs="+",
    default=[0],
    help="one song for each; same seed, same song",
  )
  add("--jobs", help="songs as JSON lines, in place of --lyrics and --tags")
  add("--out", required=True, help="folder to make; of several songs, theirs")
  parser.add_argument(
    "--resume",
    action="store_true",
    help="go on with songs that are not finished, skip those that are",
  )
  for name in CLIPS:
    add(f"--{name.replace('_', '-')}", help=".npy codes of a clip")
  add("--reference-start", int, default=0, help="first frame of the clip")
  add("--reference-frames", int, help="its length (default: to the end)")
  add("--continue-from", help="folder of a song whose sections are taken over")
  add("--section", int, help="the first that is sung anew, counted from 1")
  parser.add_argument(
    "--only",
    action="store_true",
    help="sing no other section anew, and keep those after it",
  )
  defaults = song.TrackSettings()
  add("--min-frames", int, default=defaults.min_frames, help="of a section")
  add("--max-frames", int, default=defaults.max_frames, help="of a section")
  for name in ("first_guidance", "later_guidance"):
    add(
      f"--{name.replace('_', '-')}",
      float,
      default=getattr(defaults, name),
      help="how strongly the text counts; 1 is off",
    )
  for prefix, sampling in (("", defaults.sampling), ("stage2-", GREEDY)):
    for field in dataclasses.fields(Sampling):
      add(
        f"--{prefix}{field.name.replace('_', '-')}",
        type(field.default),
        default=getattr(sampling, field.name),
        help="of stage 2; temperature 0 is greedy" if prefix else "of stage 1",
      )
  add(
    "--stage2-ranges",
    str,
    choices=tuple(studio.RANGES),
    default="own",
    help="the ids of each residual code: those of its codebook, or those of all"
    " seven as in the released code",
  )
  add(
    "--window",
    int,
    help="frames stage 2 was trained on (default: what its checkpoint says,"
    f" or else {stages.RELEASED_WINDOW})",
  )
  add("--songs-at-once", int, default=8, help="sung side by side at most")
  add("--windows-at-once", int, default=64, help="of stage 2 at most")
  add(
    "--compiled",
    default="runs/compiled",
    help="where compiled programs are kept for the next songs",
  )
  add("--fsdp", int, default=1, help="devices the weights are cut over")
  add("--tensor", int, default=1, help="devices a layer is cut over")
  return parser.parse_args(argv)


if __name__ == "__main__":
  main()
