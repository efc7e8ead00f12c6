"""Maximal update parametrisation (muP): a small width finds a large one's rate.

Initial weights and learning rates are chosen so that activations of every
layer, and what an update adds to them, are as large in a wide model as in the
base model; the best learning rate is then the same. It is table 3 of Tensor
Programs V (arXiv:2203.03466), the form without multipliers, for Adam, written
relative to the base model. With m = inputs of a weight / its inputs there:

  weight             inputs      initial weights     Adam's updates
  embed, norms       one id      1                   1
  q, k, v, gate, up  width       1 / sqrt(m)         1 / m
  out                width       1 / sqrt(m)         1 / m
  down               mlp_width   1 / sqrt(m)         1 / m
  unembed            width       1 / m               1 / m

The model computes what it always does: heads have the width of the base
model's, so that 1 / sqrt(head width) in the attention is the same constant.
At the base shapes every factor is 1, and training is the standard one, bit for
bit.

Weight decay is not scaled: a step takes rate * weight_decay of a weight at
every width, so that it forgets as fast (arXiv:2405.13698). Nor is Adam's eps:
gradients of all but `unembed` fall as 1 / m, so keep eps far below theirs.
Depth, context, batch and the number of tokens are no part of it.
"""

from collections.abc import Callable
import fnmatch
from typing import NamedTuple

import jax

from yue_jax.config import ModelConfig, MupConfig


class Scales(NamedTuple):
  """What a parameter's values are multiplied by, relative to the standard."""

  weights: float  # initial ones
  updates: float  # those of Adam


# First match wins; every parameter must match: the inputs that grow, and the
# power of their growth in the initial weights. None grows for a table of rows.
_RULES = (
  ("*norm/scale", None, 0.0),
  ("embed", None, 0.0),
  ("unembed", "width", -1.0),
  ("blocks/attention/*", "width", -0.5),  # heads * head_width = width
  ("blocks/mlp/gate", "width", -0.5),
  ("blocks/mlp/up", "width", -0.5),
  ("blocks/mlp/down", "mlp_width", -0.5),
)


def scales(name: str, model: ModelConfig, base: MupConfig) -> Scales:
  """Scales of a parameter, by its path.

  Example: "blocks/mlp/up" of width 128, base width 32 -> (0.5, 0.25).

  Raises:
    ValueError: no rule covers the path.
  """
  growth = {
    "width": model.width / base.base_width,
    "mlp_width": model.mlp_width / base.base_mlp_width,
    None: 1.0,
  }
  for pattern, inputs, power in _RULES:
    if fnmatch.fnmatchcase(name, pattern):
      return Scales(growth[inputs] ** power, 1 / growth[inputs])
  raise ValueError(
    f"no rule of muP covers parameter {name!r}; add one to mup._RULES"
  )


def scale_weights(params: dict, model: ModelConfig, base: MupConfig) -> dict:
  """Standard initial weights, as muP wants them."""

  return times(params, lambda name: scales(name, model, base).weights)


def times(tree: dict, factor: Callable[[str], float]) -> dict:
  """Every leaf times a number by its path, such as "blocks/mlp/up"."""

  def multiply(path, leaf):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return leaf * factor(name)

  return jax.tree_util.tree_map_with_path(multiply, tree)
