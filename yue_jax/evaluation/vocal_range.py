"""Vocal range: from a track of fundamental frequencies to semitones.

The rule of the paper (section 5.2, "vocal agility"): frequencies, one every 10
ms, are rounded to the nearest MIDI note; a note counts once it is held for
four equal frames in a row; the range is the highest such note less the lowest.

    Hz    220 221 219 220 | 0 | 440 440 441 | 247 247 246 247 247
    note   57  57  57  57 | - |  69  69  69 |  59  59  59  59  59
    kept   57                   (three only)   59
    range  59 - 57 = 2
"""

from typing import NamedTuple

import numpy as np

HELD = 4  # frames
A4, A4_NOTE, SEMITONES = 440.0, 69, 12
LOWEST, HIGHEST = 20.0, 8000.0  # Hz, of anything a voice does


class Range(NamedTuple):
  """Lowest and highest MIDI note that is held."""

  lowest: int
  highest: int

  @property
  def semitones(self) -> int:
    return self.highest - self.lowest


def vocal_range(frequencies: np.ndarray) -> Range:
  """The range of a voice.

  Args:
    frequencies: (frames,) in Hz, one every 10 ms; 0 where nobody sings.

  Raises:
    ValueError: it is no such track, or no note is held for four frames.
  """
  _check(frequencies)
  notes = midi_notes(frequencies)
  starts = np.flatnonzero(np.diff(notes, prepend=notes[0] - 1))
  lengths = np.diff(starts, append=len(notes))
  kept = notes[starts][(lengths >= HELD) & (notes[starts] >= 0)]
  if not len(kept):
    raise ValueError(
      f"no note is held for {HELD} frames: {np.sum(notes >= 0)} of"
      f" {len(notes)} frames are voiced; is this the voice alone?"
    )
  return Range(int(kept.min()), int(kept.max()))


def midi_notes(frequencies: np.ndarray) -> np.ndarray:
  """The nearest MIDI note of each frequency; -1 where it is 0."""
  voiced = frequencies > 0
  safe = np.where(voiced, frequencies, A4)
  notes = np.round(A4_NOTE + SEMITONES * np.log2(safe / A4))
  return np.where(voiced, notes, -1).astype(np.int64)


def _check(frequencies: np.ndarray) -> None:
  f0 = frequencies
  if f0.ndim != 1 or not len(f0) or f0.dtype.kind not in "fiu":
    raise ValueError(
      f"an F0 track of shape {f0.shape} and type {f0.dtype}; expected (frames,)"
      " numbers in Hz, one every 10 ms"
    )
  if not np.isfinite(f0).all():
    raise ValueError(
      f"{(~np.isfinite(f0)).sum()} of {len(f0)} frames of an F0 track are not"
      " finite; expected 0 where nobody sings"
    )
  odd = (f0 != 0) & ((f0 < LOWEST) | (f0 > HIGHEST))
  if odd.any():
    raise ValueError(
      f"{odd.sum()} frames of an F0 track are outside of {LOWEST:g} to"
      f" {HIGHEST:g} Hz, such as {f0[odd][0]:g}; are these notes, or periods?"
    )
