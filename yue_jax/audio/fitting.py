"""Fitting the embedded codec on sound files, by k-means.

Frames are drawn from all files, about as many from a minute of each, and held
in memory; files are read block by block. The centroids of codebook 0 are those
of the frames, the centroids of codebook k those of what the codebooks before
it leave (Juang and Gray 1982; Zeghidour et al. 2021, algorithm 1).
"""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import itertools
import pathlib

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from yue_jax import checks
from yue_jax.audio import mel_codec, reading, spectra
from yue_jax.audio.mel_codec import MelCodec
from yue_jax.errors import SongError
from yue_jax.progress import Progress, track

_PIECE = 1500 * spectra.HOP  # samples turned into frames at once
_BATCH = 4096  # frames of a step of k-means
_PASSES = 20  # over all frames, at most
_FRAMES_OF_A_CENTROID = 8
HELD_BACK = 10  # every tenth frame shows how well frames fit that were not seen


@dataclasses.dataclass(frozen=True)
class FitSettings:
  """What a codec is to be.

  Attributes:
    codebooks: as many as the vocabulary has.
    codebook_size: as many as the vocabulary has; encoding uses fewer where
      frames are few, see `codes_for`.
    mels: bands of a frame.
    frames: at most so many are drawn.
    seed: of the draws.
  """

  codebooks: int = 8
  codebook_size: int = 1024
  mels: int = 80
  frames: int = 200_000
  seed: int = 0

  def __post_init__(self):
    checks.positive(self, "codebooks codebook_size mels frames")
    if self.codebook_size > 2**16:
      raise ValueError(f"codebook_size={self.codebook_size}, at most {2**16}")


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
  """Frames drawn from files.

  Attributes:
    frames: (frames, mels) log mels.
    seconds: of all sound that was read.
    rejected: files that could not be used.
  """

  frames: np.ndarray
  seconds: float
  rejected: tuple[tuple[pathlib.Path, SongError], ...]


def sample_frames(
  paths: Sequence[pathlib.Path], settings: FitSettings
) -> Sample:
  """Draws frames of sound files; those that cannot be used are listed."""
  seconds, usable, rejected = 0.0, [], []
  for path in paths:
    try:
      seconds += reading.seconds_of(path)
      usable.append(path)
    except SongError as error:
      rejected.append((path, error))
  rate = MelCodec.frames_per_second
  share = min(1.0, settings.frames / max(seconds * rate, 1.0))
  drawn, frames = [np.zeros((0, settings.mels), np.float32)], 0
  for number, path in enumerate(track(usable, len(usable), "files", "reading")):
    rng = np.random.default_rng([settings.seed, number])
    try:
      found = _draw(path, share, rng, settings.mels)
    except SongError as error:
      rejected.append((path, error))
    else:
      drawn.append(found[0])
      frames += found[1]
  return Sample(np.concatenate(drawn), frames / rate, tuple(rejected))


def _draw(
  path: pathlib.Path, share: float, rng: np.random.Generator, mels: int
) -> tuple[np.ndarray, int]:
  """A share of a file's frames, (frames, mels), and how many it has."""
  drawn, frames = [], 0
  for piece in _pieces(reading.read_blocks(path)):
    logs = mel_codec.log_mels(piece, mels)
    drawn.append(logs[rng.random(len(logs)) < share])
    frames += len(logs)
  if not frames:
    raise SongError("too_short", f"{path}: less than a frame of 20 ms")
  return np.concatenate(drawn), frames


def codes_for(frames: int, settings: FitSettings) -> int:
  """Codes of a codebook that so many frames can tell apart.

  Raises ValueError if they are too few for two.
  """
  size = min(settings.codebook_size, frames // _FRAMES_OF_A_CENTROID)
  if size < 2:
    raise ValueError(
      f"{frames} frames of sound are too few; give"
      f" {settings.codebook_size * _FRAMES_OF_A_CENTROID / 50:.0f} seconds or"
      " more"
    )
  return size


def fit(
  frames: np.ndarray, settings: FitSettings
) -> tuple[MelCodec, list[float]]:
  """Fits a codec on frames (frames, mels); the same seed gives the same codec.

  Returns:
    The codec, and for each codebook the share of the variance of frames that
    were held back which it and those before it leave.
  """
  held = np.arange(len(frames)) % HELD_BACK == 0
  used = codes_for(int(np.count_nonzero(~held)), settings)
  mean = frames[~held].mean(0)
  rest, unseen = frames[~held] - mean, frames[held] - mean
  variance = max(float(np.mean(unseen**2)), np.finfo(np.float32).tiny)
  centroids, left = [], []
  with Progress(settings.codebooks, "codebooks", "fitting") as progress:
    for number in range(settings.codebooks):
      book = _cluster(rest, used, settings.seed + number)
      rest, unseen = _without(rest, book), _without(unseen, book)
      # Codes that are not used repeat those that are.
      centroids.append(np.resize(book, (settings.codebook_size, len(mean))))
      left.append(float(np.mean(unseen**2)) / variance)
      progress.advance(note=f"{left[-1]:.1%} of the variance left")
  return MelCodec(mean, np.stack(centroids), used), left


def spectral_distance(
  codec: MelCodec, paths: Iterable[pathlib.Path], *, seconds: float = 10.0
) -> float:
  """Mean distance, dB, of the starts of files from what is decoded of them."""
  distances = []
  for path in paths:
    (wave,) = itertools.islice(_pieces(reading.read_blocks(path)), 1)
    wave = wave[: int(seconds * codec.sample_rate)]
    (codes,) = codec.encode([wave])
    wave = np.pad(wave, (0, -len(wave) % spectra.HOP))
    distances.append(spectra.log_spectral_distance(wave, codec.decode(codes)))
  return float(np.mean(distances))


def _cluster(vectors: np.ndarray, size: int, seed: int) -> np.ndarray:
  """(size, width) centroids of (vectors, width)."""
  means = MiniBatchKMeans(
    n_clusters=size,
    init="random",  # k-means++ takes longer than all the rest, for a percent
    n_init=1,
    batch_size=_BATCH,
    max_iter=_PASSES,
    compute_labels=False,
    random_state=seed,
  )
  return means.fit(vectors).cluster_centers_.astype(np.float32)


def _without(vectors: np.ndarray, book: np.ndarray) -> np.ndarray:
  (codes,) = mel_codec.quantise(vectors, book[None])
  return vectors - book[codes]


def _pieces(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
  """The same samples in pieces of _PIECE, without what is less than a frame."""
  kept = np.zeros(0, np.float32)
  for block in blocks:
    kept = np.concatenate([kept, block])
    while len(kept) >= _PIECE:
      yield kept[:_PIECE]
      kept = kept[_PIECE:]
  if len(kept) >= spectra.HOP:
    yield kept
