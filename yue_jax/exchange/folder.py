"""A Hugging Face folder, whole or not there: export_folder, import_folder.

Everything is written to a hidden folder beside the destination, synced, and
renamed at the end; when anything fails, nothing is left behind.
"""

import dataclasses
import math
import os
import pathlib
import shutil
from typing import Any

from flax import traverse_util
import numpy as np

from yue_jax.checkpoint import DataDescription, Weights
from yue_jax.config import ModelConfig, read
from yue_jax.exchange import config, shards, table, tokenizer
from yue_jax.exchange.card import model_card
from yue_jax.progress import track
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import RELEASED, Vocab
from yue_jax.whole_directory import whole_directory

VOCABULARY = "vocabulary.json"
_DATA = "data"  # its key for what the training data were


def export_folder(
  out: str | os.PathLike[str],
  weights: Weights,
  *,
  dtype: str,
  shard_bytes: int,
  tokenizer_model: str | os.PathLike[str] | None,
) -> None:
  """Writes weights as a folder that LlamaForCausalLM loads.

  Args:
    out: folder to make; must not exist.
    weights: float32 parameters, as `checkpoint.load_weights` gives them.
    dtype: how they are stored: float32, bfloat16 or float16.
    shard_bytes: most bytes of tensors in one file.
    tokenizer_model: SentencePiece file to include, if any.

  Raises:
    ValueError: the format cannot hold the parameters, one of them is not
      finite in `dtype`, or the tokenizer is not the one of training.
    FileExistsError: `out` exists.
    OSError: there is too little room.
  """
  out, cfg = pathlib.Path(out), weights.model
  if dtype not in shards.DTYPES:
    raise ValueError(f"dtype {dtype!r}, expected one of {[*shards.DTYPES]}")
  leaves = table.checked_leaves(weights.params, cfg)
  trained_with = weights.data.tokenizer if weights.data is not None else ""
  if tokenizer_model is not None and trained_with:
    Tokenizer(tokenizer_model).check_fingerprint(trained_with, of="the model")
  tensors = {tensor.name: tensor for tensor in table.tensors(cfg)}
  with whole_directory(out) as folder:
    _check_room(folder, tensors.values(), dtype)
    config.write_json(folder / "config.json", config.to_hf(cfg, dtype))
    config.write_json(
      folder / "generation_config.json", config.generation_config(weights.vocab)
    )
    config.write_json(folder / VOCABULARY, _vocabulary(weights))
    if tokenizer_model is not None:
      source = pathlib.Path(tokenizer_model)
      tokenizer.write(source, folder, cfg.max_positions)
    card = model_card(
      weights,
      title=out.name,
      dtype=dtype,
      has_tokenizer=tokenizer_model is not None,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    shards.write(
      folder,
      {name: tensor.shape for name, tensor in tensors.items()},
      lambda name: _their_tensor(tensors[name], leaves, cfg, dtype),
      dtype=dtype,
      shard_bytes=shard_bytes,
    )
    _sync(folder)


def import_folder(folder: str | os.PathLike[str]) -> Weights:
  """Reads a folder of a LlamaForCausalLM; parameters become float32.

  The vocabulary, and what the training data were, are those of the folder's
  vocabulary.json; without one, the released vocabulary is assumed where the
  size is a released one, and the data are not known.

  Raises:
    ValueError: config or tensors are not those of our decoder.
    FileNotFoundError: a file is missing.
  """
  folder = pathlib.Path(folder)
  cfg = config.from_hf(config.read_json(folder / "config.json"))
  vocab, data = read_vocab(folder, cfg), _read_data(folder)
  files = shards.Shards(folder)
  tensors = list(table.tensors(cfg))
  _check_tensors(files, tensors)
  leaves = {
    row.ours: np.empty(table.our_shape(row, cfg), np.float32)
    for row in table.TABLE
  }
  for tensor in track(tensors, len(tensors), "tensors", "reading"):
    array = files.read(tensor.name).astype(np.float32)  # exact from 16 bits
    if not np.isfinite(array).all():
      raise ValueError(f"{tensor.name} in {folder} has infinities or NaNs")
    into = leaves[tensor.row.ours]
    into = into if tensor.layer is None else into[tensor.layer]
    into[...] = table.to_ours(tensor.row, array, cfg)
  params = traverse_util.unflatten_dict(leaves, sep="/")
  return Weights(cfg, vocab, 0, params, data)


def _vocabulary(weights: Weights) -> dict[str, Any]:
  """Contents of vocabulary.json: Vocab.to_json, and what the data were."""
  data = weights.data
  known = {} if data is None else {_DATA: dataclasses.asdict(data)}
  return weights.vocab.to_json() | known


def _read_data(folder: pathlib.Path) -> DataDescription | None:
  path = folder / VOCABULARY
  content = config.read_json(path) if path.is_file() else {}
  if _DATA not in content:
    return None
  try:
    return read(DataDescription, content[_DATA], _DATA)
  except (TypeError, ValueError) as error:
    raise ValueError(f"{path}: {error}") from error


def _their_tensor(
  tensor: table.Tensor, leaves, cfg: ModelConfig, dtype: str
) -> np.ndarray:
  leaf = leaves[tensor.row.ours]
  layer = leaf if tensor.layer is None else leaf[tensor.layer]
  exact = table.to_theirs(tensor.row, np.asarray(layer), cfg)
  with np.errstate(over="ignore"):  # found just below, by name
    stored = exact.astype(shards.DTYPES[dtype])
  if not np.isfinite(stored).all():
    raise ValueError(
      f"{tensor.name} is not finite in {dtype}: its largest magnitude is"
      f" {np.abs(exact).max()}; use a dtype with a wider range, or another"
      " checkpoint"
    )
  return stored


def _check_tensors(files: shards.Shards, tensors: list[table.Tensor]) -> None:
  """Refuses other tensors than expected before a byte of them is read."""
  table.check_names("tensors", {t.name for t in tensors}, files.names)
  for tensor in tensors:
    shape, dtype = files.shape(tensor.name), files.dtype(tensor.name)
    if shape != tensor.shape or dtype not in shards.DTYPES:
      raise ValueError(
        f"{tensor.name} is {dtype} {shape}, expected {tensor.shape} by"
        f" config.json, of dtype {', '.join(shards.DTYPES)}"
      )


def read_vocab(folder: pathlib.Path, cfg: ModelConfig) -> Vocab:
  path = folder / VOCABULARY
  released = [RELEASED.padded_size(multiple) for multiple in (128, 256)]
  if not path.is_file() and cfg.vocab_size not in released:
    raise FileNotFoundError(
      f"{path}: needed, since vocab_size={cfg.vocab_size} is not one of the"
      f" released {released}; write it with Vocab.to_json"
    )
  vocab = RELEASED
  if path.is_file():
    fields = config.read_json(path)
    fields.pop(_DATA, None)
    vocab = Vocab.from_json(fields)
  if vocab.size > cfg.vocab_size:
    raise ValueError(
      f"{path} has {vocab.size} ids, but the model {cfg.vocab_size} rows"
    )
  return vocab


def _sync(folder: pathlib.Path) -> None:
  for path in (*folder.iterdir(), folder):
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def _check_room(folder: pathlib.Path, tensors, dtype: str) -> None:
  numbers = sum(math.prod(tensor.shape) for tensor in tensors)
  needed = numbers * shards.DTYPES[dtype].itemsize
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise OSError(
      f"{folder.parent} has {free / 2**30:.1f} GiB free, the weights take"
      f" {needed / 2**30:.1f} GiB as {dtype}"
    )
