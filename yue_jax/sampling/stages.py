"""The checkpoints a song is generated from: stage 1, then stage 2.

A checkpoint that training wrote says what it was trained on: the kind of its
documents, their tokenizer, the frames of a window. What it says is checked
here. One that came from elsewhere may say nothing, and is believed.
"""

import dataclasses
import os

import jax

from yue_jax.sampling.layered import LayeredDecoder, unstack
from yue_jax.vocab import Vocab
from yue_jax.weights import (
  Weights,
  check_stage,
  describe_weights,
  load_weights,
)

RELEASED_WINDOW = 300  # frames, six seconds


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
  """A checkpoint that is ready to generate.

  Attributes:
    decoder: its weights, in the dtype of activations.
    described: what it says of them; `params` is empty.
  """

  decoder: LayeredDecoder
  described: Weights

  @property
  def vocab(self) -> Vocab:
    return self.described.vocab


def load_stage(
  path: str | os.PathLike[str], mesh: jax.sharding.Mesh, *, stage: int
) -> Stage:
  """Reads a checkpoint of stage 1 or 2 onto `mesh`.

  Raises:
    ValueError: it was trained for the other stage, or does not fit the mesh.
    FileNotFoundError: there is no finished checkpoint.
  """
  check_stage(describe_weights(path), stage, of=path)
  weights = load_weights(path, mesh, dtype=None)
  with jax.set_mesh(mesh):
    decoder = unstack(weights.params, weights.model)
  return Stage(decoder, weights)


def window_of(weights: Weights, asked: int | None) -> int:
  """Frames of a window of stage 2: as asked, as trained, or as released."""
  if asked is not None:
    return asked
  known = weights.data is not None and weights.data.window
  return weights.data.window if known else RELEASED_WINDOW
