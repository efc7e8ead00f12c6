"""Documents: token ids and their streams, built from songs (skeleton)."""

import dataclasses
from typing import NamedTuple

import numpy as np

INSTRUCTION = "Generate music from the given lyrics segment by segment."


class Document(NamedTuple):
  """What a model is trained on: ids int32 (n,), streams uint8 (n,)."""

  ids: np.ndarray
  streams: np.ndarray


@dataclasses.dataclass(frozen=True)
class Phrases:
  """Ids of the phrases around sections and around a reference clip."""

  segment_start: tuple[int, ...]
  segment_end: tuple[int, ...]
  reference_start: tuple[int, ...]
  reference_end: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class EncodedSection:
  """Ids of a section's text, and its frames (half-open)."""

  text: np.ndarray  # int32
  start: int
  end: int
  chorus: bool


@dataclasses.dataclass(frozen=True)
class EncodedSong:
  """What documents are built from; tracks hold codebook 0, (T,) uint16."""

  id: str
  head: np.ndarray  # int32 ids of instruction, tags and all lyrics
  sections: tuple[EncodedSection, ...]
  tracks: dict[str, np.ndarray]  # "vocal", "backing", "mixture"
