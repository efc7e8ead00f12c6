"""Encodes a folder of songs to codes and a manifest.

  python tools/encode_audio.py songs --codec runs/codec --out data/codes
  python tools/prepare_songs.py data/codes/songs.jsonl ...

The folder has stems, lyrics and tags of every song, in a folder of its own or
by names that begin alike:

  songs/NAME/vocals.wav            or    songs/NAME.vocals.wav
             accompaniment.flac                NAME.no_vocals.wav
             lyrics.txt .lrc .json             NAME.lrc
             structure.json                    NAME.json
             tags.txt .json                    NAME.tags.txt

Sound is wav, flac, mp3 or ogg of any rate, and made mono of 16 kHz. The
mixture is NAME.wav or mix.wav, else the sum of the stems. Where there is a
mixture only, a command can make the stems:

  --separate 'demucs --two-stems vocals -o {output} {input}'

structure.json is that of all-in-one, {"segments": [{"start": 0.0, "end": 12.5,
"label": "verse"}]}; LRC with labels needs none. tags.txt is a line of tags,
tags.json {"genres": "pop airy", "language": "en"}.

Songs that cannot be used (silent, too long, cut off, badly clipped, without
lyrics...) are listed in OUT/rejected.jsonl with the reason, and stop nothing.
The same command continues after an interruption and when songs were added or
changed: those that are finished are not encoded again.

--content music wants no lyrics and takes what tracks there are.

Needs the extra [audio].
"""

import argparse
import pathlib
import sys

try:
  from yue_jax.audio.encode import Encoded, encode_songs
  from yue_jax.audio.opening import load_codec
  from yue_jax.audio.reading import Limits
  from yue_jax.audio.rows import CONTENTS, RowSettings
  from yue_jax.audio.stems import find_songs
except ModuleNotFoundError as error:
  sys.exit(f"encode_audio: {error}; pip install '.[audio]'")

_INTERRUPTED = 130  # what a shell makes of SIGINT


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    _report(args.out, _encode(args))
  except (ValueError, OSError) as error:
    sys.exit(f"encode_audio: {error}")
  except KeyboardInterrupt:
    print(
      "encode_audio: interrupted; the same command goes on from there",
      file=sys.stderr,
    )
    sys.exit(_INTERRUPTED)


def _encode(args: argparse.Namespace) -> Encoded:
  if args.songs_at_once < 1:
    raise ValueError(f"--songs-at-once {args.songs_at_once}, at least 1")
  settings = RowSettings(
    content=args.content,
    limits=Limits(
      min_seconds=args.min_seconds,
      max_seconds=60 * args.max_minutes,
      max_clipped=args.max_clipped,
    ),
    separate=args.separate,
    tags=args.tags,
    language=args.language,
  )
  return encode_songs(
    find_songs(args.folder),
    load_codec(args.codec),
    args.out,
    settings,
    songs_at_once=args.songs_at_once,
  )


def _report(out: pathlib.Path, encoded: Encoded) -> None:
  total = sum(encoded.rejected.values())
  said = (
    f"{encoded.songs} songs, {encoded.seconds / 3600:.4g} hours,"
    f" {encoded.new} of them encoded now; {encoded.clipped} with clipped"
    f" samples; rejected {total} {encoded.rejected}"
  )
  if not encoded.songs:
    sys.exit(f"encode_audio: {said}; see {out / 'rejected.jsonl'}")
  print(f"{out / 'songs.jsonl'}: {said}")


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  limits = Limits()
  add("folder", type=pathlib.Path, help="of the songs")
  add(
    "--codec",
    required=True,
    help="folder of tools/fit_codec.py; folder or hub name of X-Codec",
  )
  add("--out", type=pathlib.Path, required=True, help="of codes and manifest")
  add("--content", choices=CONTENTS, default="songs", help="what a song has")
  add("--separate", metavar="COMMAND", help="makes stems of a mixture")
  add("--tags", help="of songs that bring none")
  add("--language", help="of songs that name none")
  add("--songs-at-once", type=int, default=4, help="read and encoded together")
  add(
    "--min-seconds",
    type=float,
    default=limits.min_seconds,
    help="shorter sounds are rejected",
  )
  add(
    "--max-minutes",
    type=float,
    default=limits.max_seconds / 60,
    help="longer sounds are rejected; a minute of a song takes 12 MB",
  )
  add(
    "--max-clipped",
    type=float,
    default=limits.max_clipped,
    help="largest share of clipped samples",
  )
  return parser


if __name__ == "__main__":
  main()
