"""One part of a manifest: consecutive rows become two shards and columns.

A part is a task on its own: what it writes depends on its rows alone, not on
which process works on it or how many there are. A row that cannot become a
song is listed with its reason and stops nothing. Windows need a single track
only: as released, they are cut from every track that can be read, as long as
it is, whether or not its row becomes a song.
"""

from collections import Counter
import dataclasses
import pathlib
from typing import Any

import numpy as np

from yue_jax.data.layout import COLUMNS, NO_SONG
from yue_jax.data.records import (
  TRACKS,
  Shard,
  ShardWriter,
  encode_song_record,
  encode_windows_record,
)
from yue_jax.documents import varied_windows
from yue_jax.encoding import INSTRUCTION, EncodedSong, encode_song
from yue_jax.songs import (
  Rules,
  Song,
  SongError,
  song_from_tracks,
  song_id,
  tracks_from_row,
)
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import MAX_CODEBOOKS, Vocab

_DTYPES = {
  "id": np.bytes_,
  "fps": np.float64,
  "section_chorus": np.bool_,
  "run_track": np.uint8,
}  # of the other columns: int32, so that sums are int64 and never float


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
    instruction: how every text begins.
  """

  tokenizer: Tokenizer
  vocab: Vocab
  rules: Rules
  window: int = 300
  windows_per_record: int = 3
  instruction: str = INSTRUCTION

  def __post_init__(self):
    for name in ("window", "windows_per_record"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)}, expected 1 or more")
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
  """What came of a task; songs are numbered from 0 in every part."""

  rows: int
  songs: Shard
  windows: Shard
  columns: dict[str, np.ndarray]
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
    columns = {
      name: np.array(values, _DTYPES.get(name, np.int32))
      for name, values in writer.columns.items()
    }
    return Part(
      rows=len(task.rows),
      songs=songs.close(),
      windows=windows.close(),
      columns=columns,
      rejected=rejected,
      counts=writer.counts,
    )


class _Writer:
  """Writes songs and windows, and remembers columns and counts."""

  def __init__(self, recipe: Recipe, songs: ShardWriter, windows: ShardWriter):
    self._recipe, self._songs, self._windows = recipe, songs, windows
    self.columns: dict[str, list] = {name: [] for name in COLUMNS}
    self.counts: Counter = Counter()

  def write_row(
    self, line: int, row: dict[str, Any] | SongError, root: pathlib.Path
  ) -> list[dict[str, Any]]:
    """Writes what the row has; returns its rejection if that is no song."""
    if isinstance(row, SongError):
      return [_rejection(line, None, row, {})]
    try:
      id = song_id(row)
    except SongError as error:
      return [_rejection(line, None, error, {})]
    tracks = tracks_from_row(row, root, vocab=self._recipe.vocab)
    try:
      number = self._write_song(
        song_from_tracks(row, tracks, rules=self._recipe.rules)
      )
    except SongError as error:
      windows = self._write_tracks(NO_SONG, tracks)
      return [_rejection(line, id, error, windows)]
    self._write_tracks(number, tracks)
    return []

  def _write_song(self, song: Song) -> int:
    recipe = self._recipe
    encoded = encode_song(
      song,
      recipe.tokenizer,
      vocab=recipe.vocab,
      instruction=recipe.instruction,
    )
    number = self._songs.records
    self._songs.write(encode_song_record(encoded))
    self._add_song(song, encoded)
    self.counts["sections_dropped"] += len(song.dropped)
    return number

  def _add_song(self, song: Song, encoded: EncodedSong) -> None:
    self._append(
      id=song.id.encode(),
      frames=song.vocal.shape[1],
      fps=song.fps,
      head=len(encoded.head),
      section_count=len(encoded.sections),
    )
    for section in encoded.sections:
      self._append(
        section_text=len(section.text),
        section_plain_text=len(section.plain_text),
        section_start=section.start,
        section_end=section.end,
        section_chorus=section.chorus,
      )

  def _write_tracks(
    self, song: int, tracks: dict[str, np.ndarray | SongError]
  ) -> dict[str, int]:
    """Writes windows; returns how many, by those tracks that have any."""
    windows = {
      track: self._write_windows(song, number, tracks[track])
      for number, track in enumerate(TRACKS)
      if not isinstance(tracks[track], SongError)
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
      self._windows.write(encode_windows_record(windows))
      self._append(run_song=song, run_track=track, run_windows=len(run))
    return len(starts)

  def _append(self, **values) -> None:
    for name, value in values.items():
      self.columns[name].append(value)


def _rejection(
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
