"""Rows become records: songs and windows, and the columns that tell of them."""

from collections import Counter
import pathlib
from typing import Any

import numpy as np

from yue_jax.data.layout import COLUMNS, NO_RECORD, hash_bytes, hash_codes
from yue_jax.data.preparing.recipe import Recipe
from yue_jax.data.records import (
  TRACKS,
  ShardWriter,
  encode_song_record,
  encode_windows_record,
)
from yue_jax.documents import varied_windows
from yue_jax.encoding import EncodedSong, encode_recording, encode_song
from yue_jax.errors import SongError
from yue_jax.manifest import Line, Row, parse_row
from yue_jax.recordings import (
  music_from_tracks,
  music_tracks,
  speech_from_tracks,
)
from yue_jax.songs import (
  row_language,
  song_from_tracks,
  song_id,
  tracks_from_row,
)

_Tracks = dict[str, np.ndarray | SongError]
# Groups are found when parts are joined. Duplicates, too: these say where
# they are and, as lengths and bytes, what their ids are.
PART_COLUMNS = {n: d for n, d in COLUMNS.items() if n != "group"} | {
  "segment": np.uint32,  # of the chunk
  "line": np.int64,
  "id_size": np.uint32,
}


class RowWriter:
  """Writes songs and windows, and remembers columns and counts."""

  def __init__(self, recipe: Recipe, songs: ShardWriter, windows: ShardWriter):
    self._recipe, self._songs, self._windows = recipe, songs, windows
    self.columns: dict[str, list] = {name: [] for name in PART_COLUMNS}
    self._ids: list[bytes] = []
    self.languages: dict[str, int] = {"": 0}
    self.counts: Counter = Counter()

  def arrays(self) -> dict[str, np.ndarray]:
    """The columns, and the bytes of all ids as "ids"."""
    columns = {
      name: np.array(values, PART_COLUMNS[name])
      for name, values in self.columns.items()
    }
    return columns | {"ids": np.frombuffer(b"".join(self._ids), np.uint8)}

  def write_row(
    self, segment: int, line: Line, root: pathlib.Path
  ) -> dict[str, Any] | None:
    """Writes what the row has; returns its rejection if that is no song."""
    row = parse_row(line.content)
    try:
      id = song_id({} if isinstance(row, SongError) else row)
    except SongError as error:
      fault = row if isinstance(row, SongError) else error
      return rejection(None, fault, {})
    tracks = self._read_tracks(row, root)
    fault, song, language = None, None, ""
    try:
      language = row_language(row)
      song = self._encode(row, tracks)
    except SongError as error:
      fault = error
    windows = self._write_tracks(len(self._ids), tracks)
    if song or windows:
      self._append(segment=segment, line=line.number)
      self._add_row(id, language, song, tracks)
    if song:
      self._songs.write(encode_song_record(song))
    return rejection(id, fault, windows) if fault else None

  def _read_tracks(self, row: Row, root: pathlib.Path) -> _Tracks:
    names = {
      "songs": TRACKS,
      "music": music_tracks(row),
      "speech": ("mixture",),
    }[self._recipe.content]
    return tracks_from_row(row, root, vocab=self._recipe.vocab, names=names)

  def _encode(self, row: Row, tracks: _Tracks) -> EncodedSong:
    recipe = self._recipe
    if recipe.content == "songs":
      song = song_from_tracks(row, tracks, rules=recipe.rules)
      self.counts["sections_dropped"] += len(song.dropped)
      return encode_song(
        song,
        recipe.tokenizer,
        vocab=recipe.vocab,
        instruction=recipe.instruction,
      )
    read = (
      music_from_tracks if recipe.content == "music" else speech_from_tracks
    )
    recording = read(row, tracks, rules=recipe.rules)
    self.counts["tracks_unusable"] += len(tracks) - len(recording.tracks)
    return encode_recording(recording, recipe.tokenizer)

  def _add_row(
    self, id: str, language: str, song: EncodedSong | None, tracks: _Tracks
  ) -> None:
    """Adds to the song table: a song, or a row that gave windows only."""
    name = id.encode()
    self._ids.append(name)
    self._append(
      record=self._songs.records if song else NO_RECORD,
      id_hash=hash_bytes(name),
      id_size=len(name),
      language=self.languages.setdefault(language, len(self.languages)),
      **song_columns(song),
    )
    for track in TRACKS:
      codes = tracks.get(track)
      hashed = hash_codes(codes[0]) if isinstance(codes, np.ndarray) else 0
      self._append(**{f"codes_{track}": hashed})
    for name, values in section_columns(song).items():
      self.columns[name] += values

  def _write_tracks(self, song: int, tracks: _Tracks) -> dict[str, int]:
    """Writes windows; returns how many, by those tracks that have any."""
    windows = {
      track: self._write_windows(song, number, tracks[track])
      for number, track in enumerate(TRACKS)
      if isinstance(tracks.get(track), np.ndarray)
    }
    return {track: count for track, count in windows.items() if count}

  def _write_windows(self, song: int, track: int, codes: np.ndarray) -> int:
    """Writes the varied windows of (codebooks, frames), a few per record."""
    recipe = self._recipe
    if len(codes) < recipe.codebooks:
      self.counts["tracks_without_all_codebooks"] += 1
      return 0
    starts = varied_windows(codes, recipe.window)
    whole = codes.shape[1] // recipe.window
    self.counts["windows_of_little_variety"] += whole - len(starts)
    for first in range(0, len(starts), recipe.windows_per_record):
      run = starts[first : first + recipe.windows_per_record]
      frames = run[:, None] + np.arange(recipe.window)
      windows = codes[: recipe.codebooks, frames].swapaxes(0, 1)
      self._append(
        run_record=self._windows.records,
        run_song=song,
        run_track=track,
        run_windows=len(run),
      )
      self._windows.write(encode_windows_record(windows))
    return len(starts)

  def _append(self, **values) -> None:
    for name, value in values.items():
      self.columns[name].append(value)


def section_columns(song: EncodedSong | None) -> dict[str, list[int]]:
  """The columns of a song's sections; empty if it has none."""
  sections = song.sections if song else ()
  return {
    "section_text": [len(section.text) for section in sections],
    "section_plain_text": [len(section.plain_text) for section in sections],
    "section_start": [section.start for section in sections],
    "section_end": [section.end for section in sections],
    "section_chorus": [section.chorus for section in sections],
  }


def song_columns(song: EncodedSong | None) -> dict[str, int]:
  """The columns of a song that follow from its record; 0 if it has none."""
  names = (
    "frames", "tracks", "head", "tags", "text", "plain_text", "sung", "span",
    "section_count",
  )  # fmt: skip
  if song is None:
    return dict.fromkeys(names, 0)
  sections = song.sections
  starts, ends = [s.start for s in sections], [s.end for s in sections]
  values = (
    max(map(len, song.tracks.values())),
    sum(1 << bit for bit, track in enumerate(TRACKS) if track in song.tracks),
    len(song.head),
    sum(map(len, song.tags)),
    sum(len(section.text) for section in sections),
    sum(len(section.plain_text) for section in sections),
    sum(ends) - sum(starts),
    max(ends) - min(starts) if sections else 0,
    len(sections),
  )
  return dict(zip(names, values, strict=True))


def rejection(
  id: str | None, error: SongError, windows: dict[str, int]
) -> dict[str, Any]:
  """Of a line of rejected.jsonl; `windows` counts what its tracks gave."""
  return {
    "id": id,
    "reason": error.reason,
    "message": error.message,
    "windows": windows,
  }
