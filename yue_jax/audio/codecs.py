"""What a codec is: sound to codes at 50 frames a second, and back."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Codec(Protocol):
  """Waveforms to codes and back.

  Attributes:
    name: of the kind of codec.
    sample_rate: of the waveforms, in Hz.
    frames_per_second: of the codes.
    codebooks: codes of a frame, the coarsest first.
    codebook_size: codes are below it.
  """

  name: str
  sample_rate: int
  frames_per_second: int
  codebooks: int
  codebook_size: int

  def encode(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
    """(samples,) float32 each -> (codebooks, frames) uint16 each.

    A last frame that is not whole is filled with silence. What a waveform
    becomes does not depend on those beside it.
    """

  def decode(self, codes: np.ndarray) -> np.ndarray:
    """(codebooks, frames) -> (frames * samples of a frame,) float32.

    Raises ValueError for codes that the codec does not have.
    """

  def fingerprint(self) -> str:
    """Hexadecimal; other codes or another sound have another one."""


def check_codes(codec: Codec, codes: np.ndarray) -> None:
  """Raises ValueError unless `codes` are (codebooks, frames) of the codec."""
  if codes.ndim != 2 or codes.shape[0] != codec.codebooks or not codes.size:
    raise ValueError(
      f"codes of shape {codes.shape}, expected ({codec.codebooks}, frames);"
      " stage 2 adds the codebooks that a first stage leaves out"
    )
  if codes.dtype.kind not in "iu":
    raise ValueError(f"codes of dtype {codes.dtype}, expected integers")
  low, high = int(codes.min()), int(codes.max())
  if low < 0 or high >= codec.codebook_size:
    raise ValueError(
      f"codes span {low}..{high}, this codec has 0..{codec.codebook_size - 1};"
      " decode with the codec that made them"
    )
