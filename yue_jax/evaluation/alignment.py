"""Alignment of sound and text: cosines of their embeddings, as CLAP's.

A score means something beside that of strangers: a space of embeddings may
have all of its texts close to all of its songs.
"""

import dataclasses

import numpy as np

from yue_jax.evaluation import estimates
from yue_jax.evaluation.embeddings import (
  Embeddings,
  expect_same_ids,
  expect_same_width,
)
from yue_jax.evaluation.estimates import Estimate


@dataclasses.dataclass(frozen=True)
class Alignment:
  """Cosines of songs with texts.

  Attributes:
    own: of songs with their own texts, the score of the paper's table 3.
    gain: what that is more than with the texts of all other songs.
    songs: the cosine of each with its own text, by id.
  """

  own: Estimate
  gain: Estimate
  songs: dict[str, float]


def alignment(songs: Embeddings, texts: Embeddings) -> Alignment:
  """Cosine scores of pairs that have the same id.

  Embeddings of several windows of a song are averaged once they have length 1.

  Raises:
    ValueError: ids or widths differ, or an embedding is zero.
  """
  expect_same_width(songs, texts)
  expect_same_ids(texts.ids, songs.ids, of="alignment")
  cosines = _directions(songs) @ _directions(texts).T
  own = np.diagonal(cosines)
  count = len(own)
  others = (cosines.sum(axis=1) - own) / max(count - 1, 1)
  return Alignment(
    estimates.mean(own),
    estimates.mean(own - others),
    dict(zip(songs.ids, own.tolist(), strict=True)),
  )


def _directions(embeddings: Embeddings) -> np.ndarray:
  """(songs, width), of length 1."""
  lengths = np.linalg.norm(embeddings.rows, axis=1, keepdims=True)
  if not lengths.all():
    zero = embeddings.ids[embeddings.owners[lengths[:, 0].argmin()]]
    raise ValueError(
      f"an embedding of song {zero!r} is all zeros and has no direction; was"
      " its sound silent?"
    )
  unit = Embeddings(
    embeddings.ids, embeddings.rows / lengths, embeddings.owners
  ).means()
  norms = np.linalg.norm(unit, axis=1, keepdims=True)
  return unit / norms
