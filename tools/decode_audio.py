"""Decodes songs to sound.

  python tools/decode_audio.py songs/1 --codec runs/codec

writes into songs/1, or below --out, the two tracks of a song that
tools/generate.py made and their sum:

  vocal.wav backing.wav mix.wav    16 kHz, mono, 16 bits; or .flac
  sound.json                       codec, gain, loudness, true peaks

Codes in a .npy file, (codebooks, frames), become one sound beside it. The codec
must be the one that made the codes of the training songs: others have codes of
the same numbers, which mean something else.

One gain brings the mix to --lufs, less where a true peak of any file would
exceed --peak: nothing is clipped, and no limiter is at work.

The arrays in stage2/ are also what the released vocoder reads, if the codes are
those of X-Codec.

Needs the extra [audio].
"""

import argparse
import pathlib
import sys

try:
  from yue_jax.audio import decode
  from yue_jax.audio.loudness import Level
  from yue_jax.audio.opening import load_codec
except ModuleNotFoundError as error:
  sys.exit(f"decode_audio: {error}; pip install '.[audio]'")
from yue_jax.progress import track


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    _decode(args)
  except (ValueError, OSError) as error:
    sys.exit(f"decode_audio: {error}")


def _decode(args: argparse.Namespace) -> None:
  level = Level(args.lufs, args.peak)
  folders = _folders(args.songs, args.out)
  codec = load_codec(args.codec)
  pairs = list(zip(args.songs, folders, strict=True))
  for song, folder in track(pairs, len(pairs), "songs", "decoding"):
    written = decode.decode_song(
      song, codec, folder, level=level, format=args.format
    )
    said = written.description
    loud = said["loudness_lufs"]
    print(
      f"{', '.join(map(str, written.files.values()))}: {said['seconds']:.2f} s,"
      f" {'no loudness' if loud is None else f'{loud:.1f} LUFS'},"
      f" true peak {max(said['true_peak'].values()):.3f}"
    )


def _folders(
  songs: list[pathlib.Path], out: pathlib.Path | None
) -> list[pathlib.Path]:
  """Where the sound of each song goes."""
  if out is None:
    return [s.parent if s.suffix == ".npy" else s for s in songs]
  if len(songs) == 1:
    return [out]
  names = [song.stem for song in songs]
  if len(set(names)) < len(names):
    raise ValueError(f"songs of one name: {sorted(names)}; decode them singly")
  return [out / name for name in names]


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  level = Level()
  add(
    "songs",
    nargs="+",
    type=pathlib.Path,
    metavar="SONG",
    help="folder of tools/generate.py, or a .npy file of codes",
  )
  add(
    "--codec",
    required=True,
    help="folder of tools/fit_codec.py; folder or hub name of X-Codec",
  )
  add("--out", type=pathlib.Path, help="folder [that of the song]")
  add("--format", choices=decode.FORMATS, default="wav")
  add("--lufs", type=float, default=level.lufs, help="loudness of the mix")
  add("--peak", type=float, default=level.peak_db, help="dB, at most")
  return parser


if __name__ == "__main__":
  main()
