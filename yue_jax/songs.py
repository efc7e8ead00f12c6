"""Songs: rows of an openl2s manifest, validated.

A row is one JSON line: an id, tags, lyrics by section, and paths of three
.npy arrays of codec codes, relative to a folder. A row becomes a `Song`
or a `SongError` whose reason can be counted; nothing else is raised for bad
data. Sections that cannot be used are dropped as the released preprocessing
drops them: their lyrics stay in the head of the document, their sound goes.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import os
import re
import reprlib
from typing import Any

import numpy as np

from yue_jax.errors import SongError
from yue_jax.tracks import read_track
from yue_jax.vocab import Vocab

_MAX_SECONDS = 1e9
TRACK_KEYS = {
  "vocal": "vocals_codec",
  "backing": "instrumental_codec",
  "mixture": "codec",
}


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
  tags = text_field(row, "genres")
  seconds = row.get("audio_length_in_sec")
  entries = _entries(row)
  lyrics = "\n".join(section_texts(row))
  for codes in tracks.values():
    if isinstance(codes, SongError):
      raise codes
  tracks = trim(tracks, rules)
  frames = tracks["vocal"].shape[1]
  fps = frame_rate(frames, seconds, rules)
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
    id,
    tags,
    lyrics,
    tuple(sections),
    **tracks,
    fps=fps,
    dropped=tuple(dropped),
  )


def song_id(row: Mapping[str, Any]) -> str:
  """The row's id as a string; SongError when it has none."""
  id = row.get("id")
  if isinstance(id, int) and not isinstance(id, bool):
    return str(id)
  return text_field(row, "id")


def row_language(row: Mapping[str, Any]) -> str:
  """The row's language, "" if it names none; SongError if it is no string."""
  return "" if row.get("language") is None else text_field(row, "language")


def tracks_from_row(
  row: Mapping[str, Any],
  root: str | os.PathLike[str],
  *,
  vocab: Vocab,
  names: Iterable[str] = TRACK_KEYS,
) -> dict[str, np.ndarray | SongError]:
  """Tracks of a row, or in place of a track why it cannot be used."""
  tracks = {}
  for name in names:
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
  name = text_field(row, TRACK_KEYS[track])
  try:
    return read_track(name, root, vocab=vocab)
  except SongError as error:
    raise SongError(error.reason, f"{track} track: {error}") from error


def section_texts(row: Mapping[str, Any]) -> list[str]:
  """Texts of all sections, "[label]\\nlyrics\\n\\n"; SongError without."""
  return [text_field(entry, "line_content") for entry in _entries(row)]


def text_field(fields: Mapping[str, Any], key: str) -> str:
  """A field that must be text; SongError if it is not."""
  value = fields.get(key)
  if not isinstance(value, str):
    message = f"{key}: expected a string, got {reprlib.repr(value)}"
    raise SongError("bad_field", message)
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


def trim(
  tracks: Mapping[str, np.ndarray], rules: Rules
) -> dict[str, np.ndarray]:
  """Tracks as long as the shortest; SongError if they differ by too much."""
  frames = {name: codes.shape[1] for name, codes in tracks.items()}
  shortest, longest = min(frames.values()), max(frames.values())
  if longest - shortest > rules.max_track_difference:
    raise SongError(
      "track_difference",
      f"tracks differ by {longest - shortest} frames, {frames}; "
      f"at most {rules.max_track_difference} are trimmed",
    )
  return {name: codes[:, :shortest] for name, codes in tracks.items()}


def frame_rate(frames: int, seconds: Any, rules: Rules) -> float:
  """Frames a second; SongError if `seconds` cannot be their duration."""
  if type(seconds) not in (int, float) or not 0 < seconds < _MAX_SECONDS:
    raise SongError(
      "bad_field",
      "audio_length_in_sec: expected a positive number,"
      f" got {reprlib.repr(seconds)}",
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
    return f"bad indices {reprlib.repr(start)}..{reprlib.repr(end)}"
  if not 0 <= start < end <= frames:
    return (
      f"bad indices {reprlib.repr(start)}..{reprlib.repr(end)}"
      f" in a song of {frames} frames"
    )
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
