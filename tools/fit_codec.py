"""Fits the embedded codec on a folder of sound.

  python tools/fit_codec.py songs --out runs/codec

reads every wav, flac, mp3 and ogg below the folder (a few minutes are enough
to try it, half an hour is better), and writes a codec of 8 codebooks of 1,024
codes at 50 frames a second: codec.json and codebooks.safetensors. With less
than three minutes of sound fewer codes of each are used, and it says so. The
same files, flags and seed give the same codec.

No download is needed, and the sound is accordingly: a vocoder from mel bands.
What is printed, and kept in codec.json, says how far what is decoded is from
what was encoded. tools/encode_audio.py and tools/decode_audio.py take the
folder as --codec. Files that cannot be used are listed with the reason.

Needs the extra [audio].
"""

import argparse
import pathlib
import sys

try:
  from yue_jax.audio import fitting, mel_codec, reading
except ModuleNotFoundError as error:
  sys.exit(f"fit_codec: {error}; pip install '.[audio]'")


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    fit(args)
  except (ValueError, OSError) as error:
    sys.exit(f"fit_codec: {error}")


def fit(args: argparse.Namespace) -> None:
  """Fits and writes the codec, and says how good it is."""
  if args.out.exists():
    raise FileExistsError(f"{args.out} exists; choose another --out")
  settings = fitting.FitSettings(
    codebooks=args.codebooks,
    codebook_size=args.codebook_size,
    mels=args.mels,
    frames=args.frames,
    seed=args.seed,
  )
  files = reading.sound_files(args.folder)
  sample = fitting.sample_frames(files, settings)
  for _, error in sample.rejected:
    print(f"rejected: {error.reason}: {error}", file=sys.stderr)
  codec, left = fitting.fit(sample.frames, settings)
  unusable = {path for path, _ in sample.rejected}
  good = [path for path in files if path not in unusable]
  distance = fitting.spectral_distance(codec, good[:3])
  mel_codec.save(
    codec,
    args.out,
    {
      "files": len(good),
      "seconds": sample.seconds,
      "frames": len(sample.frames),
      "seed": args.seed,
      "variance_left": left,
      "log_spectral_distance_db": distance,
      "rejected": [
        {"path": str(path), "reason": error.reason, "message": str(error)}
        for path, error in sample.rejected
      ],
    },
  )
  fewer = codec.used < codec.codebook_size
  print(
    f"{args.out}: {codec.codebooks} codebooks of {codec.codebook_size} codes"
    + (f", {codec.used} used (more sound would use more)" if fewer else "")
    + f", fitted on {sample.seconds:.0f} s of {len(good)} files,"
    f" {len(sample.rejected)} rejected; of the variance of frames held back"
    f" {left[0]:.1%} are left by the first codebook, {left[-1]:.1%} by all;"
    f" log-spectral distance of decoded sound {distance:.1f} dB"
  )


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  defaults = fitting.FitSettings()
  add("folder", type=pathlib.Path, help="of sound files, folders below too")
  add("--out", type=pathlib.Path, required=True, help="a new folder")
  add("--codebooks", type=int, default=defaults.codebooks)
  add("--codebook-size", type=int, default=defaults.codebook_size)
  add("--mels", type=int, default=defaults.mels, help="bands of a frame")
  add(
    "--frames",
    type=int,
    default=defaults.frames,
    help="drawn of all files, at most; they are held in memory",
  )
  add("--seed", type=int, default=defaults.seed)
  return parser


if __name__ == "__main__":
  main()
