"""A table of finished runs, as arrays."""

import dataclasses
from typing import Self

import numpy as np


@dataclasses.dataclass(frozen=True)
class Runs:
  """One entry per run; all arrays are float64 of shape (runs,).

  Attributes:
    parameters: N, with embeddings or without, the same way for all.
    tokens: D, trained on.
    flops: C, of the whole run.
    loss: nats per token, of held-out data.

  Raises:
    ValueError: arrays of unlike lengths, or numbers that are not positive.
  """

  parameters: np.ndarray
  tokens: np.ndarray
  flops: np.ndarray
  loss: np.ndarray

  def __post_init__(self):
    shapes = {}
    for field in dataclasses.fields(self):
      values = np.asarray(getattr(self, field.name), np.float64)
      object.__setattr__(self, field.name, values)
      shapes[field.name] = values.shape
      bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
      if bad.size:
        raise ValueError(
          f"{field.name} of run {bad[0]} is {values.flat[bad[0]]}, expected a"
          " positive number; leave out runs that failed or diverged"
        )
    if len(set(shapes.values())) > 1 or len(self.loss.shape) != 1:
      raise ValueError(f"expected arrays of one length, got {shapes}")

  def __len__(self) -> int:
    return len(self.loss)

  def take(self, index: np.ndarray) -> Self:
    """The runs of an index or a mask."""
    columns = (getattr(self, f.name) for f in dataclasses.fields(self))
    return type(self)(*(column[index] for column in columns))
