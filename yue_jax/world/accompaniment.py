"""A chordal accompaniment: the backing codes of the small world, audible.

  codes  C1.0 C1.1 C1.2 C1.3 C5.0 ...   chord and beat of every frame
  sound  all notes and the bass at beat 0, one note of the chord at the others

Strings are plucked: harmonics that die away, the higher the sooner. Chords are
those of C major. It is a demonstration for ears and tests.
"""

import functools

import numpy as np

from yue_jax.world.generator import World

_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_ROOT = 48  # MIDI note of the lowest chord
_HARMONICS = 8
_DECAY_SECONDS = 0.5  # of the first harmonic, to 1 / e
_SECONDS = 1.5  # of a note
_ATTACK_SECONDS = 0.004


def chord_notes(chord: int) -> tuple[int, int, int]:
  """MIDI notes of a chord, lowest first: the triads of C major in turn."""
  steps = (chord % 7, chord % 7 + 2, chord % 7 + 4)
  octave = 12 * (chord // 7)
  return tuple(_ROOT + octave + 12 * (s // 7) + _MAJOR[s % 7] for s in steps)


def play(
  world: World, codes: np.ndarray, *, rate: int, frame: int
) -> np.ndarray:
  """Sound of backing codes (frames,), (frames x frame,) float64.

  Args:
    codes: of codebook 0; what is no backing code is silence.
    rate: samples a second.
    frame: samples of a frame.
  """
  cfg = world.cfg
  length = round(_SECONDS * rate)
  sound = np.zeros(len(codes) * frame + length)
  for number, code in enumerate(codes.tolist()):
    if cfg.vocal_codes <= code < cfg.codes:
      chord, beat = divmod(code - cfg.vocal_codes, cfg.beats)
      sound[number * frame :][:length] += _stroke(chord, beat, rate)
  return sound[: len(codes) * frame]


@functools.lru_cache(maxsize=256)
def _stroke(chord: int, beat: int, rate: int) -> np.ndarray:
  """What is plucked at a beat of a chord."""
  low, middle, high = chord_notes(chord)
  if beat == 0:
    bass = _pluck(low - 12, rate)
    return bass + 0.6 * sum(_pluck(n, rate) for n in (low, middle, high))
  return 0.5 * _pluck((middle, high, low + 12)[(beat - 1) % 3], rate)


def _pluck(note: int, rate: int) -> np.ndarray:
  """One note, with harmonics below half the rate."""
  hertz = 440.0 * 2 ** ((note - 69) / 12)
  time = np.arange(round(_SECONDS * rate)) / rate
  harmonics = np.arange(1, _HARMONICS + 1)
  harmonics = harmonics[harmonics * hertz < rate / 2][:, None]
  decay = np.exp(-time * np.sqrt(harmonics) / _DECAY_SECONDS)
  tone = np.sin(2 * np.pi * hertz * harmonics * time) * decay / harmonics
  tail = np.clip((_SECONDS - time) / 0.1, 0, 1)  # no click where it ends
  return tone.sum(0) * np.minimum(time / _ATTACK_SECONDS, 1) * tail
