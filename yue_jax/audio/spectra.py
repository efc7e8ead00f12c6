"""Short-time spectra at the frame rate of a codec, mel bands, and back.

  samples (T * HOP,) -> spectra (T, BINS) -> magnitudes -> mels (T, mels)

Frame t is centred on the HOP samples that belong to it. Magnitudes are scaled
so that a sine of amplitude 1 has a peak of 1. All is float32 or complex64.
"""

import functools

import numpy as np
import scipy.fft
import scipy.signal

HOP = 320  # 50 frames a second of 16 kHz
WINDOW = 1024  # 64 ms
BINS = WINDOW // 2 + 1
_SIDE = (WINDOW - HOP) // 2  # what a frame sees of each neighbour
_MOMENTUM = 0.99  # of fast Griffin-Lim
_TINY = 1e-12


def stft(samples: np.ndarray) -> np.ndarray:
  """(T * HOP,) -> (T, BINS) complex64, by a Hann window; zeros around."""
  padded = np.pad(samples.astype(np.float32, copy=False), _SIDE)
  frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
  return scipy.fft.rfft(frames * _window(), axis=1)


def istft(spectra: np.ndarray) -> np.ndarray:
  """The samples whose `stft` is nearest: (T, BINS) -> (T * HOP,) float32.

  The inverse of `stft`; spectra that no samples have are projected (least
  squares, Griffin and Lim 1984, equation 6).
  """
  frames = scipy.fft.irfft(spectra, WINDOW, axis=1) * _window()
  weight = np.broadcast_to(_window() ** 2, frames.shape)
  samples = _overlap_add(frames) / np.maximum(_overlap_add(weight), _TINY)
  return samples[_SIDE : _SIDE + len(spectra) * HOP]


def griffin_lim(
  magnitudes: np.ndarray, rng: np.random.Generator, *, iterations: int = 48
) -> np.ndarray:
  """Samples whose spectra have these magnitudes, nearly.

  Phases begin at random and are made to agree between frames by the fast
  Griffin-Lim algorithm (Perraudin, Balazs and Sondergaard 2013).

  Args:
    magnitudes: (T, BINS), not negative.
    rng: draws the phases.
    iterations: of one inverse and one forward transform.

  Returns:
    (T * HOP,) float32.
  """
  magnitudes = magnitudes.astype(np.float32, copy=False)
  angles = rng.uniform(-np.pi, np.pi, magnitudes.shape).astype(np.float32)
  phases = np.exp(1j * angles)
  before = np.zeros_like(phases)
  for _ in range(iterations):
    consistent = stft(istft(magnitudes * phases))
    ahead = consistent + _MOMENTUM * (consistent - before)
    phases = ahead / np.maximum(np.abs(ahead), _TINY)
    before = consistent
  return istft(magnitudes * phases)


def mel_filters(mels: int, rate: int) -> np.ndarray:
  """Triangles of equal width on the mel scale: (mels, BINS) float32.

  Each sums to 1: a mel is the mean magnitude of its band. The scale is
  2595 log10(1 + hertz / 700).

  Raises ValueError for bands narrower than the spectra resolve.
  """
  top = 2595 * np.log10(1 + rate / 2 / 700)
  edges = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)
  hertz = np.linspace(0, rate / 2, BINS)
  low, centre, high = (edges[i : i + mels, None] for i in range(3))
  rising, falling = (
    (hertz - low) / (centre - low),
    (high - hertz) / (high - centre),
  )
  filters = np.maximum(np.minimum(rising, falling), 0)
  if not filters.any(1).all():
    raise ValueError(
      f"{mels} mels are narrower than {rate / WINDOW:.3g} Hz, the resolution of"
      " the spectra; ask for fewer"
    )
  return (filters / filters.sum(1, keepdims=True)).astype(np.float32)


def magnitudes_of_mels(
  mels: np.ndarray, filters: np.ndarray, *, iterations: int = 32
) -> np.ndarray:
  """Smooth magnitudes that have these mels, nearly: (T, mels) -> (T, BINS).

  Multiplicative updates of non-negative least squares (Lee and Seung 2001),
  begun with every bin at the mean of the bands that it is in.
  """
  share = filters.T / np.maximum(filters.sum(0)[:, None], _TINY)
  magnitudes = mels @ share.T
  target = mels @ filters
  gram = filters.T @ filters
  for _ in range(iterations):
    magnitudes *= target / np.maximum(magnitudes @ gram, _TINY)
  return magnitudes


def log_spectral_distance(
  samples: np.ndarray, others: np.ndarray, *, floor: float = 1e-4
) -> float:
  """Root mean square difference of the spectra's levels, in dB.

  The mean over frames of the root of the mean over bins, phases ignored.
  Magnitudes below `floor` count as `floor`.
  """
  if samples.shape != others.shape:
    raise ValueError(f"samples of shape {samples.shape} and {others.shape}")
  levels = [
    20 * np.log10(np.maximum(np.abs(stft(wave)) * SCALE, floor))
    for wave in (samples, others)
  ]
  return float(np.sqrt(np.mean((levels[0] - levels[1]) ** 2, axis=1)).mean())


def _overlap_add(frames: np.ndarray) -> np.ndarray:
  """(T, WINDOW), each HOP after the last -> their sum, _SIDE more at an end."""
  hops = -(-WINDOW // HOP)
  total = np.zeros((len(frames) + hops - 1, HOP), frames.dtype)
  padded = np.pad(frames, ((0, 0), (0, hops * HOP - WINDOW)))
  for hop in range(hops):
    part = padded[:, hop * HOP : (hop + 1) * HOP]
    total[hop : hop + len(frames)] += part
  return total.reshape(-1)


@functools.cache
def _window() -> np.ndarray:
  return scipy.signal.get_window("hann", WINDOW).astype(np.float32)


SCALE = 4 / WINDOW  # a Hann window sums to WINDOW / 2, a sine has two halves
