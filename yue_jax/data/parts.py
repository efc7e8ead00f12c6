"""One part of a manifest: consecutive rows become two shards and columns.

A part is a task on its own: what it writes depends on its rows alone, not on
which process works on it or how many there are. A row that cannot become a
song is listed with its reason and stops nothing. Windows need a single track
only: as released, they are cut from every track that can be read, as long as
it is, whether or not its row becomes a song.
"""

from collections import Counter
from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import numpy as np

from yue_jax.data.layout import (
  COLUMNS,
  MAX_LANGUAGES,
  NO_RECORD,
  hash_bytes,
  hash_codes,
)
from yue_jax.data.records import (
  TRACKS,
  Shard,
  ShardWriter,
  encode_song_record,
  encode_windows_record,
)
from yue_jax.documents import varied_windows
from yue_jax.encoding import (
  INSTRUCTION,
  EncodedSong,
  encode_recording,
  encode_song,
)
from yue_jax.recordings import (
  music_from_tracks,
  music_tracks,
  speech_from_tracks,
)
from yue_jax.songs import (
  Rules,
  SongError,
  row_language,
  song_from_tracks,
  song_id,
  tracks_from_row,
)
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import MAX_CODEBOOKS, Vocab

CONTENTS = ("songs", "music", "speech")
_Tracks = dict[str, np.ndarray | SongError]
# Groups are found when parts are joined; lines name duplicates then.
PART_COLUMNS = {n: d for n, d in COLUMNS.items() if n != "group"} | {
  "line": np.int64
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """What a data set depends on besides the manifest.

  Attributes:
    tokenizer: of the lyrics and tags.
    vocab: the token-id map, into which the tokenizer must fit.
    rules: what songs must satisfy.
    window: frames of a window.
    windows_per_record: how many windows are read at once; as many as fit into
      a sample waste nothing (three of 300 frames in 8,192 tokens).
    content: what a row is: a song with lyrics by section ("songs"), tracks
      and tags ("music"), or a track and what is said in it ("speech").
    instruction: how every text of a song begins.
  """

  tokenizer: Tokenizer
  vocab: Vocab
  rules: Rules
  window: int = 300
  windows_per_record: int = 3
  content: str = "songs"
  instruction: str = INSTRUCTION

  def __post_init__(self):
    if self.content not in CONTENTS:
      raise ValueError(f"content={self.content!r}, expected one of {CONTENTS}")
    for name in ("window", "windows_per_record"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)}, expected 1 or more")
    if self.windows_per_record > 255:
      raise ValueError(
        f"windows_per_record={self.windows_per_record}, expected 255 at most"
      )
    self.vocab.check_tokenizer(self.tokenizer.size)

  @property
  def codebooks(self) -> int:
    """Of a window: those that have a stream of their own."""
    return min(self.vocab.codebooks(), MAX_CODEBOOKS)


@dataclasses.dataclass(frozen=True)
class PartTask:
  """Rows (line number, row or what is wrong with it) of part `number`."""

  number: int
  rows: list[tuple[int, dict[str, Any] | SongError]]
  root: pathlib.Path  # of the paths in the manifest
  directory: pathlib.Path  # to write into
  recipe: Recipe


@dataclasses.dataclass(frozen=True)
class Part:
  """What came of a task.

  Rows of the song table, records and languages are numbered from 0 in every
  part.
  """

  rows: int
  songs: Shard
  windows: Shard
  columns: dict[str, np.ndarray]  # by the names of PART_COLUMNS
  ids: list[str]  # of the rows of the song table
  languages: list[str]
  rejected: list[dict[str, Any]]
  counts: Counter  # of what was left out of songs and tracks


def write_part(task: PartTask) -> Part:
  """Writes the shards of one part; a function of the task alone."""
  folder, number = task.directory, f"{task.number:08}"
  with (
    ShardWriter(folder / f"songs-{number}") as songs,
    ShardWriter(folder / f"windows-{number}") as windows,
  ):
    writer = _Writer(task.recipe, songs, windows)
    rejected = []
    for line, row in task.rows:
      try:
        rejected += writer.write_row(line, row, task.root)
      except Exception as error:
        error.add_note(f"while preparing line {line} of the manifest")
        raise
    expect_languages(writer.languages)
    columns = {
      name: np.array(values, PART_COLUMNS[name])
      for name, values in writer.columns.items()
    }
    return Part(
      rows=len(task.rows),
      songs=songs.close(),
      windows=windows.close(),
      columns=columns,
      ids=writer.ids,
      languages=list(writer.languages),
      rejected=rejected,
      counts=writer.counts,
    )


def expect_languages(languages: Mapping[str, int]) -> None:
  """Raises ValueError for more names of languages than a column holds."""
  if len(languages) > MAX_LANGUAGES + 1:
    raise ValueError(
      f"the manifest names more than {MAX_LANGUAGES} languages, among them"
      f' {list(languages)[1:9]}; expected names as "en" in `language`'
    )


class _Writer:
  """Writes songs and windows, and remembers columns and counts."""

  def __init__(self, recipe: Recipe, songs: ShardWriter, windows: ShardWriter):
    self._recipe, self._songs, self._windows = recipe, songs, windows
    self.columns: dict[str, list] = {name: [] for name in PART_COLUMNS}
    self.ids: list[str] = []
    self.languages: dict[str, int] = {"": 0}
    self.counts: Counter = Counter()

  def write_row(
    self, line: int, row: dict[str, Any] | SongError, root: pathlib.Path
  ) -> list[dict[str, Any]]:
    """Writes what the row has; returns its rejection if that is no song."""
    if isinstance(row, SongError):
      return [rejection(line, None, row, {})]
    try:
      id = song_id(row)
    except SongError as error:
      return [rejection(line, None, error, {})]
    tracks = self._read_tracks(row, root)
    fault, song, language = None, None, ""
    try:
      language = row_language(row)
      song = self._encode(row, tracks)
    except SongError as error:
      fault = error
    windows = self._write_tracks(len(self.ids), tracks)
    if song or windows:
      self._add_row(line, id, language, song, tracks)
    if song:
      self._songs.write(encode_song_record(song))
    return [rejection(line, id, fault, windows)] if fault else []

  def _read_tracks(self, row: dict[str, Any], root: pathlib.Path) -> _Tracks:
    names = {
      "songs": TRACKS,
      "music": music_tracks(row),
      "speech": ("mixture",),
    }[self._recipe.content]
    return tracks_from_row(row, root, vocab=self._recipe.vocab, names=names)

  def _encode(self, row: dict[str, Any], tracks: _Tracks) -> EncodedSong:
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
    self,
    line: int,
    id: str,
    language: str,
    song: EncodedSong | None,
    tracks: _Tracks,
  ) -> None:
    """Adds to the song table: a song, or a row that gave windows only."""
    self.ids.append(id)
    self._append(
      line=line,
      record=self._songs.records if song else NO_RECORD,
      id_hash=hash_bytes(id.encode()),
      language=self.languages.setdefault(language, len(self.languages)),
      **song_columns(song),
    )
    for track in TRACKS:
      codes = tracks.get(track)
      hashed = hash_codes(codes[0]) if isinstance(codes, np.ndarray) else 0
      self._append(**{f"codes_{track}": hashed})
    for section in song.sections if song else ():
      self._append(
        section_text=len(section.text),
        section_plain_text=len(section.plain_text),
        section_start=section.start,
        section_end=section.end,
        section_chorus=section.chorus,
      )

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
  line: int, id: str | None, error: SongError, windows: dict[str, int]
) -> dict[str, Any]:
  """A line of rejected.jsonl; `windows` counts what its tracks gave."""
  return {
    "line": line,
    "id": id,
    "reason": error.reason,
    "message": error.message,
    "windows": windows,
  }
