"""Songs: rows of an openl2s manifest, validated.

A row is one JSON line: an id, tags, lyrics by section, and paths of three
.npy arrays of codec codes, relative to the manifest. A row becomes a `Song`
or a `SongError` whose reason can be counted; nothing else is raised for bad
data. Sections that cannot be used are dropped as the released preprocessing
drops them: their lyrics stay in the head of the document, their sound goes.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import json
import os
import pathlib
import re
from typing import Any

import numpy as np

from yue_jax.codec import check_codes
from yue_jax.vocab import Vocab

TRACK_KEYS = {
  "vocal": "vocals_codec",
  "backing": "instrumental_codec",
  "mixture": "codec",
}


class SongError(ValueError):
  """A song that cannot be used; `reason` is a slug fit for counting."""

  def __init__(self, reason: str, message: str):
    super().__init__(reason, message)
    self.reason = reason
    self.message = message

  def __str__(self) -> str:
    return self.message


@dataclasses.dataclass(frozen=True)
class Rules:
  """What a song must satisfy to be trained on (defaults as released)."""

  min_fps: float = 49.0
  max_fps: float = 51.0
  max_track_difference: int = 10  # frames between longest and shortest track
  min_section_seconds: float = 1.0


@dataclasses.dataclass(frozen=True)
class Section:
  """Frames `start` to `end` (half-open) of a song, with their lyrics."""

  label: str  # "verse", "chorus", ...; "" where the text names none
  text: str  # as in the manifest: "[label]\nlyrics\n\n"
  start: int
  end: int


@dataclasses.dataclass(frozen=True, eq=False)
class Song:
  """One validated song; its tracks are (codebooks, frames) uint16.

  All tracks have the same number of frames. `lyrics` joins the texts of all
  sections, dropped ones included; `dropped` says why sections are missing.
  """

  id: str
  tags: str
  lyrics: str
  sections: tuple[Section, ...]
  vocal: np.ndarray
  backing: np.ndarray
  mixture: np.ndarray
  fps: float
  dropped: tuple[str, ...] = ()


def read_manifest(
  path: str | os.PathLike[str],
) -> Iterator[tuple[int, dict[str, Any] | SongError]]:
  """Yields (line number from 1, row), or a SongError in place of the row.

  Blank lines are no rows. A row whose id an earlier row has is an error,
  whether or not the earlier one can be used.
  """
  first_lines: dict[str, int] = {}
  with open(path, "rb") as file:
    for number, line in enumerate(file, start=1):
      if line.strip():
        yield number, _expect_new(_parse(line), number, first_lines)


def song_from_row(
  row: Mapping[str, Any],
  root: str | os.PathLike[str],
  *,
  vocab: Vocab,
  rules: Rules,
) -> Song:
  """Reads and validates one song; `root` is the folder of the manifest.

  Raises SongError, and no other error, when the row or its arrays cannot be
  used.
  """
  tracks = tracks_from_row(row, root, vocab=vocab)
  return song_from_tracks(row, tracks, rules=rules)


def song_from_tracks(
  row: Mapping[str, Any],
  tracks: Mapping[str, np.ndarray | SongError],
  *,
  rules: Rules,
) -> Song:
  """`song_from_row`, given what `tracks_from_row` has read for it."""
  id = song_id(row)
  tags = _text(row, "genres")
  seconds = row.get("audio_length_in_sec")
  entries = _entries(row)
  lyrics = "\n".join(_text(entry, "line_content") for entry in entries)
  for codes in tracks.values():
    if isinstance(codes, SongError):
      raise codes
  tracks = _trim(tracks, rules)
  frames = tracks["vocal"].shape[1]
  fps = _frame_rate(frames, seconds, rules)
  sections, dropped = [], []
  for number, entry in enumerate(entries):
    fault = _section_fault(entry, frames, fps, rules)
    if fault:
      dropped.append(f"section {number}: {fault}")
    else:
      sections.append(_section(entry))
  if not sections:
    raise SongError("no_sections", f"no usable section: {'; '.join(dropped)}")
  return Song(
    id, tags, lyrics, tuple(sections), **tracks, fps=fps, dropped=tuple(dropped)
  )


def song_id(row: Mapping[str, Any]) -> str:
  """The row's id as a string; SongError when it has none."""
  id = row.get("id")
  if isinstance(id, int) and not isinstance(id, bool):
    return str(id)
  return _text(row, "id")


def tracks_from_row(
  row: Mapping[str, Any], root: str | os.PathLike[str], *, vocab: Vocab
) -> dict[str, np.ndarray | SongError]:
  """All tracks of a row, or in place of a track why it cannot be used."""
  tracks = {}
  for name in TRACK_KEYS:
    try:
      tracks[name] = track_from_row(row, root, track=name, vocab=vocab)
    except SongError as error:
      tracks[name] = error
  return tracks


def track_from_row(
  row: Mapping[str, Any],
  root: str | os.PathLike[str],
  *,
  track: str,
  vocab: Vocab,
) -> np.ndarray:
  """Codes of one track, (codebooks, frames) uint16, checked on their own.

  Windows of a single track need no more than this: as released, they are cut
  from every track that can be read, even where `song_from_row` refuses.
  """
  path = pathlib.Path(root) / _text(row, TRACK_KEYS[track])
  try:
    codes = np.lib.format.open_memmap(path, mode="r")
  except FileNotFoundError:
    raise SongError("missing_file", f"{track} track: no file {path}") from None
  except Exception as error:  # a broken header can raise nearly anything
    message = f"{track} track: {path} is no readable .npy array: {error}"
    raise SongError("bad_file", message) from error
  try:
    check_codes(codes, vocab)
  except ValueError as error:
    message = f"{track} track: {path}: {error}"
    raise SongError("bad_codes", message) from error
  if not codes.size:
    message = f"{track} track: {path} has no codes, its shape is {codes.shape}"
    raise SongError("bad_codes", message)
  return codes.astype(np.uint16)


def _parse(line: bytes) -> dict[str, Any] | SongError:
  try:
    row = json.loads(line)
  except (ValueError, RecursionError) as error:
    return SongError("bad_json", f"not a line of JSON: {error}")
  if not isinstance(row, dict):
    return SongError("bad_json", f"expected an object, got {row!r:.60}")
  return row


def _expect_new(
  row: dict[str, Any] | SongError, line: int, first_lines: dict[str, int]
) -> dict[str, Any] | SongError:
  """The row; or an error, if its id is among those of earlier lines."""
  try:
    id = song_id({} if isinstance(row, SongError) else row)
  except SongError:
    return row  # what is wrong with its id is for its reader to say
  first = first_lines.setdefault(id, line)
  if first != line:
    message = f"the id {id!r} is that of line {first} already"
    return SongError("duplicate_id", message)
  return row


def _text(fields: Mapping[str, Any], key: str) -> str:
  value = fields.get(key)
  if not isinstance(value, str):
    raise SongError("bad_field", f"{key}: expected a string, got {value!r:.60}")
  try:
    value.encode()
  except UnicodeEncodeError:  # a lone surrogate, which JSON can spell
    message = f"{key}: not valid text: {value!r:.60}"
    raise SongError("bad_field", message) from None
  return value


def _entries(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
  lyrics = row.get("splitted_lyrics")
  entries = lyrics.get("segmented_lyrics") if isinstance(lyrics, dict) else None
  if not isinstance(entries, list) or not all(
    isinstance(entry, dict) for entry in entries
  ):
    raise SongError(
      "bad_field",
      "splitted_lyrics.segmented_lyrics: expected a list of objects",
    )
  if not entries:
    raise SongError("empty_lyrics", "segmented_lyrics has no sections")
  return entries


def _trim(
  tracks: Mapping[str, np.ndarray], rules: Rules
) -> dict[str, np.ndarray]:
  frames = {name: codes.shape[1] for name, codes in tracks.items()}
  shortest, longest = min(frames.values()), max(frames.values())
  if longest - shortest > rules.max_track_difference:
    raise SongError(
      "track_difference",
      f"tracks differ by {longest - shortest} frames, {frames}; "
      f"at most {rules.max_track_difference} are trimmed",
    )
  return {name: codes[:, :shortest] for name, codes in tracks.items()}


def _frame_rate(frames: int, seconds: Any, rules: Rules) -> float:
  if not isinstance(seconds, int | float) or not seconds > 0:
    raise SongError(
      "bad_field",
      f"audio_length_in_sec: expected a positive number, got {seconds!r:.60}",
    )
  fps = frames / seconds
  if not rules.min_fps <= fps <= rules.max_fps:
    raise SongError(
      "frame_rate",
      f"{frames} frames in {seconds} s are {fps:.2f} a second, "
      f"expected {rules.min_fps}..{rules.max_fps}",
    )
  return fps


def _section_fault(
  entry: Mapping[str, Any], frames: int, fps: float, rules: Rules
) -> str | None:
  """Why a section must be dropped, or None."""
  start, end = entry.get("codec_frame_start"), entry.get("codec_frame_end")
  if type(start) is not int or type(end) is not int:
    return f"bad indices {start!r:.40}..{end!r:.40}"
  if not 0 <= start < end <= frames:
    return f"bad indices {start}..{end} in a song of {frames} frames"
  if (end - start) / fps < rules.min_section_seconds:
    return (
      f"{(end - start) / fps:.2f} s long, "
      f"expected at least {rules.min_section_seconds}"
    )
  if not entry["line_content"].strip():
    return "empty lyrics without a label"
  return None


def _section(entry: Mapping[str, Any]) -> Section:
  text = entry["line_content"]
  label = re.match(r"\s*\[([^\]\n]*)\]", text)
  return Section(
    label[1].strip().lower() if label else "",
    text,
    entry["codec_frame_start"],
    entry["codec_frame_end"],
  )
