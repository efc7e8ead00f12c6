"""Loudness and true peaks of tracks, and one gain that nothing clips with.

Loudness is that of ITU-R BS.1770 (pyloudnorm), gated, in LUFS. A true peak is
that of the sound between the samples, found at four times their rate (annex 2).
"""

from collections.abc import Mapping
import dataclasses
import math

import numpy as np
import pyloudnorm
import soxr

_OVERSAMPLING = 4
_BLOCK_SECONDS = 0.4  # what a measure of loudness needs at least


@dataclasses.dataclass(frozen=True)
class Level:
  """What a sound is to be: at most so loud, and with such peaks at most.

  Attributes:
    lufs: integrated loudness.
    peak_db: true peak, dB relative to full scale.
  """

  lufs: float = -14.0
  peak_db: float = -1.0

  def __post_init__(self):
    if not (self.lufs < 0 and self.peak_db <= 0):
      raise ValueError(
        f"{self.lufs} LUFS and peaks of {self.peak_db} dB would clip; expected"
        " negative LUFS, such as -14, and peaks below 0"
      )


def gain_for(
  main: np.ndarray, others: Mapping[str, np.ndarray], rate: int, level: Level
) -> float:
  """One factor that brings `main` to the loudness of `level`.

  It is smaller where a peak of `main` or of others, which get the same gain,
  would exceed that of `level`: nothing is limited or clipped. Sounds shorter
  than a block of the measure go by their peaks alone; silence gets 1.

  Args:
    main: (samples,), as the others.
    others: what is played beside it.
    rate: samples a second.
    level: what is wanted.
  """
  peak = max(true_peak(wave, rate) for wave in (main, *others.values()))
  if not peak:
    return 1.0
  highest = 10 ** (level.peak_db / 20) / peak
  measured = loudness(main, rate)
  if measured is None:
    return highest
  return min(highest, 10 ** ((level.lufs - measured) / 20))


def loudness(wave: np.ndarray, rate: int) -> float | None:
  """Integrated loudness in LUFS; None of what is too short or silent."""
  if len(wave) < _BLOCK_SECONDS * rate:
    return None
  measured = pyloudnorm.Meter(rate).integrated_loudness(wave.astype(np.float64))
  return float(measured) if math.isfinite(measured) else None


def true_peak(wave: np.ndarray, rate: int) -> float:
  """The largest amplitude, between samples as well."""
  between = soxr.resample(wave, rate, _OVERSAMPLING * rate)
  return float(max(np.abs(wave).max(), np.abs(between).max(initial=0)))
