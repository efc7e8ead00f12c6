"""The mean of several checkpoints of a run, computed where it is read."""

from collections.abc import Callable, Sequence
import dataclasses

import jax
import numpy as np

from yue_jax.checkpoint_chunks import Box, StoredArray
from yue_jax.weights import Weights, check_same_model


def mean_weights(opened: Sequence[Weights]) -> Weights:
  """The mean of weights, which says of itself what the last of them does.

  Args:
    opened: two or more, as `weights.open_weights` gives them.

  Raises:
    ValueError: they are of different models, vocabularies, tokenizers or
      stages.
  """
  *others, last = opened
  for other in others:
    check_same_model(other, last.model, last.vocab)
    one, two = _nature(other), _nature(last)
    if one != two:
      raise ValueError(
        f"weights of steps {other.step} and {last.step} have no mean: {one},"
        f" and {two}; name checkpoints of one run"
      )
  params = jax.tree.map(lambda *a: MeanArray(a), *(w.params for w in opened))
  return dataclasses.replace(last, params=params)


class MeanArray:
  """The mean of arrays of one shape, computed where it is read.

  Summed in float64 and rounded to float32 once.
  """

  def __init__(self, arrays: Sequence[StoredArray]):
    self._arrays = arrays
    self.shape, self.chunk = arrays[0].shape, arrays[0].chunk
    self.dtype = np.dtype(np.float32)

  def __getitem__(self, box: Box) -> np.ndarray:
    return self.start(box)()

  def start(self, box: Box) -> Callable[[], np.ndarray]:
    first, *others = [array.start(box) for array in self._arrays]

    def wait() -> np.ndarray:
      total = first().astype(np.float64)
      for other in others:
        total += other()
      total /= len(self._arrays)
      return total.astype(np.float32)

    return wait


def _nature(weights: Weights) -> dict[str, object]:
  """What `check_same_model` leaves open, and a mean cannot."""
  return {
    "rows of the vocabulary": weights.model.vocab_size,
    "tokenizer": weights.data and weights.data.tokenizer,
    "windows": any(kind.endswith("window") for kind in weights.kinds),
  }
