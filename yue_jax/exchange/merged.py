"""Frozen weights with the adapters of a run, added where they are read."""

from collections.abc import Callable
import dataclasses

from etils import epath
from flax import traverse_util
import jax
import numpy as np

from yue_jax import checkpoint_chunks, lora
from yue_jax.checkpoint import check_base, find_base
from yue_jax.checkpoint_chunks import Box, StoredArray
from yue_jax.weights import Adapters, Weights, open_weights


def merged_weights(
  described: Weights, adapters: Adapters, base: epath.PathLike | None = None
) -> Weights:
  """What `weights.load_weights` loads, left on the disk but for the adapters.

  Tables have the rows of the weights that the adapters were trained on, which
  may not be those of the run. All of these is read once, to see that they are
  the ones.

  Args:
    described: by `weights.describe_weights`, of the run.
    adapters: of the run.
    base: where these weights lie; None for where they lay in training.

  Raises:
    FileNotFoundError: there is no finished checkpoint.
    ValueError: the weights there are others.
    OSError: they are damaged.
  """
  where = find_base(base, adapters.initial_weights)
  opened = open_weights(where)
  arrays = traverse_util.flatten_dict(opened.params, sep="/")
  check_base(checkpoint_chunks.fingerprint(arrays), adapters.base, where)
  joined = lora.join(opened.params, adapters.params)
  params = lora.replace_adapted(joined, MergedArray)
  rows = opened.model.vocab_size
  model = dataclasses.replace(described.model, vocab_size=rows)
  return dataclasses.replace(described, model=model, params=params)


class MergedArray:
  """W + scale * A B of all layers, summed in float32 where it is read."""

  def __init__(self, adapted: lora.Adapted):
    """Takes a `StoredArray` with the adapter of it."""
    self._weight: StoredArray = adapted.weight
    self._adapter = jax.tree.map(np.asarray, adapted.adapter)
    self.shape, self.chunk = self._weight.shape, self._weight.chunk
    self.dtype = self._weight.dtype

  def __getitem__(self, box: Box) -> np.ndarray:
    return self.start(box)()

  def start(self, box: Box) -> Callable[[], np.ndarray]:
    reading, adapter = self._weight.start(box), self._adapter
    layers, inputs = box[:1], adapter.a.ndim - 2
    a = adapter.a[box[: 1 + inputs]]
    b = adapter.b[(*layers, slice(None), *box[1 + inputs :])]

    def wait() -> np.ndarray:
      merged = reading()
      for layer, *pair in zip(merged, a, b, strict=True):
        layer += np.float32(adapter.scale) * np.tensordot(*pair, axes=1)
      return merged

    return wait
