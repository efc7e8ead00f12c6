"""The checkpoints a song is generated from: stage 1, then stage 2.

A checkpoint that training wrote says what it was trained on: the kind of its
documents, their tokenizer, the frames of a window. What it says is checked
here. One that came from elsewhere may say nothing, and is believed.
"""

import os

from flax import nnx
import jax

from yue_jax.model import Decoder
from yue_jax.train.state import decoder_graph
from yue_jax.weights import (
  Weights,
  check_stage,
  describe_weights,
  load_weights,
)

RELEASED_WINDOW = 300  # frames, six seconds


def load_stage(
  path: str | os.PathLike[str], mesh: jax.sharding.Mesh, *, stage: int
) -> Weights:
  """`weights.load_weights`, for a checkpoint of stage 1 or 2.

  Weights are cast to the dtype of activations here, once.

  Raises:
    ValueError: it was trained for the other stage, or does not fit the mesh.
    FileNotFoundError: there is no finished checkpoint.
  """
  check_stage(describe_weights(path), stage, of=path)
  return load_weights(path, mesh, dtype=None)


def decoder_of(weights: Weights) -> Decoder:
  """The model with its weights."""
  return nnx.merge(decoder_graph(weights.model), weights.params)


def window_of(weights: Weights, asked: int | None) -> int:
  """Frames of a window of stage 2: as asked, as trained, or as released."""
  if asked is not None:
    return asked
  known = weights.data is not None and weights.data.window
  return weights.data.window if known else RELEASED_WINDOW
