"""The mean of several checkpoints of a run, computed where it is read."""

from collections.abc import Sequence
import dataclasses

import jax

from yue_jax.checkpoint_chunks import MeanArray
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


def _nature(weights: Weights) -> dict[str, object]:
  """What `check_same_model` leaves open, and a mean cannot."""
  return {
    "rows of the vocabulary": weights.model.vocab_size,
    "tokenizer": weights.data and weights.data.tokenizer,
    "windows": any(kind.endswith("window") for kind in weights.kinds),
  }
