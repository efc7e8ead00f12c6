"""The checkpoints a song is generated from: stage 1, then stage 2.

A checkpoint that training wrote says what it was trained on: the kind of its
documents, their tokenizer, the frames of a window. What it says is checked
here. One that came from elsewhere may say nothing, and is believed.
"""

import hashlib
import json
import os

from flax import nnx
import jax

from yue_jax.checkpoint import find_checkpoint, read_description
from yue_jax.model import Decoder
from yue_jax.train.state import decoder_graph
from yue_jax.weights import Weights, load_weights

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
  kinds = trained_on(path)
  windows = any(kind.endswith("window") for kind in kinds)
  if kinds and windows != (stage == 2):
    raise ValueError(
      f"{path} was trained on documents of kind {sorted(kinds)}, those of"
      f" stage {3 - stage}; expected a checkpoint of stage {stage}"
    )
  return load_weights(path, mesh, dtype=None)


def trained_on(path: str | os.PathLike[str]) -> set[str]:
  """Kinds of the documents a checkpoint was trained on; none if not known."""
  run = read_description(find_checkpoint(path))
  phases = run["config"]["phases"] if "config" in run else []
  return {s["kind"] for phase in phases for s in phase["mixture"].values()}


def fingerprint(path: str | os.PathLike[str]) -> str:
  """What tells a checkpoint from others, whatever its folder is called.

  Of its description and of the list of its files, with their checksums: the
  arrays are not read. A copy has the same; weights that were saved twice need
  not.
  """
  step_dir = find_checkpoint(path)
  described = json.dumps(read_description(step_dir), sort_keys=True)
  listed = step_dir / "files.json"  # early versions wrote none
  read = described.encode() + (listed.read_bytes() if listed.exists() else b"")
  return hashlib.sha256(read).hexdigest()[:16]


def decoder_of(weights: Weights) -> Decoder:
  """The model with its weights."""
  return nnx.merge(decoder_graph(weights.model), weights.params)


def window_of(weights: Weights, asked: int | None) -> int:
  """Frames of a window of stage 2: as asked, as trained, or as released."""
  if asked is not None:
    return asked
  known = weights.data is not None and weights.data.window
  return weights.data.window if known else RELEASED_WINDOW
