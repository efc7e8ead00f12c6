"""Codec codes to token ids and back: offset, interleave, flatten.

  codes  (codebooks, frames), integers in [0, codes of a codebook)
  ids    the same shape, each codebook moved into its own range of ids

Two tracks of one codebook are interleaved vocal first, v0 b0 v1 b1 ...;
eight codebooks of one track are flattened frame by frame, so that each frame
is complete before the next begins.
"""

import numpy as np

from yue_jax.vocab import Vocab

FRAME_RATE = 50  # frames a second


def check_codes(codes: np.ndarray, vocab: Vocab) -> None:
  """Raises ValueError unless `codes` are (codebooks, frames) valid codes."""
  if codes.ndim != 2:
    raise ValueError(
      f"codes of shape {codes.shape}, expected (codebooks, frames)"
    )
  if codes.dtype.kind not in "iu":
    raise ValueError(f"codes of dtype {codes.dtype}, expected integers")
  if codes.shape[0] > vocab.codebooks():
    raise ValueError(
      f"{codes.shape[0]} codebooks, the vocabulary has {vocab.codebooks()}"
    )
  _check_range("codes", codes, range(vocab.codes()))


def frames_to_ids(
  codes: np.ndarray, vocab: Vocab, *, first_codebook: int = 0
) -> np.ndarray:
  """Moves each codebook into its range of ids: (K, T) -> (K, T) int32.

  Row 0 holds codebook `first_codebook`. As released, [[5], [7]] becomes
  [[45_339], [46_365]]: 45,334 + 5 and 45,334 + 1,024 + 7.
  """
  check_codes(codes, vocab)
  return codes.astype(np.int32) + _offsets(len(codes), vocab, first_codebook)


def ids_to_frames(
  ids: np.ndarray, vocab: Vocab, *, first_codebook: int = 0
) -> np.ndarray:
  """Inverse of `frames_to_ids`: (K, T) ids -> (K, T) uint16 codes.

  ValueError when an id lies outside the range of its codebook.
  """
  codes = ids - _offsets(len(ids), vocab, first_codebook)
  _check_range("ids minus their codebook's first id", codes, _codes(vocab))
  return codes.astype(np.uint16)


def interleave(vocal: np.ndarray, backing: np.ndarray) -> np.ndarray:
  """Two tracks (T,), (T,) -> (2T,), vocal first.

  Example: [1, 2] and [8, 9] -> [1, 8, 2, 9].
  """
  if vocal.shape != backing.shape:
    raise ValueError(
      f"vocal of shape {vocal.shape}, backing of shape {backing.shape}; "
      "trim both to the same frames first"
    )
  return np.stack([vocal, backing], axis=1).reshape(-1)


def deinterleave(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Inverse of `interleave`: (2T,) -> vocal (T,), backing (T,)."""
  if len(tokens) % 2:
    raise ValueError(f"{len(tokens)} tokens, expected an even number")
  return tokens[0::2], tokens[1::2]


def flatten(ids: np.ndarray) -> np.ndarray:
  """(K, T) -> (K * T,), frame by frame.

  Example: [[1, 2], [8, 9]] -> [1, 8, 2, 9].
  """
  return ids.T.reshape(-1)


def unflatten(tokens: np.ndarray, codebooks: int) -> np.ndarray:
  """Inverse of `flatten`: (K * T,) -> (K, T)."""
  if len(tokens) % codebooks:
    raise ValueError(
      f"{len(tokens)} tokens are not whole frames of {codebooks} codebooks"
    )
  return tokens.reshape(-1, codebooks).T


def _offsets(rows: int, vocab: Vocab, first_codebook: int) -> np.ndarray:
  last = first_codebook + rows
  starts = [vocab.codebook(k).start for k in range(first_codebook, last)]
  return np.array(starts, np.int32)[:, None]


def _codes(vocab: Vocab) -> range:
  return range(vocab.codes())


def _check_range(what: str, values: np.ndarray, valid: range) -> None:
  if values.size and not (
    valid.start <= values.min() and values.max() < valid.stop
  ):
    raise ValueError(
      f"{what} span {values.min()}..{values.max()}, "
      f"expected {valid.start}..{valid.stop - 1}"
    )
