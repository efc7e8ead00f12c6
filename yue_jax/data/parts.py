"""One part of a data set: consecutive rows become two shards and columns.

  part-00000042/
    songs.array_record, windows.array_record
    columns.npz       the columns of `layout`, numbered from 0 in every part
    rejected.jsonl    rows that became no song
    part.json         counts and checksums; written last

A part is a task on its own: what it writes depends on its rows alone, not on
which process works on it or how many there are. Its folder gets its name when
all of it is there. A row that cannot become a song is listed with its reason
and stops nothing. Windows need a single track only: as released, they are cut
from every track that can be read, as long as it is, whether or not its row
becomes a song.
"""

from collections import Counter
from collections.abc import Mapping
import dataclasses
import hashlib
import json
import pathlib
from typing import Any, Self

import numpy as np

from yue_jax.data.chunks import Chunk, hash_line
from yue_jax.data.layout import (
  COLUMNS,
  MAX_LANGUAGES,
  NO_RECORD,
  hash_bytes,
  hash_codes,
)
from yue_jax.data.recipe import Recipe
from yue_jax.data.records import (
  TRACKS,
  Shard,
  ShardWriter,
  encode_song_record,
  encode_windows_record,
)
from yue_jax.documents import varied_windows
from yue_jax.encoding import EncodedSong, encode_recording, encode_song
from yue_jax.errors import SongError
from yue_jax.manifest import Line, Row, parse_row, read_segment
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
from yue_jax.whole_directory import whole_directory

_Tracks = dict[str, np.ndarray | SongError]
# Groups are found when parts are joined. Duplicates, too: these say where
# they are and, as lengths and bytes, what their ids are.
PART_COLUMNS = {n: d for n, d in COLUMNS.items() if n != "group"} | {
  "segment": np.uint32,  # of the chunk
  "line": np.int64,
  "id_size": np.uint32,
}


@dataclasses.dataclass(frozen=True)
class PartTask:
  """What to write into the new directory `directory`."""

  chunk: Chunk
  directory: pathlib.Path
  recipe: Recipe
  root: pathlib.Path | None  # of paths; None: the folder of their manifest
  settings: str  # SHA-256 of all settings


@dataclasses.dataclass(frozen=True)
class Part:
  """The contents of part.json.

  Attributes:
    rows: of the manifest.
    lines: SHA-256 of them.
    settings: SHA-256 of all settings.
    songs, windows: the shards.
    languages: names of those in the column "language".
    rejected: rows by reason.
    left_out: counts of what was left out of songs and tracks.
    files: SHA-256 of the other files by name.
  """

  rows: int
  lines: str
  settings: str
  songs: Shard
  windows: Shard
  languages: list[str]
  rejected: dict[str, int]
  left_out: dict[str, int]
  files: dict[str, str]

  @classmethod
  def read(cls, directory: pathlib.Path) -> Self:
    """Of a finished part; ValueError if it is not as it was written."""
    path = directory / "part.json"
    try:
      fields = json.loads(path.read_bytes())
      shards = {name: Shard(**fields[name]) for name in ("songs", "windows")}
      part = cls(**fields | shards)
      for name, expected in part.files.items():
        if _sha256(directory / name) != expected:
          raise ValueError(f"{name} has changed")
      for shard in shards.values():
        file = directory / shard.name  # until it is joined
        if file.exists() and file.stat().st_size != shard.bytes:
          raise ValueError(f"{shard.name} has not {shard.bytes} bytes")
    except (OSError, ValueError, TypeError, KeyError) as error:
      raise ValueError(
        f"{directory} is damaged ({error}); remove it and start again"
      ) from error
    return part


def write_part(task: PartTask) -> Part:
  """Writes one part, unless it is there; a function of the task alone."""
  try:
    with whole_directory(task.directory) as folder:
      _write_files(task, folder)
  except OSError:
    # Somebody else may have written the same, just now or long ago.
    if not (task.directory / "part.json").is_file():
      raise
  return Part.read(task.directory)


def _write_files(task: PartTask, folder: pathlib.Path) -> None:
  lines = hashlib.sha256()
  with (
    ShardWriter(folder / "songs.array_record") as songs,
    ShardWriter(folder / "windows.array_record") as windows,
    open(folder / "rejected.jsonl", "w") as file,
  ):
    writer = _Writer(task.recipe, songs, windows)
    rejected = Counter()
    for number, segment in enumerate(task.chunk.segments):
      root = task.root or pathlib.Path(segment.manifest).parent
      for line in read_segment(segment):
        lines.update(hash_line(line))
        place = {"manifest": segment.manifest, "line": line.number}
        try:
          fault = writer.write_row(number, line, root)
        except Exception as error:
          error.add_note(f"while preparing {segment.manifest}:{line.number}")
          raise
        if fault:
          rejected[fault["reason"]] += 1
          file.write(json.dumps(place | fault) + "\n")
    if lines.hexdigest() != task.chunk.sha256:
      raise ValueError(
        f"{task.chunk.describe()} has changed since it was first read;"
        " leave manifests as they are until the data set is complete"
      )
    expect_languages(writer.languages)
    shards = {"songs": songs.close(), "windows": windows.close()}
  np.savez(folder / "columns.npz", **writer.arrays())
  part = Part(
    rows=task.chunk.rows,
    lines=task.chunk.sha256,
    settings=task.settings,
    **shards,
    languages=list(writer.languages),
    rejected=dict(rejected),
    left_out=dict(+writer.counts),
    files={n: _sha256(folder / n) for n in ("columns.npz", "rejected.jsonl")},
  )
  text = json.dumps(dataclasses.asdict(part), indent=2)
  (folder / "part.json").write_text(text + "\n")


def expect_languages(languages: Mapping[str, int]) -> None:
  """Raises ValueError for more names of languages than a column holds."""
  if len(languages) > MAX_LANGUAGES + 1:
    raise ValueError(
      f"the manifest names more than {MAX_LANGUAGES} languages, among them"
      f' {list(languages)[1:9]}; expected names as "en" in `language`'
    )


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


def _sha256(path: pathlib.Path) -> str:
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


class _Writer:
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
