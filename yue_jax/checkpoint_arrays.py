"""How arrays lie in a checkpoint: chunks that can be read layer by layer.

Uncompressed zarr3 in chunks of at most 32 MiB that are cut along the layer
axis first: one layer can be read without its neighbours.
"""

from collections.abc import Mapping, Sequence
import hashlib
import json
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, UInt
import numpy as np
import orbax.checkpoint as ocp

CHUNK_BYTES = 32 * 2**20


def array_handler() -> ocp.PyTreeCheckpointHandler:
  return ocp.PyTreeCheckpointHandler(use_zarr3=True, use_compression=False)


def save_args(tree: Any) -> ocp.args.PyTreeSave:
  """What saves a tree of arrays; stacked blocks are cut by layer."""

  def chunks(path, _):
    return ocp.SaveArgs(
      chunk_byte_size=CHUNK_BYTES,
      shard_axes=(0,) if "blocks/" in _name(path) else (),
    )

  return ocp.args.PyTreeSave(
    tree, save_args=jax.tree_util.tree_map_with_path(chunks, tree)
  )


def restore_args(like: Any) -> ocp.args.PyTreeRestore:
  """What restores a tree to the shapes, dtypes and layouts of `like`."""
  return ocp.args.PyTreeRestore(
    item=like,
    restore_args=ocp.checkpoint_utils.construct_restore_args(like),
  )


def check_shapes(item_dir: epath.Path, like: Any) -> None:
  """Raises ValueError unless the saved arrays are those of `like`."""
  saved = _shapes(array_handler().metadata(item_dir).tree)
  given = _shapes(like)
  wrong = [
    f"{name}: saved {saved.get(name)}, given {given.get(name)}"
    for name in sorted(saved.keys() | given.keys())
    if saved.get(name) != given.get(name)
  ]
  if wrong:
    raise ValueError(
      f"{item_dir} holds other arrays than this run; continue it with the"
      " version that wrote it:\n  " + "\n  ".join(wrong)
    )


def fingerprint(params: Any) -> str:
  """Hash of every bit of float32 arrays and of their names.

  The same on every mesh: integers add up alike in any order.
  """
  sums = jax.device_get(jax.jit(lambda p: jax.tree.map(sum_of_bits, p))(params))
  leaves, _ = jax.tree_util.tree_flatten_with_path(sums)
  return fingerprint_of_sums({_name(path): int(x) for path, x in leaves})


def fingerprint_of_sums(sums: Mapping[str, int]) -> str:
  """The fingerprint of arrays of which `sum_of_bits` is known, by name."""
  text = json.dumps(sums, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def sum_of_bits(
  x: Float[Array, "..."], corner: Sequence[ArrayLike] = ()
) -> UInt[Array, ""]:
  """Sum modulo 2^32 of all words, each times a number of its place.

  Args:
    x: an array, or a box of one: sums of boxes add up to that of the array.
    corner: where in the array the box begins, on every axis; () for 0.
  """
  words = jax.lax.bitcast_convert_type(x, jnp.uint32)
  while words.ndim:
    axis = words.ndim - 1
    place = np.arange(words.shape[axis], dtype=np.uint32)
    if corner:
      place += corner[axis]
    odd = 2 * (place * np.uint32(2654435761)) + 1  # loses no bit of a word
    words = jnp.sum(words * odd[(None,) * axis], axis=axis)
  return words


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {_name(path): tuple(x.shape) for path, x in leaves}


def _name(path: tuple) -> str:
  return jax.tree_util.keystr(path, simple=True, separator="/")
