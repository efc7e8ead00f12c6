"""A song on disk: its folder while it is made, and when it is whole.

  songs/1/song.json.unfinished  what the song is made of, its sections so far
          stage1/vtrack.npy     (1, frames) codebook 0 of the vocal
                 itrack.npy                         and of the backing track
          stage2/vtrack.npy     (8, frames) all codebooks
                 itrack.npy
          song.json             replaces song.json.unfinished: all is there

Arrays are named and shaped as those of the released code; uint16. Every file is
replaced in one move, and what a JSON file describes is there before it is: a
folder with song.json is whole, whatever happened meanwhile.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
import dataclasses
import hashlib
import json
import pathlib
from typing import Any, BinaryIO

import numpy as np

from yue_jax.sampling.song import SongSection
from yue_jax.tracks import FILES
from yue_jax.whole_directory import whole_file

TRACKS = tuple(FILES.values())  # the vocal, the backing track
WHOLE, UNFINISHED = "song.json", "song.json.unfinished"
# What a song depends on, of the entries of its JSON file; its texts as well.
_DECIDING = (
  *("tags", "seed", "settings", "reference", "given"),
  *("checkpoints", "vocabulary", "tokenizer"),
)


@dataclasses.dataclass(frozen=True)
class StoredSong:
  """A song as its folder has it.

  Attributes:
    description: the JSON file.
    sections: those that are sung, of the `texts` from the first on.
    whole: whether all is there, residual codebooks included.
  """

  description: dict[str, Any]
  sections: tuple[SongSection, ...]
  whole: bool

  @property
  def texts(self) -> list[str]:
    return [section["text"] for section in self.description["sections"]]


def read_song(folder: pathlib.Path) -> StoredSong | None:
  """The song in a folder, finished or not; None if there is none.

  Raises:
    ValueError: the folder's files do not belong together.
  """
  for name in (WHOLE, UNFINISHED):
    if (folder / name).exists():
      description = read_description(folder / name, {"sections", *_DECIDING})
      sections = _read_sections(folder, description["sections"])
      return StoredSong(description, sections, name == WHOLE)
  return None


def write_sections(
  folder: pathlib.Path,
  description: Mapping[str, Any],
  texts: Sequence[str],
  sections: Sequence[SongSection],
) -> None:
  """Writes what is sung of a song so far, and that it is not finished."""
  folder.mkdir(parents=True, exist_ok=True)
  if sections:
    tracks = [np.concatenate(t)[None] for t in zip(*sections, strict=True)]
    _write_tracks(folder / "stage1", tracks)
  sung = {"sections": spans(texts, sections)}
  _write_json(folder / UNFINISHED, {**sung, **description})


def write_whole(
  folder: pathlib.Path,
  description: Mapping[str, Any],
  texts: Sequence[str],
  sections: Sequence[SongSection],
  tracks: Sequence[np.ndarray],
) -> dict[str, Any]:
  """Writes all codebooks of a song whose sections are written.

  Args:
    tracks: (codebooks, frames) of the vocal and of the backing track.

  Returns:
    What song.json holds.
  """
  _write_tracks(folder / "stage2", tracks)
  described = {
    "frames": tracks[0].shape[1],
    "sections": spans(texts, sections),
    **description,
  }
  _write_json(folder / WHOLE, described)
  (folder / UNFINISHED).unlink(missing_ok=True)
  return described


def check_same(
  stored: StoredSong, description: Mapping[str, Any], texts: Sequence[str]
) -> None:
  """Raises ValueError unless both are one song.

  Paths, versions of libraries and the time it took may differ.
  """
  # As JSON gives it back: lists for tuples.
  now, was = json.loads(json.dumps(dict(description))), stored.description
  differing = [
    f"{name} was {was.get(name)!r:.200}, is {now.get(name)!r:.200}"
    for name in _DECIDING
    if was.get(name) != now.get(name)
  ]
  if stored.texts != list(texts):
    differing.append("other lyrics")
  if differing:
    raise ValueError("it was begun as another song: " + "; ".join(differing))


def fingerprint(arrays: Sequence[np.ndarray]) -> str:
  """What tells arrays from others: shapes and values."""
  digest = hashlib.sha256()
  for array in arrays:
    digest.update(f"{array.shape}".encode())
    digest.update(np.asarray(array, "<i4").tobytes())
  return digest.hexdigest()[:16]


def load_codes(path: pathlib.Path) -> np.ndarray:
  """Codes of a .npy file: (codebooks, frames), or (frames,) of codebook 0."""
  try:
    codes = np.lib.format.open_memmap(path, mode="r")
  except OSError:
    raise  # says which file
  except Exception as error:  # a broken header can raise nearly anything
    raise ValueError(
      f"{path} is no .npy array of codes ({error}); give one that np.save"
      " wrote, such as a vtrack.npy"
    ) from error
  if codes.ndim not in (1, 2):
    raise ValueError(
      f"{path} has shape {codes.shape}, expected (codebooks, frames) or"
      " (frames,)"
    )
  return np.atleast_2d(codes)


def spans(
  texts: Sequence[str], sections: Sequence[SongSection]
) -> list[dict[str, Any]]:
  """The text of every section, and the frames of those that are sung."""
  ends = np.cumsum([len(section.vocal) for section in sections]).tolist()
  found: list[dict[str, Any]] = [{"text": text} for text in texts]
  for span, start, end in zip(found, [0, *ends], ends, strict=False):
    span.update(start=start, end=end)
  return found


def _read_sections(
  folder: pathlib.Path, spans: Sequence[Mapping[str, Any]]
) -> tuple[SongSection, ...]:
  sung = [span for span in spans if "end" in span]
  if not sung:
    return ()
  # What an interruption left may hold more than is described.
  tracks = [load_codes(folder / "stage1" / name)[0] for name in TRACKS]
  frames = min(map(len, tracks))
  if frames < sung[-1]["end"]:
    raise ValueError(
      f"{folder}/stage1 has {frames} frames, its description"
      f" {sung[-1]['end']}; remove the folder, or restore it from a copy"
    )
  return tuple(
    SongSection(*(np.array(t[span["start"] : span["end"]]) for t in tracks))
    for span in sung
  )


def read_description(
  path: pathlib.Path, wanted: Collection[str]
) -> dict[str, Any]:
  """The JSON file of a song, which must have these entries.

  Raises:
    ValueError: it is damaged, or lacks some.
  """
  try:
    description = json.loads(path.read_text("utf-8"))
  except ValueError as error:
    raise ValueError(f"{path} is damaged: {error}") from error
  missing = sorted(set(wanted) - (description or {}).keys())
  if missing:
    raise ValueError(
      f"{path} says nothing of {missing}; expected one of tools/generate.py"
    )
  return description


def _write_tracks(folder: pathlib.Path, tracks: Sequence[np.ndarray]) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  for name, codes in zip(TRACKS, tracks, strict=True):
    _replace(
      folder / name,
      lambda file, codes=codes: np.save(file, codes, allow_pickle=False),
    )


def _write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
  text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
  _replace(path, lambda file: file.write(text.encode()))


def _replace(path: pathlib.Path, write: Callable[[BinaryIO], Any]) -> None:
  """Writes a file whole, or leaves what was there."""
  with whole_file(path) as partial, partial.open("wb") as file:
    write(file)
