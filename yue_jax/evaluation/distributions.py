"""How far apart two sets of embeddings are, and how much of it is sample size.

The Fréchet distance between Gaussians fitted to the sets (FAD, if the
embeddings are of sound; table 3 of the paper) grows as sets shrink: with n
samples it is about

    FD(n) = FD + c / n

so that two systems are only comparable at one n, or at n -> infinity, which
`frechet_by_size` extrapolates to (as Chong and Forsyth, "Effectively Unbiased
FID and Inception Score", 2020, do for one of the sets; here both shrink).
"""

from collections.abc import Callable
import dataclasses

import numpy as np
import scipy.special

from yue_jax.evaluation import estimates
from yue_jax.evaluation.embeddings import (
  Embeddings,
  expect_same_ids,
  expect_same_width,
)
from yue_jax.evaluation.estimates import Estimate

_SIZES = 6  # points of the extrapolation
_SMALLEST = 0.25  # share of the songs at the last of them
_DRAWS = 200  # of a Fréchet distance, which is dear


@dataclasses.dataclass(frozen=True)
class BySize:
  """Fréchet distances of ever smaller parts of two sets.

  Attributes:
    shares: of the songs of both sets, from 1 down.
    distances: the mean over draws of parts of that size.
    limit: where the straight line through them, over 1 / share, meets 0:
      the distance without the bias. May be a little below 0.
  """

  shares: tuple[float, ...]
  distances: tuple[float, ...]
  limit: float


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
  """Of the Gaussians with the means and covariances of (N, D) and (M, D).

  |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)).

  Raises:
    ValueError: no more samples than dimensions, of which no covariance can be
      estimated.
  """
  mean_a, cov_a = _gaussian(a)
  mean_b, cov_b = _gaussian(b)
  root = _root(cov_a)
  product = np.linalg.eigvalsh(root @ cov_b @ root)
  cross = np.sqrt(np.clip(product, 0, None)).sum()
  shift = mean_a - mean_b
  return float(shift @ shift + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def gaussian_kl(a: np.ndarray, b: np.ndarray) -> float:
  """KL(A || B) in nats of Gaussians fitted to (N, D) and (M, D) samples.

  Raises ValueError as `frechet_distance` does, and for a set of `b` that lies
  in fewer than D dimensions.
  """
  mean_a, cov_a = _gaussian(a)
  mean_b, cov_b = _gaussian(b)
  if min(np.linalg.matrix_rank(c) for c in (cov_a, cov_b)) < len(cov_a):
    raise ValueError(
      f"samples of {len(cov_a)} dimensions lie in fewer; the divergence is"
      " infinite, drop the dimensions that do not vary"
    )
  shift = mean_b - mean_a
  return 0.5 * float(
    np.trace(np.linalg.solve(cov_b, cov_a))
    + shift @ np.linalg.solve(cov_b, shift)
    - len(cov_a)
    + np.linalg.slogdet(cov_b)[1]
    - np.linalg.slogdet(cov_a)[1]
  )


def class_kl(reference: Embeddings, generated: Embeddings) -> dict[str, float]:
  """KL(reference || generated) of class probabilities, nats, by song.

  As tables of audio generation have it (audioldm_eval's KL of PaSST): what a
  classifier says of a generated song against what it says of its partner.

  Args:
    reference: logits, one row for each window of a song; the probabilities of
      windows are averaged.
    generated: of the same songs.

  Raises:
    ValueError: the songs or the classes differ.
  """
  expect_same_width(reference, generated)
  expect_same_ids(reference.ids, generated.ids, of="class probabilities")
  p, q = _log_classes(reference), _log_classes(generated)
  divergences = (np.exp(p) * (p - q)).sum(axis=1)
  return dict(zip(generated.ids, divergences.tolist(), strict=True))


def distance(
  metric: Callable[[np.ndarray, np.ndarray], float],
  a: Embeddings,
  b: Embeddings,
  *,
  draws: int = _DRAWS,
) -> Estimate:
  """`frechet_distance` or `gaussian_kl`, with an interval.

  Songs of both sets are drawn again. The interval is of the unbiased value
  (see `estimates.bias_corrected`), and may lie below that of these samples;
  where it would reach below 0, which no distance is, it ends there.
  """
  expect_same_width(a, b)
  found = estimates.bias_corrected(
    lambda i, j: metric(a.of(i), b.of(j)), len(a.ids), len(b.ids), draws=draws
  )
  low, high = max(found.low, 0.0), max(found.high, 0.0)
  return dataclasses.replace(found, low=low, high=high)


def frechet_by_size(
  a: Embeddings, b: Embeddings, *, seed: int = 0, draws: int = 20
) -> BySize:
  """Fréchet distances at several sizes of both sets, and their limit.

  Raises:
    ValueError: too few samples for parts of half the size.
  """
  expect_same_width(a, b)
  # With hardly more samples than dimensions, the bias is more than c / n.
  least = 3 * (a.width + 1) / min(len(a.rows), len(b.rows))
  smallest = max(_SMALLEST, least)
  if smallest > 0.5:
    raise ValueError(
      f"{len(a.rows)} and {len(b.rows)} samples of {a.width} dimensions; to"
      f" see the bias of the sample size takes {6 * (a.width + 1)} of each"
    )
  rng = np.random.default_rng(seed)
  shares = 1 / np.linspace(1, 1 / smallest, _SIZES)
  distances = [
    np.mean(
      [
        frechet_distance(_part(a, share, rng), _part(b, share, rng))
        for _ in range(draws if share < 1 else 1)
      ]
    )
    for share in shares
  ]
  line = np.polynomial.Polynomial.fit(1 / shares, distances, 1)
  return BySize(
    tuple(map(float, shares)), tuple(map(float, distances)), float(line(0))
  )


def _part(
  whole: Embeddings, share: float, rng: np.random.Generator
) -> np.ndarray:
  """The rows of a share of the songs, none of them twice."""
  songs = len(whole.ids)
  return whole.of(rng.permutation(songs)[: max(2, round(share * songs))])


def _gaussian(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  if rows.ndim != 2 or len(rows) <= rows.shape[1]:
    raise ValueError(
      f"samples of shape {rows.shape}, expected (samples, dimensions) with more"
      " samples than dimensions: of fewer, no covariance can be estimated; give"
      " more songs or windows, or project to fewer dimensions"
    )
  return rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False))


def _root(matrix: np.ndarray) -> np.ndarray:
  """The square root of a symmetric matrix without negative eigenvalues."""
  values, vectors = np.linalg.eigh(matrix)
  return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def _log_classes(logits: Embeddings) -> np.ndarray:
  """(songs, classes) log probabilities, averaged over each song's windows."""
  rows = scipy.special.softmax(logits.rows, axis=1)
  averaged = Embeddings(logits.ids, rows, logits.owners).means()
  return np.log(np.maximum(averaged, np.finfo(np.float64).tiny))
