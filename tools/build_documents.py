"""Builds the documents of a manifest, to look at or to feed another trainer.

  python tools/build_documents.py songs.jsonl --tokenizer tokenizer.model \\
    --kind cot --seed 0 --out documents.npz

writes `ids_<song>` (int32) and `streams_<song>` (uint8, numbers of
`yue_jax.vocab.Stream`), both empty where the song is dropped. Reference clips,
the order of tags and which speech has its instruction are drawn from the seed,
for epoch 0, by the number of the song among those kept. Windows are cut from
the mixture track. Kinds without lyrics take rows of music or speech as well.

Ids follow the released vocabulary unless --small-vocab is given: text as
large as the tokenizer, then one codec block of --codebooks times --codes.
"""

import argparse
from collections.abc import Callable
import pathlib
import sys
from typing import Any

import numpy as np

from yue_jax import documents, encoding, recordings, references, songs
from yue_jax.data.flags import add_vocabulary_flags, vocabulary
from yue_jax.data.sources.kinds import (
  KIND_TRACKS,
  LYRICS_KINDS,
  REFERENCE_MODES,
)
from yue_jax.documents import Document
from yue_jax.manifest import read_manifest
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import Stream, Vocab

Row = dict[str, Any]
Builder = Callable[[Row, int], Document]  # (row, number among those kept)

WINDOWS = {
  "stage2": documents.windows,
  "stage2_teacher_forcing": documents.windows_teacher_forcing,
}
ICL = {  # of one mode; the data set's kind of all modes is no single document
  kind: modes[0] for kind, modes in REFERENCE_MODES.items() if len(modes) == 1
}
KINDS = (*(kind for kind in KIND_TRACKS if kind != "icl"), *WINDOWS)
DROPPED = Document([])


def main(argv: list[str] | None = None) -> None:
  args = parse_args(argv)
  try:
    arrays, lines = build(args)
    with open(args.out, "wb") as file:
      np.savez(file, **arrays)
  except (OSError, ValueError) as error:
    sys.exit(f"build_documents: {error}")
  print("\n".join(lines))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("manifest", type=pathlib.Path, help="JSON lines, one song each")
  add("--tokenizer", type=pathlib.Path, required=True, help=".model file")
  add("--kind", choices=KINDS, required=True)
  add("--seed", type=int, default=0, help="of clips, tags and instructions")
  add("--out", type=pathlib.Path, required=True, help=".npz file")
  add("--window", type=int, default=300, help="frames of a window")
  add(
    "--min-section-seconds",
    type=float,
    default=1.0,
    help="shorter sections are dropped",
  )
  add_vocabulary_flags(parser)
  return parser.parse_args(argv)


def build(args: argparse.Namespace) -> tuple[dict[str, np.ndarray], list[str]]:
  """Arrays to save, and lines that say what was dropped and why."""
  if not args.out.parent.is_dir():
    raise ValueError(f"no folder {args.out.parent} to write {args.out.name} to")
  builder = make_builder(args)
  built, lines, kept = {}, [], 0
  for number, row in read_manifest(args.manifest):
    id = None
    try:
      if isinstance(row, songs.SongError):
        raise row
      id = songs.song_id(row)
      if id in built:
        raise songs.SongError("duplicate_id", "an earlier line has this id")
      built[id] = DROPPED
      built[id] = builder(row, kept)
      kept += 1
    except songs.SongError as error:
      lines.append(f"line {number}, song {id}: {error.reason}: {error}")
  lines.append(f"{kept} documents, {len(lines)} rows dropped: {args.out}")
  ids = {f"ids_{id}": document.ids for id, document in built.items()}
  streams = {f"streams_{id}": doc.streams for id, doc in built.items()}
  return ids | streams, lines


def make_builder(args: argparse.Namespace) -> Builder:
  tokenizer = Tokenizer(args.tokenizer)
  vocab = vocabulary(args, tokenizer)
  vocab.check_tokenizer(tokenizer.size)
  if args.kind in WINDOWS:
    return window_builder(args, vocab)
  if args.kind in LYRICS_KINDS:
    return song_builder(args, vocab, tokenizer)
  return recording_builder(args, vocab, tokenizer)


def window_builder(args: argparse.Namespace, vocab: Vocab) -> Builder:
  codebooks = vocab.window_codebooks

  def build_windows(row: Row, _: int) -> Document:
    codes = songs.track_from_row(
      row, args.manifest.parent, track="mixture", vocab=vocab
    )
    if len(codes) < codebooks:
      message = f"{len(codes)} codebooks, windows need {codebooks}"
      raise songs.SongError("too_few_codebooks", message)
    document = WINDOWS[args.kind](
      codes[:codebooks], vocab, stream=Stream.MIXTURE, window=args.window
    )
    if not len(document):
      message = f"no varied window of {args.window} in {codes.shape[1]} frames"
      raise songs.SongError("no_windows", message)
    return document

  return build_windows


def song_builder(
  args: argparse.Namespace, vocab: Vocab, tokenizer: Tokenizer
) -> Builder:
  phrases = encoding.Phrases.encode(tokenizer)
  rules = songs.Rules(min_section_seconds=args.min_section_seconds)

  def build_document(row: Row, number: int) -> Document:
    song = encoding.encode_song(
      songs.song_from_row(row, args.manifest.parent, vocab=vocab, rules=rules),
      tokenizer,
      vocab=vocab,
    )
    if args.kind == "plain":
      return documents.plain(song, vocab)
    if args.kind == "prefix":
      return documents.prefix(song, vocab)
    if args.kind not in ICL:
      tracks = KIND_TRACKS[args.kind]
      return documents.cot(song, vocab, phrases=phrases, tracks=tracks)
    reference = references.draw(
      args.seed,
      0,
      song=number,
      mode=ICL[args.kind],
      sections=song.sections,
      tracks=song.tracks,
    )
    return documents.icl(song, vocab, phrases=phrases, reference=reference)

  return build_document


def recording_builder(
  args: argparse.Namespace, vocab: Vocab, tokenizer: Tokenizer
) -> Builder:
  phrases, rules = encoding.Phrases.encode(tokenizer), songs.Rules()
  kind, tracks = args.kind, KIND_TRACKS[args.kind]
  check = recordings.music_from_tracks
  if kind == "speech":
    check = recordings.speech_from_tracks

  def build_document(row: Row, number: int) -> Document:
    codes = songs.tracks_from_row(
      row, args.manifest.parent, vocab=vocab, names=tracks
    )
    for fault in codes.values():
      if isinstance(fault, songs.SongError):
        raise fault
    song = encoding.encode_recording(check(row, codes, rules=rules), tokenizer)
    if kind == "speech":
      drawn = references.draw_instructed(args.seed, 0, songs=number)
      return documents.speech(song, vocab, instructed=bool(drawn))
    if not kind.startswith("tags_"):
      return documents.unconditional(song, vocab, tracks=tracks)
    if not song.tags:
      raise songs.SongError("no_tags", "expected tags in genres, got none")
    return documents.tagged(
      song,
      vocab,
      phrase=phrases.tags_dual if len(tracks) > 1 else phrases.tags_single,
      order=references.draw_tag_order(
        args.seed, 0, song=number, tags=len(song.tags)
      ),
      tracks=tracks,
    )

  return build_document


if __name__ == "__main__":
  main()
