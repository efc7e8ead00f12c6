"""Recordings: rows of a manifest that have no lyrics by section.

  music   one, two or all of the tracks, and tags if there are any
  speech  one track, as the mixture, and what is said

The fields that a song has too are named and checked as in `songs`.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from yue_jax.errors import SongError
from yue_jax.songs import (
  TRACK_KEYS,
  Rules,
  frame_rate,
  song_id,
  text_field,
  trim,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
  """One validated recording; tracks are (codebooks, frames) uint16.

  All tracks have the same number of frames. `transcript` is "" in music.
  """

  id: str
  tags: str
  transcript: str
  tracks: dict[str, np.ndarray]  # "vocal", "backing", "mixture"
  fps: float

  @property
  def frames(self) -> int:
    return next(iter(self.tracks.values())).shape[1]


def music_tracks(row: Mapping[str, Any]) -> list[str]:
  """The tracks that a row of music names."""
  return [name for name, key in TRACK_KEYS.items() if row.get(key) is not None]


def music_from_tracks(
  row: Mapping[str, Any],
  tracks: Mapping[str, np.ndarray | SongError],
  *,
  rules: Rules,
) -> Recording:
  """Validates music, given what `tracks_from_row` has read for it.

  Raises SongError, and no other error, when the row cannot be used. Tracks
  that cannot be used are left out while one is left.
  """
  tags = "" if row.get("genres") is None else text_field(row, "genres")
  return _recording(row, tracks, rules, tags=tags)


def speech_from_tracks(
  row: Mapping[str, Any],
  tracks: Mapping[str, np.ndarray | SongError],
  *,
  rules: Rules,
) -> Recording:
  """Likewise speech, given its only track, the mixture."""
  transcript = text_field(row, "transcript")
  if not transcript.strip():
    raise SongError("bad_field", "transcript: expected text, it is empty")
  return _recording(row, tracks, rules, transcript=transcript)


def _recording(
  row: Mapping[str, Any],
  tracks: Mapping[str, np.ndarray | SongError],
  rules: Rules,
  *,
  tags: str = "",
  transcript: str = "",
) -> Recording:
  faults = [codes for codes in tracks.values() if isinstance(codes, SongError)]
  usable = {
    name: codes
    for name, codes in tracks.items()
    if not isinstance(codes, SongError)
  }
  if not usable:
    keys = ", ".join(TRACK_KEYS.values())
    missing = SongError("no_tracks", f"expected one of {keys}, there is none")
    raise faults[0] if faults else missing
  usable = trim(usable, rules)
  frames = next(iter(usable.values())).shape[1]
  return Recording(
    id=song_id(row),
    tags=tags,
    transcript=transcript,
    tracks=usable,
    fps=frame_rate(frames, row.get("audio_length_in_sec"), rules),
  )
