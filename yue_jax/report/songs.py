"""Generated songs as samples: their codes, words and sound.

Folders with a song.json are read: those of tools/generate.py, finished or not
(see `sampling.song_folder`), those that a run sings while it is trained (see
`rehearsal.folder`), and those of tools/sing_world.py. Where words were read
back from the codes, they are shown. Sound files in the folder are the song's,
as tools/decode_audio.py writes them; those of tools/render_world.py lie in
`wav`, beside the folder of all songs.
"""

from collections.abc import Mapping
import dataclasses
import itertools
import pathlib
from typing import Any

import numpy as np

from yue_jax.sampling.song_folder import (
  TRACKS,
  UNFINISHED,
  WHOLE,
  load_codes,
  read_description,
)

# By the suffix of a sound file, what a browser is told.
SOUND = {
  ".wav": "audio/wav",
  ".flac": "audio/flac",
  ".mp3": "audio/mpeg",
  ".ogg": "audio/ogg",
}


@dataclasses.dataclass(frozen=True)
class Section:
  """A section of a song.

  Attributes:
    text: label and lyrics.
    codes: of the vocal and of the backing track, (codebooks, frames) each.
    heard: words read back from the codes; None if nobody has.
  """

  text: str
  codes: tuple[np.ndarray, ...]
  heard: str | None = None


@dataclasses.dataclass(frozen=True)
class Sample:
  """A song to be shown.

  Attributes:
    folder: it lies in.
    tags: it was made from.
    step: of the run that sang it; None where that is not known.
    sections: those that are sung.
    whole: whether all of it is there.
    sounds: files of it, and of the true song.
  """

  folder: pathlib.Path
  tags: str
  step: int | None
  sections: tuple[Section, ...]
  whole: bool
  sounds: tuple[pathlib.Path, ...]


def folders_in(*roots: pathlib.Path) -> list[pathlib.Path]:
  """Folders of songs: the roots, and what lies in them up to two levels deeper.

  Those of later steps of a run come first.
  """
  found = {
    path.parent
    for root in roots
    for depth in ("", "*/", "*/*/")
    for name in (WHOLE, UNFINISHED)
    for path in root.glob(depth + name)
  }
  return sorted(found, key=lambda f: (-_step(f), len(f.parts), f))


def _step(folder: pathlib.Path) -> int:
  """Of the run that sang the song, by the folder it lies in; 0 for none."""
  name = folder.parent.name.removeprefix("step_")
  return int(name) if name.isdecimal() else 0


def beside(run_dir: pathlib.Path) -> list[pathlib.Path]:
  """Folders of songs in `song` or `songs`, in a run directory or beside it.

  Those of the run itself come first.
  """
  places = (run_dir, run_dir.resolve().parent)
  found = [folders_in(place / "song", place / "songs") for place in places]
  return list(itertools.chain(*found))


def read_sample(folder: pathlib.Path) -> Sample:
  """The song in a folder.

  Raises:
    ValueError: its files are damaged, or do not belong together.
    OSError: one of them is missing.
  """
  whole = (folder / WHOLE).is_file()
  song = read_description(
    folder / (WHOLE if whole else UNFINISHED), {"tags", "sections"}
  )
  spans = _spans(song)
  sections = _cut(_codes(folder, whole), spans, folder) if spans else ()
  return Sample(
    folder, song["tags"], song.get("step"), sections, whole, _sounds(folder)
  )


def _sounds(folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
  rendered = folder.resolve().parent.parent / "wav"
  names = (f"{folder.name}.wav", f"{folder.name}.true.wav")
  return (
    *sorted(p for p in folder.iterdir() if p.suffix.lower() in SOUND),
    *(rendered / name for name in names if (rendered / name).is_file()),
  )


def _spans(song: Mapping[str, Any]) -> list[Mapping[str, Any]]:
  """Text, first and last frame of the sections that are sung."""
  if "frames" in song and isinstance(song["frames"], list):  # sing_world.py
    ends = np.cumsum(song["frames"]).tolist()
    return [
      {"text": text, "start": end - frames, "end": end, "words": words}
      for text, frames, end, words in zip(
        song["sections"], song["frames"], ends, song["words"], strict=True
      )
    ]
  return [section for section in song["sections"] if "end" in section]


def _codes(folder: pathlib.Path, whole: bool) -> list[np.ndarray]:
  """Of the vocal and of the backing track, the latest that there are."""
  places = [folder / "stage2"] if whole else []
  for place in (*places, folder / "stage1", folder):
    if (place / TRACKS[0]).is_file():
      return [load_codes(place / name) for name in TRACKS]
  raise FileNotFoundError(
    f"{folder} has no {TRACKS[0]}, though sections are described in it; restore"
    " it, or remove the folder"
  )


def _cut(
  tracks: list[np.ndarray],
  spans: list[Mapping[str, Any]],
  folder: pathlib.Path,
) -> tuple[Section, ...]:
  frames, end = min(t.shape[1] for t in tracks), spans[-1]["end"]
  if frames < end:
    raise ValueError(
      f"{folder} has codes of {frames} frames, and describes {end}; restore it,"
      " or remove the folder"
    )
  return tuple(
    Section(
      span["text"],
      tuple(
        np.asarray(track[:, span["start"] : span["end"]], np.int64)
        for track in tracks
      ),
      " ".join(span["words"]) if "words" in span else None,
    )
    for span in spans
  )
