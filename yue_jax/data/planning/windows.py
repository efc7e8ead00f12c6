"""Windows: documents of equal parts, a fixed number of them in a sample.

All is arithmetic: which parts share a sample is the same in every epoch, and
only the order of the samples is drawn.
"""

import dataclasses

import numpy as np

from yue_jax.data.planning.permutation import Permutation
from yue_jax.data.planning.plan import Counts, Draw, Piece

_BLOCK = 1024  # documents between two sums that are kept


class Parts:
  """Parts of all documents in a row.

  Example: documents of 2, 1 and 3 parts: part 3 is the first of document 2.
  """

  def __init__(self, counts: np.ndarray):
    """Numbers of parts by document, (documents,) of any integer dtype."""
    largest = int(counts.max()) if len(counts) else 0
    self._counts = counts.astype(np.min_scalar_type(largest), copy=False)
    sums = [
      self._counts[at : at + _BLOCK].sum(dtype=np.int64)
      for at in range(0, len(counts), _BLOCK)
    ]
    self._ends = np.cumsum(sums, dtype=np.int64)

  def __len__(self) -> int:
    return int(self._ends[-1]) if len(self._ends) else 0

  def locate(self, part: int) -> tuple[int, int]:
    """Document of a part, and its number in it."""
    block = int(np.searchsorted(self._ends, part, side="right"))
    part -= int(self._ends[block - 1]) if block else 0
    first = block * _BLOCK
    ends = np.cumsum(self._counts[first : first + _BLOCK], dtype=np.int64)
    document = int(np.searchsorted(ends, part, side="right"))
    part -= int(ends[document - 1]) if document else 0
    return first + document, part

  def count(self, document: int) -> int:
    return int(self._counts[document])


@dataclasses.dataclass(frozen=True, eq=False)
class WindowPlan:
  """Sample n holds parts n * k to (n + 1) * k, k being how many fit."""

  draw: Draw
  parts: Parts
  unit: int  # tokens of a part

  def __len__(self) -> int:
    return -(-len(self.parts) // self._in_sample())

  def pieces(self, sample: int) -> list[Piece]:
    draw = self.draw
    order = Permutation(len(self), draw.seed, draw.epoch, purpose="sample")
    first = order[sample] * self._in_sample()
    left = min(self._in_sample(), len(self.parts) - first)
    document, part = self.parts.locate(first)
    pieces = []
    while left:
      taken = min(left, self.parts.count(document) - part)
      if taken:
        pieces.append(Piece(document, part * self.unit, taken * self.unit))
      left, document, part = left - taken, document + 1, 0
    return pieces

  def following(self, sample: int) -> list[Piece]:
    del sample  # nothing follows: windows stand alone
    return []

  def counts(self) -> Counts:
    return Counts(samples=len(self), places=len(self.parts) * self.unit)

  def _in_sample(self) -> int:
    return self.draw.context // self.unit
