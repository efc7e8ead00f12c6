"""The embedded codec: residual vector quantisation of log-mel frames.

  samples -> log mels (frames, 80), less their mean
          -> codebook 0 the nearest centroid, codebook 1 that of what is left...
  codes   -> the sum of the centroids -> magnitudes -> Griffin-Lim

It is fitted on a few minutes of the user's own sound (`fitting`), needs no
download and no network, and sounds like it: 80 mels at 50 frames a second keep
neither phases nor the fine structure of high harmonics, and where codebooks are
small, timbre is coarse. It is there to try the whole way with, and for tests;
music worth training on wants X-Codec.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from yue_jax.audio import codecs, spectra
from yue_jax.whole_directory import whole_directory

NAME = "mel_rvq"
_DESCRIPTION, _ARRAYS = "codec.json", "codebooks.safetensors"
_BLOCK = 4096  # frames whose distances to all centroids are held at once


@dataclasses.dataclass(frozen=True, eq=False)
class MelCodec:
  """A fitted codec.

  Attributes:
    mean: (mels,) of the log mels it was fitted on.
    centroids: (codebooks, codebook size, mels) float32.
    used: codes that encoding makes, below it; what is above has a sound as
      well, should a model make it.
    phase_seed: of the phases that decoding begins with.
  """

  mean: np.ndarray
  centroids: np.ndarray
  used: int
  phase_seed: int = 0

  name = NAME
  sample_rate = 16_000
  frames_per_second = sample_rate // spectra.HOP

  def __post_init__(self):
    shapes = self.mean.shape, self.centroids.shape
    if len(shapes[1]) != 3 or shapes[0] != shapes[1][2:]:
      raise ValueError(
        f"mean {shapes[0]} and centroids {shapes[1]}, expected (mels,) and"
        " (codebooks, codebook size, mels)"
      )
    if not 0 < self.used <= shapes[1][1]:
      raise ValueError(f"used={self.used} of {shapes[1][1]} codes")

  @property
  def codebooks(self) -> int:
    return self.centroids.shape[0]

  @property
  def codebook_size(self) -> int:
    return self.centroids.shape[1]

  @property
  def mels(self) -> int:
    return self.centroids.shape[2]

  def encode(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
    """See `Codec`."""
    return [
      quantise(
        log_mels(wave, self.mels) - self.mean, self.centroids[:, : self.used]
      )
      for wave in waveforms
    ]

  def decode(self, codes: np.ndarray) -> np.ndarray:
    """See `Codec`; the same codes have the same sound."""
    codecs.check_codes(self, codes)
    logs = self.mean + dequantise(codes, self.centroids)
    filters = _filters(self.mels)
    magnitudes = spectra.magnitudes_of_mels(np.exp(logs), filters)
    rng = np.random.default_rng(self.phase_seed)
    return spectra.griffin_lim(magnitudes / spectra.SCALE, rng)

  def fingerprint(self) -> str:
    """See `Codec`."""
    digest = hashlib.sha256(f"{NAME} {self.used} {self.phase_seed}".encode())
    for array in (self.mean, self.centroids):
      digest.update(f"{array.shape}".encode())
      digest.update(np.ascontiguousarray(array, "<f4").tobytes())
    return digest.hexdigest()[:16]


def log_mels(
  samples: np.ndarray, mels: int, *, floor: float = 1e-4
) -> np.ndarray:
  """Natural logarithms of mean magnitudes: (samples,) -> (frames, mels).

  A last frame that is not whole is filled with silence; magnitudes below
  `floor` (-80 dB) count as `floor`.
  """
  whole = np.pad(samples, (0, -len(samples) % spectra.HOP))
  frames = len(whole) // spectra.HOP
  logs = np.empty((frames, mels), np.float32)
  side = 2  # frames that a frame's window reaches into
  for start in range(0, frames, _BLOCK):
    first = max(start - side, 0)
    stop = min(start + _BLOCK, frames)
    part = whole[first * spectra.HOP : (stop + side) * spectra.HOP]
    magnitudes = np.abs(spectra.stft(part)) * spectra.SCALE
    means = magnitudes @ _filters(mels).T
    logs[start:stop] = np.log(np.maximum(means, floor))[start - first :][
      : stop - start
    ]
  return logs


def quantise(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
  """Residual quantisation: (frames, width) -> (codebooks, frames) uint16.

  Args:
    vectors: what codebook 0 quantises; each next one what is then left.
    centroids: (codebooks, codebook size, width).
  """
  codes = np.empty((len(centroids), len(vectors)), np.uint16)
  for start in range(0, len(vectors), _BLOCK):
    rest = vectors[start : start + _BLOCK].copy()
    for row, book in zip(codes, centroids, strict=True):
      # The squared distance, less the square of `rest` that all share.
      distances = np.sum(book**2, axis=1) - 2 * rest @ book.T
      nearest = distances.argmin(1)
      row[start : start + _BLOCK] = nearest
      rest -= book[nearest]
  return codes


def dequantise(codes: np.ndarray, centroids: np.ndarray) -> np.ndarray:
  """Sums of centroids: (codebooks, frames) -> (frames, width)."""
  pairs = zip(centroids, codes, strict=True)
  return sum(book[row] for book, row in pairs)


def save(
  codec: MelCodec, folder: pathlib.Path, fitted: Mapping[str, Any]
) -> None:
  """Writes a codec as a new folder: JSON and safetensors.

  Args:
    fitted: what is known of its fitting, for the JSON.

  Raises FileExistsError if there is such a folder.
  """
  with whole_directory(folder) as partial:
    arrays = {"mean": codec.mean, "centroids": codec.centroids}
    safetensors.numpy.save_file(arrays, partial / _ARRAYS)
    description = {
      "codec": NAME,
      "sample_rate": codec.sample_rate,
      "frames_per_second": codec.frames_per_second,
      "codebooks": codec.codebooks,
      "codebook_size": codec.codebook_size,
      "used": codec.used,
      "mels": codec.mels,
      "phase_seed": codec.phase_seed,
      "fingerprint": codec.fingerprint(),
      "fitted": dict(fitted),
    }
    text = json.dumps(description, indent=2) + "\n"
    (partial / _DESCRIPTION).write_text(text)


def is_folder(folder: pathlib.Path) -> bool:
  """Whether a folder looks like one that `save` wrote."""
  return (folder / _DESCRIPTION).is_file()


def load(folder: pathlib.Path) -> MelCodec:
  """A codec that `save` wrote; ValueError if it is damaged."""
  try:
    description = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
    arrays = safetensors.numpy.load_file(folder / _ARRAYS)
    codec = MelCodec(
      arrays["mean"],
      arrays["centroids"],
      used=description["used"],
      phase_seed=description["phase_seed"],
    )
    expected = description["fingerprint"]
  except (
    ValueError,
    KeyError,
    TypeError,
    safetensors.SafetensorError,
  ) as error:
    raise ValueError(
      f"{folder} holds a damaged codec ({error!r}); fit it again, or restore it"
      " from a copy"
    ) from error
  if codec.fingerprint() != expected:
    raise ValueError(
      f"{folder} holds a damaged codec: fingerprint {codec.fingerprint()},"
      f" expected {expected}; restore it from a copy"
    )
  return codec


@functools.cache
def _filters(mels: int) -> np.ndarray:
  return spectra.mel_filters(mels, MelCodec.sample_rate)
