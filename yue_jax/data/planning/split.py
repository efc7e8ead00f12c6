"""Split: documents in a row, cut every `context` places, as in Megatron.

Nothing is padded but the end of the last sample, and nothing is kept whole.
"""

import dataclasses

import numpy as np

from yue_jax.data.planning.permutation import Permutation
from yue_jax.data.planning.plan import Counts, Draw, Piece, drawn_order


@dataclasses.dataclass(frozen=True, eq=False)
class SplitPlan:
  """Sample n of the row holds places n * context to (n + 1) * context.

  Attributes:
    draw: what it was drawn with.
    documents: in the order of the row.
    ends: places up to the end of each of them.
  """

  draw: Draw
  documents: np.ndarray
  ends: np.ndarray

  def __len__(self) -> int:
    return -(-self._places() // self.draw.context)

  def pieces(self, sample: int) -> list[Piece]:
    at = self._first_place(sample)
    stop = min(at + self.draw.context, self._places())
    number = int(np.searchsorted(self.ends, at, side="right"))
    pieces = []
    while at < stop:
      first = int(self.ends[number - 1]) if number else 0
      end = min(int(self.ends[number]), stop)
      document = int(self.documents[number])
      pieces.append(Piece(document, at - first, end - at))
      at, number = end, number + 1
    return pieces

  def following(self, sample: int) -> list[Piece]:
    stop = self._first_place(sample) + self.draw.context
    number = int(np.searchsorted(self.ends, stop, side="right"))
    if number == len(self.ends) or self.ends[number - 1] != stop:
      return []  # the end of the row, or of a document that goes on
    return [Piece(int(self.documents[number]), 0, 0)]

  def arrays(self) -> dict[str, np.ndarray]:
    return {"documents": self.documents, "ends": self.ends}

  def _first_place(self, sample: int) -> int:
    draw = self.draw
    if draw.order == "random":
      order = Permutation(len(self), draw.seed, draw.epoch, purpose="sample")
      sample = order[sample]
    return sample * draw.context

  def _places(self) -> int:
    return int(self.ends[-1]) if len(self.ends) else 0


def count_split(lengths: np.ndarray, draw: Draw) -> Counts:
  """Of the samples of `plan_split`."""
  places = int(lengths.sum(dtype=np.int64))
  return Counts(samples=-(-places // draw.context), places=places)


def plan_split(lengths: np.ndarray, draw: Draw) -> SplitPlan:
  """Every token has a place in one sample.

  Example: documents of 3, 4 and 3 tokens in the order 2 0 1 and samples of 4
  places: all 3 of document 2 and 1 of document 0 | 2 of document 0 and 2 of
  document 1 | 2 of document 1.
  """
  documents = drawn_order(draw, lengths, "document")
  ends = np.cumsum(lengths[documents], dtype=np.int64)
  return SplitPlan(draw, documents, ends)
