"""Songs: rows of an openl2s manifest, validated (skeleton)."""

import dataclasses

import numpy as np


class SongError(ValueError):
  """A song that cannot be used; `reason` is a slug fit for counting."""

  def __init__(self, reason: str, message: str):
    super().__init__(message)
    self.reason = reason


@dataclasses.dataclass(frozen=True)
class Rules:
  """What a song must satisfy to be trained on."""

  min_fps: float = 49.0
  max_fps: float = 51.0
  max_track_difference: int = 10  # frames
  min_section_seconds: float = 1.0


@dataclasses.dataclass(frozen=True)
class Section:
  """Frames `start` to `end` (half-open) of a song, with their lyrics."""

  label: str  # "verse", "chorus", ...
  text: str  # as in the manifest: "[label]\nlyrics\n\n"
  start: int
  end: int


@dataclasses.dataclass(frozen=True)
class Song:
  """One validated song; tracks are (codebooks, frames) uint16."""

  id: str
  tags: str
  sections: tuple[Section, ...]
  vocal: np.ndarray
  backing: np.ndarray
  mixture: np.ndarray
  dropped: tuple[str, ...] = ()  # why sections are missing
