"""A folder of songs to codes and a manifest.

  out/codec.json       which codec
      codes/ID.vocal.npy .backing.npy .mixture.npy   (codebooks, frames) uint16
      songs.jsonl      a row for each song, for tools/prepare_songs.py
      rejected.jsonl   {"id", "reason", "message"} of each that cannot be used

Rows are appended as songs are finished, after their codes. A song whose row is
there, made of the same files with the same settings, is not encoded again.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
import contextlib
import dataclasses
import itertools
import json
import pathlib
from typing import Any

import numpy as np

from yue_jax.audio.codecs import Codec
from yue_jax.audio.rows import (
  LoadedSong,
  RowSettings,
  load_song,
  source_fingerprint,
)
from yue_jax.audio.stems import SongFiles
from yue_jax.errors import SongError
from yue_jax.json_lines import JsonLines, Record, read_lines, write_lines
from yue_jax.pools import in_order
from yue_jax.progress import Progress
from yue_jax.sheets import align
from yue_jax.songs import TRACK_KEYS

Found = SongFiles | tuple[str, SongError]


@dataclasses.dataclass(frozen=True)
class Encoded:
  """What came of a folder of songs.

  Attributes:
    songs: in the manifest.
    new: of them, encoded just now.
    seconds: of all songs in the manifest.
    clipped: songs with clipped samples.
    rejected: songs that are not in it, by reason.
  """

  songs: int
  new: int
  seconds: float
  clipped: int
  rejected: dict[str, int]


def encode_songs(
  found: Sequence[Found],
  codec: Codec,
  out: pathlib.Path,
  settings: RowSettings,
  *,
  songs_at_once: int,
) -> Encoded:
  """Encodes songs into a folder, or goes on with it.

  Args:
    found: from `stems.find_songs`.
    codec: encodes the tracks of `songs_at_once` songs together.
    out: made if it is not there.
    settings: what is read.
    songs_at_once: that many are encoded, and as many read meanwhile.

  Raises ValueError if `out` holds codes of another codec.
  """
  _claim(out, codec)
  results = _Results(out)
  reader = _Reader(out, settings, results.before)
  with (
    ThreadPoolExecutor(songs_at_once) as pool,
    contextlib.closing(
      in_order(pool, reader.read, found, songs_at_once)
    ) as read,
    Progress(len(found), "songs", "encoding") as progress,
  ):
    while group := list(itertools.islice(read, songs_at_once)):
      ready = [item for item in group if isinstance(item, _Ready)]
      for row in _encode(ready, codec, out):
        results.add(row)
      for item in group:
        if isinstance(item, tuple):
          results.reject(*item)
        elif not isinstance(item, _Ready):
          results.keep(item)
      progress.advance(len(group), note=results.note())
  return results.finish()


class _Results:
  """The rows of a folder; what is found out of songs is written at once."""

  def __init__(self, out: pathlib.Path):
    self._path = out / "songs.jsonl"
    self.before = {row["id"]: row for row in read_lines(self._path)}
    self._journal = JsonLines(self._path, keep=lambda _: True)
    self._rejected = JsonLines(out / "rejected.jsonl", keep=lambda _: False)
    self._rows: dict[str, Record] = {}
    self._new, self._reasons = 0, Counter()

  def add(self, row: Record) -> None:
    """A song that was encoded just now."""
    self._journal.write(row)
    self._new += 1
    self.keep(row)

  def keep(self, row: Record) -> None:
    """A song of the manifest."""
    self._rows[row["id"]] = row

  def reject(self, id: str, error: SongError) -> None:
    self._reasons[error.reason] += 1
    message = str(error)
    self._rejected.write({"id": id, "reason": error.reason, "message": message})

  def note(self) -> str:
    count = self._reasons.total()
    return f"{count} rejected" if count else ""

  def finish(self) -> Encoded:
    """Writes the manifest as it would be had all been encoded at once."""
    self._rejected.close()
    self._journal.close()
    rows = [self._rows[id] for id in sorted(self._rows)]
    write_lines(self._path, rows)
    return Encoded(
      len(rows),
      self._new,
      sum(row["audio_length_in_sec"] for row in rows),
      sum(bool(row["clipped"]) for row in rows),
      dict(self._reasons),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Ready:
  song: LoadedSong
  source: str


class _Reader:
  """Reads songs, in threads."""

  def __init__(
    self, out: pathlib.Path, settings: RowSettings, old: dict[str, Record]
  ):
    self._out, self._settings, self._old = out, settings, old

  def read(self, found: Found) -> Record | _Ready | tuple[str, SongError]:
    """The row of a song that is finished, or what its row is made of."""
    if isinstance(found, tuple):
      return found
    try:
      source = source_fingerprint(found, self._settings)
      row = self._old.get(found.id)
      if row and row.get("source") == source and self._has_codes(row):
        return row
      return _Ready(load_song(found, self._settings), source)
    except SongError as error:
      return found.id, error
    except OSError as error:
      return found.id, SongError("unreadable", str(error))

  def _has_codes(self, row: Record) -> bool:
    names = [row[key] for key in TRACK_KEYS.values() if key in row]
    return all((self._out / name).is_file() for name in names)


def _encode(
  group: Sequence[_Ready], codec: Codec, out: pathlib.Path
) -> Iterator[Record]:
  """Encodes all tracks of a group, writes their codes, yields the rows."""
  waves = [wave for item in group for wave in item.song.tracks.values()]
  codes = iter(codec.encode(waves))
  for item in group:
    song, fields = item.song, {}
    for name in song.tracks:
      track = next(codes)
      path = out / "codes" / f"{song.id}.{name}.npy"
      path.parent.mkdir(parents=True, exist_ok=True)
      np.save(path, track, allow_pickle=False)
      fields[TRACK_KEYS[name]] = path.relative_to(out).as_posix()
      frames = track.shape[1]
    if song.sections is not None:
      entries = align.segmented_lyrics(song.sections, frames)
      fields["splitted_lyrics"] = {"segmented_lyrics": entries}
    yield {"id": song.id, **fields, **song.fields, "source": item.source}


def _claim(out: pathlib.Path, codec: Codec) -> None:
  """Writes which codec a folder is of, or compares."""
  out.mkdir(parents=True, exist_ok=True)
  now: dict[str, Any] = {
    "codec": codec.name,
    "fingerprint": codec.fingerprint(),
    "codebooks": codec.codebooks,
    "codebook_size": codec.codebook_size,
  }
  path = out / "codec.json"
  if not path.exists():
    path.write_text(json.dumps(now, indent=2) + "\n")
  elif (was := json.loads(path.read_text())) != now:
    raise ValueError(
      f"{out} has codes of the codec {was}, this one is {now}; choose another"
      " folder"
    )
