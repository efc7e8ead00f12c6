"""A formant singer: the vocal codes of the small world, audible.

  codes      O s s O s ...       of codebook 0
  syllables  ko    me            onset and sustained frames of one voice
  sound      k + pulses through the formants of o, m + those of e

After the source and filter of speech (Fant 1960): pulses of the vocal folds at
the pitch of a note, through resonances at the formants of a vowel (Peterson
and Barney 1952, men), smaller heads having higher ones. A consonant comes
before the vowel of an onset: a burst or a hiss of noise, or a hum. It is a
demonstration for ears and tests, and no singer of any kind.
"""

from collections.abc import Iterator
import functools
import itertools
from typing import NamedTuple

import numpy as np
from scipy import signal, special

from yue_jax.world.config import VOCAL_CODES_PER_SYLLABLE
from yue_jax.world.generator import World

_FORMANTS = {  # Hz
  "a": (730, 1090, 2440),
  "e": (530, 1840, 2480),
  "i": (270, 2290, 3010),
  "o": (570, 840, 2410),
  "u": (300, 870, 2240),
}
_BANDWIDTHS = (70, 100, 140)  # Hz
_HUM = (250, 1200, 2200)  # formants of a closed mouth
# Loudness beside the vowel, and where the noise of a consonant lies, in Hz.
_BURSTS = {
  "b": (0.5, 700),
  "d": (0.6, 3500),
  "g": (0.6, 1800),
  "k": (0.9, 2000),
  "p": (0.8, 800),
  "t": (0.9, 4200),
}
_HISSES = {
  "f": (0.3, 5000),
  "h": (0.3, 1500),
  "j": (0.3, 3000),
  "s": (0.6, 5800),
  "v": (0.3, 4000),
  "z": (0.5, 5500),
}
_HUMS = "lmnr"
_CONSONANT_SECONDS = 0.06
_BURST_SECONDS = 0.015
_FADE_SECONDS = 0.012
_SCALE = (0, 2, 4, 7, 9)  # major pentatonic: fits all chords of the key
_LOWEST, _BETWEEN_SINGERS = 45, 5  # MIDI notes
_VIBRATO = (5.5, 0.012)  # Hz, share of the pitch


class Syllable(NamedTuple):
  """Frames `start` to `end` in which one voice sings one syllable."""

  singer: int
  syllable: int
  start: int
  end: int
  onset: bool  # whether it begins with its consonant


def syllables(world: World, codes: np.ndarray) -> Iterator[Syllable]:
  """The syllables of vocal codes (frames,); other codes are silence."""
  cfg = world.cfg
  voice, held = np.divmod(codes.astype(np.int64), VOCAL_CODES_PER_SYLLABLE)
  begins = (held == 0) | (np.diff(voice, prepend=-1) != 0)
  bounds = [*np.flatnonzero(begins).tolist(), len(codes)]
  for start, end in itertools.pairwise(bounds):
    if codes[start] < cfg.vocal_codes:
      singer, syllable = divmod(int(voice[start]), cfg.syllables)
      yield Syllable(singer, syllable, start, end, bool(held[start] == 0))


def pitch(singer: int, syllable: int) -> float:
  """The note, in Hz, that a singer sings a syllable at.

  Every singer has an octave of a pentatonic scale, each a little higher than
  the one before.
  """
  lowest = _LOWEST + _BETWEEN_SINGERS * (singer % 5)
  notes = [n for n in range(lowest, lowest + 13) if n % 12 in _SCALE]
  return 440.0 * 2 ** ((notes[syllable % len(notes)] - 69) / 12)


def sing(
  world: World, codes: np.ndarray, *, rate: int, frame: int
) -> np.ndarray:
  """Sound of vocal codes (frames,), (frames x frame,) float64.

  Args:
    codes: of codebook 0; what is no vocal code is silence.
    rate: samples a second.
    frame: samples of a frame.
  """
  fade = round(_FADE_SECONDS * rate)
  sound = np.zeros(len(codes) * frame + fade)
  for sung in syllables(world, codes):
    name = world.syllables[sung.syllable]
    samples = (sung.end - sung.start) * frame + fade  # into the next one
    made = _syllable(
      name[0] if sung.onset else "",
      next(letter for letter in name if letter in _FORMANTS),
      sung.singer,
      pitch(sung.singer, sung.syllable),
      samples,
      rate,
    )
    sound[sung.start * frame :][:samples] += made
  return sound[: len(codes) * frame]


def _syllable(
  consonant: str,
  vowel: str,
  singer: int,
  hertz: float,
  samples: int,
  rate: int,
) -> np.ndarray:
  """A consonant, if there is one, and a vowel to the end, faded at both."""
  head = 1 + 0.06 * (singer % 5)  # higher voices have shorter throats
  before = min(round(_CONSONANT_SECONDS * rate), samples // 3)
  before = before if consonant else 0
  folds = _pulses(hertz, samples, rate)
  sound = _resonate(folds, [head * f for f in _FORMANTS[vowel]], rate)
  sound *= _envelope(samples, before, rate)
  if consonant in _HUMS and before:
    hum = _resonate(folds[: 2 * before], [head * f for f in _HUM], rate)
    sound[: 2 * before] += 0.5 * hum * np.hanning(2 * before)
  elif consonant:
    noise = _noise(consonant, before, rate)
    sound[:before] += noise
  return sound


def _pulses(hertz: float, samples: int, rate: int) -> np.ndarray:
  """Pulses of the vocal folds, without what lies above half the rate.

  An impulse train of finite bandwidth (a Dirichlet kernel of the phase), made
  softer as folds that close are; vibrato sets in slowly.
  """
  time = np.arange(samples) / rate
  speed, depth = _VIBRATO
  bend = depth * np.minimum(time / 0.3, 1) * np.sin(2 * np.pi * speed * time)
  phase = 2 * np.pi * np.cumsum(hertz * (1 + bend)) / rate
  harmonics = int(0.45 * rate / (hertz * (1 + depth)))
  train = special.diric(phase, 2 * harmonics + 1)
  return signal.lfilter([1.0, -0.97], [1.0, -1.7, 0.72], train)


def _resonate(
  source: np.ndarray, formants: list[float], rate: int
) -> np.ndarray:
  """The source through one resonance after the other, at an RMS of 1."""
  for hertz, width in zip(formants, _BANDWIDTHS, strict=True):
    radius = np.exp(-np.pi * width / rate)
    turn = 2 * np.pi * min(hertz, 0.47 * rate) / rate
    poles = [1.0, -2 * radius * np.cos(turn), radius**2]
    source = signal.lfilter([sum(poles)], poles, source)
  return source / np.sqrt(np.mean(source**2))


def _envelope(samples: int, before: int, rate: int) -> np.ndarray:
  """0 while the consonant lasts, then 1, with a fade at either end."""
  fade = round(_FADE_SECONDS * rate)
  rising = np.clip((np.arange(samples) - before * 0.6) / fade, 0, 1)
  falling = np.clip(np.arange(samples)[::-1] / fade, 0, 1)
  return rising * falling


@functools.lru_cache(maxsize=256)
def _noise(consonant: str, samples: int, rate: int) -> np.ndarray:
  """A burst before the vowel, or a hiss; always the same."""
  loudness, hertz = (_BURSTS | _HISSES)[consonant]
  rng = np.random.default_rng(ord(consonant))
  edges = np.clip([0.7 * hertz, 1.4 * hertz], 1, 0.49 * rate)
  band = signal.butter(2, edges, "bandpass", fs=rate, output="sos")
  noise = signal.sosfilt(band, rng.standard_normal(samples))
  noise *= loudness / (np.sqrt(np.mean(noise**2)) + 1e-12)
  if consonant in _HISSES:
    return noise * np.hanning(samples)
  after = np.arange(samples) - (samples - round(2 * _BURST_SECONDS * rate))
  decay = np.exp(-np.maximum(after, 0) / (_BURST_SECONDS * rate))
  return np.where(after >= 0, noise * decay, 0.0)
