"""Excerpts of songs at one loudness, in files that look alike.

Louder songs are preferred whatever they sound like, so all clips of a study
have the same integrated loudness (ITU-R BS.1770, by pyloudnorm). Where that
would clip one of them, all get softer: a limiter would change how it sounds.
All are FLAC, stereo, of one rate, without tags: a file does not say where it
comes from.
"""

from collections.abc import Sequence
import dataclasses
import io
import math
import pathlib

import numpy as np
import soundfile
import soxr

from yue_jax.audio import loudness
from yue_jax.audio.reading import seconds_of

RATE = 44_100
_SHORTEST = 1.0  # seconds
_PEAK_DB = -1.0  # full scale less what resampling in a browser may add
_RAMP = 0.02  # seconds of fading where a song is cut


@dataclasses.dataclass(frozen=True)
class Excerpt:
  """Which part of every song is heard.

  Attributes:
    start: seconds into the song.
    seconds: at most; math.inf for all of it.
  """

  start: float = 0.0
  seconds: float = 30.0

  def __post_init__(self):
    if not 0 <= self.start < math.inf or not self.seconds >= _SHORTEST:
      raise ValueError(
        f"start={self.start}, seconds={self.seconds}; expected a start of at"
        f" least 0 and at least {_SHORTEST:g} s"
      )


@dataclasses.dataclass(frozen=True)
class Level:
  """How loud a clip is as it comes: LUFS, and its highest sample in dB."""

  loudness: float
  peak: float


def read_clip(path: pathlib.Path, excerpt: Excerpt) -> np.ndarray:
  """An excerpt of a song, (samples, 2) at RATE, faded where it is cut.

  Raises:
    SongError: no sound, or not all of it.
    ValueError: too little of it, NaN, or more than two channels.
  """
  seconds_of(path)  # refuses what is no sound, or breaks off
  try:
    with soundfile.SoundFile(path) as file:
      rate, whole = file.samplerate, file.frames
      start = min(round(excerpt.start * rate), whole)
      length = min(excerpt.seconds * rate, whole - start)
      file.seek(start)
      audio = file.read(round(length), dtype="float64", always_2d=True)
  except soundfile.LibsndfileError as error:
    raise ValueError(f"{path} cannot be read: {error}") from None
  _check(audio, rate, whole, path, excerpt)
  audio = np.repeat(audio, 2, axis=1) if audio.shape[1] == 1 else audio
  _fade(audio, rate, begin=start > 0, end=start + len(audio) < whole)
  return soxr.resample(audio, rate, RATE)


def measure(audio: np.ndarray, path: pathlib.Path) -> Level:
  """Level of a clip, (samples, 2) at RATE, that comes from a file.

  Raises:
    ValueError: it is silent, and no gain makes it as loud as others.
  """
  found = loudness.loudness(audio, RATE)
  if found is None:
    raise ValueError(f"{path} is silent where it would be heard")
  return Level(found, peak=20 * math.log10(np.abs(audio).max()))


def common_loudness(levels: Sequence[Level], wanted: float) -> float:
  """The loudness of all clips, LUFS: as wanted, or softer if one would clip."""
  return min(wanted, *(its.loudness + _PEAK_DB - its.peak for its in levels))


def encode(audio: np.ndarray, gain_db: float) -> bytes:
  """A clip as a FLAC file of 16 bits."""
  file = io.BytesIO()
  soundfile.write(
    file, audio * 10 ** (gain_db / 20), RATE, format="FLAC", subtype="PCM_16"
  )
  return file.getvalue()


def _check(audio, rate, whole, path, excerpt) -> None:
  seconds = len(audio) / rate
  if seconds < _SHORTEST:
    raise ValueError(
      f"{path} has {seconds:.2f} s from {excerpt.start:g} s on, of"
      f" {whole / rate:.2f} s; a clip needs {_SHORTEST:g} s"
    )
  if audio.shape[1] > 2:
    raise ValueError(
      f"{path} has {audio.shape[1]} channels; expected mono or stereo"
    )
  if not np.isfinite(audio).all():
    raise ValueError(f"{path} holds samples that are not finite")


def _fade(audio: np.ndarray, rate: int, *, begin: bool, end: bool) -> None:
  ramp = np.linspace(0, 1, round(_RAMP * rate))[:, None]
  if begin:
    audio[: len(ramp)] *= ramp
  if end:
    audio[-len(ramp) :] *= ramp[::-1]
