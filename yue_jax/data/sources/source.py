"""What a source is: documents of one kind, by number.

A source knows the length of each of its documents in any epoch without
reading any, and reads one piece of one document at a time.
"""

from typing import NamedTuple, Protocol

import numpy as np


class Part(NamedTuple):
  """Consecutive tokens of a document, and the one that follows if any does.

  Attributes:
    ids: (length,) or (length + 1,) int32.
    streams: numbers of `vocab.Stream`, uint8, likewise.
    start: place of the first in the document.
    length: tokens that have a place in the sample.
  """

  ids: np.ndarray
  streams: np.ndarray
  start: int
  length: int


class Source(Protocol):
  """Documents of one kind, numbered from 0.

  Attributes:
    varies: whether lengths differ from epoch to epoch.
    unit: documents are cut at multiples of it only: 1, or a window's tokens.
    joined: whether the pieces in a sample form one document, ended by `eod`.
    eod: the id that ends a document.
    fingerprint: of all that lengths and tokens depend on but the epoch.
  """

  varies: bool
  unit: int
  joined: bool
  eod: int
  fingerprint: str

  def __len__(self) -> int:
    """Number of documents, the same in every epoch."""

  def lengths(self, epoch: int) -> np.ndarray:
    """Tokens of every document in an epoch, (documents,) int32."""

  def read(
    self, epoch: int, document: int, *, start: int, length: int
  ) -> list[Part]:
    """One piece of a document, in parts that must not see each other."""

  def overlong(self, epoch: int, context: int) -> tuple[int, int]:
    """Songs that do not fit into a context, and cuts where it ends.

    The cuts are those of best fit, which cuts nothing else.
    """


def cuts(lengths: np.ndarray, context: int) -> np.ndarray:
  """How often best fit cuts documents: 3, 5, 10 at 4 give 0, 0, 2."""
  return np.maximum(lengths - 2, 0) // context
