"""The packing plan: which pieces of which documents share a sample.

A plan is computed from the lengths of documents alone, so that a sample can
be fetched by its number without having read those before it. Who sits beside
whom, and the order of the samples, are drawn afresh in every epoch; the same
numbers come on every machine. Three ways to pack:

  best_fit  only documents longer than the context are cut; whole ones, and
            the rests of cut ones, fill samples by best fit
  split     documents stand in a row that is cut every `context` places
  windows   equal parts, a fixed number of them in a sample

A plan is a few arrays, which can be written and mapped (`planning.cache`).
"""

from collections.abc import Mapping
import dataclasses
from typing import NamedTuple, Protocol

import numpy as np

from yue_jax.references import counter_hash

ORDERS = ("random", "length")


class Piece(NamedTuple):
  """`length` tokens of a document, from token `start` on."""

  document: int
  start: int
  length: int


class Counts(NamedTuple):
  """How many samples an epoch has, and places in them that hold a token."""

  samples: int
  places: int


@dataclasses.dataclass(frozen=True)
class Draw:
  """What a plan depends on besides lengths.

  Attributes:
    context: places in a sample.
    seed: of the order, together with the epoch.
    epoch: whose plan it is.
    order: "random", or "length" for short documents first.
    joined: whether the pieces of a sample become one document, so that the
      last token of each needs a place, being followed by another's first.
  """

  context: int
  seed: int
  epoch: int
  order: str = "random"
  joined: bool = False

  def __post_init__(self):
    if self.order not in ORDERS:
      raise ValueError(f"order={self.order!r}, expected one of {ORDERS}")


class Plan(Protocol):
  """The samples of one epoch."""

  def __len__(self) -> int:
    """Number of samples."""

  def pieces(self, sample: int) -> list[Piece]:
    """What is in a sample, in order."""

  def following(self, sample: int) -> list[Piece]:
    """The document that begins where a sample ends, as a piece of no tokens.

    Its first token follows the sample's last. Empty where none begins, and
    wherever documents do not stand in a row.
    """

  def arrays(self) -> Mapping[str, np.ndarray]:
    """All that it consists of, besides the draw."""


def drawn_order(draw: Draw, lengths: np.ndarray, purpose: str) -> np.ndarray:
  """Numbers 0 .. n - 1 in a drawn order, or by length and ties drawn."""
  keys = counter_hash(
    draw.seed, draw.epoch, np.arange(len(lengths)), purpose=purpose
  )
  order = np.argsort(keys, kind="stable").astype(np.uint32)
  del keys
  if draw.order == "length":
    order = order[np.argsort(lengths[order], kind="stable")]
  return order


def smallest_dtype(largest: int) -> type[np.unsignedinteger]:
  """For numbers up to `largest`."""
  return np.uint32 if largest < 2**32 else np.uint64
