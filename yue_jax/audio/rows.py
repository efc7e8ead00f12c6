"""A song's files as waveforms and the row of a manifest.

  stems and mixture ─► tracks of one length, (samples,) float32 of 16 kHz
  lyrics, structure ─► sections (`sheets`)
  tags              ─► genres, language

What cannot be used is a SongError; nothing else is raised for bad files.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import pathlib
import tempfile
from typing import Any

import numpy as np

from yue_jax import checks
from yue_jax.audio import reading, separation
from yue_jax.audio.reading import Limits
from yue_jax.audio.stems import TRACKS, SongFiles
from yue_jax.codec import FRAME_RATE
from yue_jax.errors import SongError
from yue_jax.sheets import align
from yue_jax.sheets.read import read_lyrics, read_structure
from yue_jax.songs import Rules

CONTENTS = ("songs", "music")
_MAX_TAGS = 2**16  # bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowSettings:
  """What is read of songs.

  Attributes:
    content: "songs" have both stems, lyrics and tags; "music" has any tracks.
    limits: of every sound.
    separate: a command for songs without stems; see `separation`.
    tags: of songs that bring none.
    language: likewise.
  """

  content: str = "songs"
  limits: Limits = Limits()
  separate: str | None = None
  tags: str | None = None
  language: str | None = None

  def __post_init__(self):
    checks.one_of(self, "content", CONTENTS)
    if self.separate is not None:
      separation.check_command(self.separate)


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedSong:
  """A song that is ready to be encoded.

  Attributes:
    tracks: waveforms by name, of one length.
    fields: of its row, those of the codes excepted.
    sections: with times; None in music.
  """

  id: str
  tracks: Mapping[str, np.ndarray]
  fields: Mapping[str, Any]
  sections: list[align.Section] | None


def source_fingerprint(song: SongFiles, settings: RowSettings) -> str:
  """Changes with any byte of a song's files, and with the settings."""
  digest = hashlib.sha256(repr(settings).encode())
  for role, path in sorted(song.files.items()):
    digest.update(f"{role} {path.suffix}".encode())
    with path.open("rb") as file:
      digest.update(hashlib.file_digest(file, "sha256").digest())
  return digest.hexdigest()[:16]


def load_song(song: SongFiles, settings: RowSettings) -> LoadedSong:
  """Reads a song: sound, lyrics, structure and tags."""
  tags = _tags(song, settings)
  lyrics = structure = None
  if settings.content == "songs":
    lyrics, structure = _sheets(song)
  tracks, clipped = _tracks(song, settings)
  seconds = len(next(iter(tracks.values()))) / reading.SAMPLE_RATE
  sections = None
  if lyrics is not None:
    sections = align.sections(lyrics, structure, seconds)
  fields = {"audio_length_in_sec": seconds, **tags, "clipped": clipped}
  return LoadedSong(song.id, tracks, fields, sections)


def _tracks(
  song: SongFiles, settings: RowSettings
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
  """Waveforms of one length, and the share of clipped samples of the files."""
  paths, limits = song.tracks, settings.limits
  missing = {"vocal", "backing"} - paths.keys()
  with tempfile.TemporaryDirectory() as folder:
    if settings.content == "songs" and missing:
      paths |= _separated(song, settings, pathlib.Path(folder), missing)
    read = {
      name: reading.read_audio(path, limits) for name, path in paths.items()
    }
  waves = _one_length({name: sound.samples for name, sound in read.items()})
  if "mixture" not in waves and {"vocal", "backing"} <= waves.keys():
    mixture = waves["vocal"] + waves["backing"]
    waves["mixture"] = mixture / max(np.abs(mixture).max(), 1.0)
  clipped = {name: sound.clipped for name, sound in read.items()}
  ordered = {name: waves[name] for name in TRACKS if name in waves}
  return ordered, {name: c for name, c in clipped.items() if c}


def _separated(
  song: SongFiles,
  settings: RowSettings,
  folder: pathlib.Path,
  missing: set[str],
) -> dict[str, pathlib.Path]:
  if settings.separate is None or "mixture" not in song.files:
    raise SongError(
      "missing_stem",
      f"{song.id} has no {' and no '.join(sorted(missing))} track; add the"
      " stems, or have them separated from its mixture (--separate)",
    )
  mixture = song.files["mixture"].resolve()
  return separation.separate(settings.separate, mixture, folder)


def _one_length(waves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Trims to the shortest; refused where that is more than songs allow."""
  lengths = {name: len(wave) for name, wave in waves.items()}
  shortest, longest = min(lengths.values()), max(lengths.values())
  most = Rules.max_track_difference
  if longest - shortest > most * reading.SAMPLE_RATE // FRAME_RATE:
    seconds = {n: round(c / reading.SAMPLE_RATE, 3) for n, c in lengths.items()}
    raise SongError(
      "track_difference",
      f"tracks last {seconds} s; at most {most / FRAME_RATE} s are trimmed",
    )
  return {name: wave[:shortest] for name, wave in waves.items()}


def _sheets(song: SongFiles):
  if "lyrics" not in song.files:
    raise SongError(
      "no_lyrics",
      f"{song.id} has no lyrics; sections without words make an instrumental,"
      " and songs without sections are --content music",
    )
  structure = song.files.get("structure")
  return (
    read_lyrics(song.files["lyrics"]),
    None if structure is None else read_structure(structure),
  )


def _tags(song: SongFiles, settings: RowSettings) -> dict[str, str]:
  """`genres` and `language`, those that are known."""
  given = {"genres": settings.tags, "language": settings.language}
  if "tags" in song.files:
    given |= _read_tags(song.files["tags"])
  if given["genres"] is None and settings.content == "songs":
    raise SongError(
      "no_tags", f"{song.id} has no tags.txt; add one, or give tags for all"
    )
  return {name: value for name, value in given.items() if value is not None}


def _read_tags(path: pathlib.Path) -> dict[str, str]:
  """Of text, or of JSON: {"genres": "pop airy" or a list, "language": "en"}."""
  try:
    with path.open(encoding="utf-8-sig") as file:
      text = file.read(_MAX_TAGS)
    found = json.loads(text) if path.suffix.lower() == ".json" else text
  except (ValueError, RecursionError) as error:
    raise SongError("bad_tags", f"{path}: {error}") from error
  if isinstance(found, str | list):
    found = {"genres": found}
  if not isinstance(found, dict) or found.keys() - {"genres", "language"}:
    raise SongError("bad_tags", f"{path}: expected genres and language alone")
  genres = found.get("genres", "")
  if isinstance(genres, list) and all(isinstance(tag, str) for tag in genres):
    genres = " ".join(genres)
  language = found.get("language")
  if not isinstance(genres, str) or not isinstance(language, str | None):
    raise SongError("bad_tags", f"{path}: genres and language are text")
  tags = {"genres": " ".join(genres.split())}
  if not tags["genres"]:
    raise SongError("bad_tags", f"{path} has no tags")
  return tags if language is None else tags | {"language": language}
