"""One table of correspondences, read in both directions.

Axis letters are those of `model`. We stack the layers on a leading axis, they
keep one tensor per layer, so each row describes one layer. Their linear
weights are matrices of (outputs, inputs); letters written together are one
merged axis: "NH D" is a matrix of N * H rows and D columns.

Rotary embeddings are half-split on both sides, hence nothing is permuted.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import math
from typing import Any

from flax import traverse_util
import numpy as np

from yue_jax.config import ModelConfig

LAYER = "model.layers.{layer}."


@dataclasses.dataclass(frozen=True)
class Row:
  """`ours` (a path) has `axes` where `theirs` (a name) has `their_axes`."""

  ours: str
  axes: str
  theirs: str
  their_axes: str

  @property
  def stacked(self) -> bool:
    return self.ours.startswith("blocks/")


TABLE = (
  Row("embed", "VD", "model.embed_tokens.weight", "V D"),
  Row(
    "blocks/attention_norm/scale", "D", LAYER + "input_layernorm.weight", "D"
  ),
  Row("blocks/attention/q", "DNH", LAYER + "self_attn.q_proj.weight", "NH D"),
  Row("blocks/attention/k", "DKH", LAYER + "self_attn.k_proj.weight", "KH D"),
  Row("blocks/attention/v", "DKH", LAYER + "self_attn.v_proj.weight", "KH D"),
  Row("blocks/attention/out", "NHD", LAYER + "self_attn.o_proj.weight", "D NH"),
  Row(
    "blocks/mlp_norm/scale", "D", LAYER + "post_attention_layernorm.weight", "D"
  ),
  Row("blocks/mlp/gate", "DF", LAYER + "mlp.gate_proj.weight", "F D"),
  Row("blocks/mlp/up", "DF", LAYER + "mlp.up_proj.weight", "F D"),
  Row("blocks/mlp/down", "FD", LAYER + "mlp.down_proj.weight", "D F"),
  Row("norm/scale", "D", "model.norm.weight", "D"),
  Row("unembed", "VD", "lm_head.weight", "V D"),
)


@dataclasses.dataclass(frozen=True)
class Tensor:
  """One of their tensors: a row of the table, in one layer if stacked."""

  name: str
  shape: tuple[int, ...]
  row: Row
  layer: int | None

  @property
  def is_table(self) -> bool:
    """Whether it has a row for every id of the vocabulary."""
    return self.row.axes.startswith("V")


def tensors(cfg: ModelConfig) -> Iterator[Tensor]:
  """Every tensor of the model in the order of a forward pass."""
  in_blocks = [row for row in TABLE if row.stacked]
  for row in TABLE:
    if not row.stacked:
      yield Tensor(row.theirs, their_shape(row, cfg), row, None)
    elif row is in_blocks[0]:
      for layer in range(cfg.layers):
        for inner in in_blocks:
          name = inner.theirs.format(layer=layer)
          yield Tensor(name, their_shape(inner, cfg), inner, layer)


def our_shape(row: Row, cfg: ModelConfig) -> tuple[int, ...]:
  """Shape of our array, layer axis included."""
  sizes = _sizes(cfg)
  stack = (cfg.layers,) if row.stacked else ()
  return stack + tuple(sizes[letter] for letter in row.axes)


def their_shape(row: Row, cfg: ModelConfig) -> tuple[int, ...]:
  sizes = _sizes(cfg)
  return tuple(
    math.prod(sizes[letter] for letter in merged)
    for merged in row.their_axes.split()
  )


def to_ours(row: Row, tensor: np.ndarray, cfg: ModelConfig) -> np.ndarray:
  """Their tensor as our array of one layer.

  A view: what is written into it is written into their tensor. Example:
  "NH D" of shape (64, 64) becomes q of axes "DNH" and shape (64, 4, 16);
  q[:, n, h] is row n * 16 + h.
  """
  sizes, order = _sizes(cfg), row.their_axes.replace(" ", "")
  split = tensor.reshape([sizes[letter] for letter in order])
  return split.transpose([order.index(letter) for letter in row.axes])


def checked_leaves(params: Mapping, cfg: ModelConfig) -> dict[str, Any]:
  """Our parameters by path, if they are exactly those of the table.

  Raises:
    ValueError: a parameter is missing, unknown to LlamaForCausalLM, of
      another shape than `cfg` says, or not float32.
  """
  leaves = traverse_util.flatten_dict(params, sep="/")
  expected = {row.ours: row for row in TABLE}
  check_names("parameters", set(expected), set(leaves))
  for path, row in expected.items():
    leaf, shape = leaves[path], our_shape(row, cfg)
    if leaf.shape != shape or leaf.dtype != np.float32:
      raise ValueError(
        f"parameter {path} is {leaf.dtype} {leaf.shape}, expected float32"
        f" {shape} from the model's config"
      )
  return leaves


def check_names(what: str, expected: set[str], got: set[str]) -> None:
  """ValueError unless both sets are equal; names up to four of each side."""
  if expected != got:
    raise ValueError(
      f"{what}: missing {_some(expected - got)}; not part of this"
      f" LlamaForCausalLM {_some(got - expected)}"
    )


def _some(names: set[str]) -> str:
  first = sorted(names)[:4]
  more = f" and {len(names) - 4} more" if len(names) > 4 else ""
  return f"{first}{more}" if first else "none"


def _sizes(cfg: ModelConfig) -> dict[str, int]:
  return {
    "V": cfg.vocab_size,
    "D": cfg.width,
    "F": cfg.mlp_width,
    "N": cfg.heads,
    "K": cfg.kv_heads,
    "H": cfg.head_width,
  }
