"""A Hugging Face folder, whole or not there: export_folder, import_folder.

Both go tensor by tensor, a few at a time, so that of a 7B a few hundred MiB
are in memory. Both write to a hidden folder beside the destination that is
renamed at the end, and go on from there after an interruption; input that is
wrong leaves nothing behind.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import json
import math
import os
import pathlib
import shutil
from typing import Any

import jax
import numpy as np

from yue_jax.checkpoint import DataDescription
from yue_jax.checkpoint_chunks import ArrayWriter
from yue_jax.config import ModelConfig, read
from yue_jax.exchange import checksums, config, shards, table, tokenizer
from yue_jax.exchange.card import model_card
from yue_jax.exchange.transfer import read_arrays, write_shards
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import RELEASED, Vocab
from yue_jax.weights import Weights, check_stage, save_staged
from yue_jax.whole_directory import resumable_directory, whole_directory

VOCABULARY = "vocabulary.json"
WORKERS = 2
_DATA = "data"  # its key for what the training data were
_KINDS = "kinds"  # and for the kinds of documents


def export_folder(
  out: str | os.PathLike[str],
  weights: Weights,
  *,
  dtype: str,
  shard_bytes: int,
  tokenizer_model: str | os.PathLike[str] | None,
  rows: int | None = None,
  steps: Sequence[int] | None = None,
  source: str | None = None,
  workers: int = WORKERS,
) -> None:
  """Writes weights as a folder that LlamaForCausalLM loads.

  Args:
    out: folder to make; must not exist.
    weights: float32 parameters, in memory or as `weights.open_weights` and
      `mean.mean_weights` give them.
    dtype: how they are stored: float32, bfloat16 or float16.
    shard_bytes: most bytes of tensors in one file.
    tokenizer_model: SentencePiece file to include, if any.
    rows: of the vocabulary, padding included; None for those of the weights.
    steps: of which the weights are the mean; None for their own.
    source: tells these weights from all others; None where nothing does, and
      an interrupted export begins anew.
    workers: how many tensors are written at once.

  Raises:
    ValueError: the format cannot hold the parameters, one of them is not
      finite in `dtype`, `rows` would cut an id, or the tokenizer is not the
      one of training.
    FileExistsError: `out` exists.
    OSError: there is too little room, or the weights cannot be read.
  """
  out = pathlib.Path(out)
  if dtype not in shards.DTYPES:
    raise ValueError(f"dtype {dtype!r}, expected one of {[*shards.DTYPES]}")
  params = jax.tree.map(
    lambda x: np.asarray(x) if isinstance(x, jax.Array) else x, weights.params
  )
  leaves = table.checked_leaves(params, weights.model)
  weights = dataclasses.replace(weights, model=_with_rows(weights, rows))
  trained_with = weights.data.tokenizer if weights.data is not None else ""
  if tokenizer_model is not None and trained_with:
    Tokenizer(tokenizer_model).check_fingerprint(trained_with, of="the model")
  settings = [source, dtype, shard_bytes, rows, str(tokenizer_model)]
  directory = (
    whole_directory(out)
    if source is None
    else resumable_directory(out, _fingerprint(settings))
  )
  with directory as folder:
    _check_room(folder, weights.model, shards.DTYPES[dtype].itemsize)
    write_shards(
      folder,
      leaves,
      weights.model,
      dtype=dtype,
      shard_bytes=shard_bytes,
      workers=workers,
    )
    _describe(
      folder,
      weights,
      title=out.name,
      dtype=dtype,
      tokenizer_model=tokenizer_model,
      steps=[weights.step] if steps is None else steps,
    )
    _sync(folder)


def import_folder(
  folder: str | os.PathLike[str],
  out: str | os.PathLike[str],
  *,
  rows: int | None = None,
  stage: int | None = None,
  workers: int = WORKERS,
) -> pathlib.Path:
  """Makes a run directory of a folder of a LlamaForCausalLM.

  Parameters become float32. The vocabulary, and what the training data were,
  are those of the folder's vocabulary.json; without one, the released
  vocabulary is assumed where the size is a released one, and the data are not
  known. Tensors are compared with the folder's checksums where it has some.

  Args:
    folder: to read.
    out: run directory to make; must not exist.
    rows: of the vocabulary, padding included; None for those of the folder.
    stage: 1 or 2, refused if the folder is known to be of the other.
    workers: how many tensors are read at once.

  Returns:
    The directory of the checkpoint, as `weights.save_weights` writes it.

  Raises:
    ValueError: config or tensors are not those of our decoder, or damaged.
    FileNotFoundError: a file is missing.
    FileExistsError: `out` exists.
    OSError: there is too little room.
  """
  folder, out = pathlib.Path(folder), pathlib.Path(out)
  theirs = config.from_hf(config.read_json(folder / "config.json"))
  vocab = read_vocab(folder, theirs)
  weights = Weights(theirs, vocab, 0, {}, *_read_data(folder))
  check_stage(weights, stage, of=folder)
  cfg = _with_rows(weights, rows)
  stored, sums = shards.open_folder(folder), checksums.read(folder)
  _check_tensors(stored, sums, theirs)
  settings = [_identity(folder), cfg.vocab_size]
  with resumable_directory(out, _fingerprint(settings)) as partial:
    _check_room(partial, cfg, np.dtype(np.float32).itemsize)
    # What is left if the very end of an earlier attempt was interrupted.
    shutil.rmtree(partial / "checkpoints", ignore_errors=True)
    writer = ArrayWriter(
      partial / "arrays",
      {row.ours: table.our_shape(row, cfg) for row in table.TABLE},
    )
    read_arrays(stored, sums, cfg, writer, workers=workers)
    described = dataclasses.replace(weights, model=cfg)
    checkpoint = save_staged(partial, described, writer)
  return out / pathlib.Path(checkpoint).relative_to(partial.absolute())


def _with_rows(weights: Weights, rows: int | None) -> ModelConfig:
  """The model with so many rows of the vocabulary, if no id is cut."""
  rows = weights.model.vocab_size if rows is None else rows
  if rows < weights.vocab.size:
    raise ValueError(
      f"{rows} rows of the vocabulary would cut ids: it has"
      f" {weights.vocab.size} of them; only padding can be cut"
    )
  return dataclasses.replace(weights.model, vocab_size=rows)


def _describe(
  folder: pathlib.Path,
  weights: Weights,
  *,
  title: str,
  dtype: str,
  tokenizer_model: str | os.PathLike[str] | None,
  steps: Sequence[int],
) -> None:
  """Writes all but the weights."""
  cfg = weights.model
  config.write_json(folder / "config.json", config.to_hf(cfg, dtype))
  config.write_json(
    folder / "generation_config.json", config.generation_config(weights.vocab)
  )
  config.write_json(folder / VOCABULARY, _vocabulary(weights))
  if tokenizer_model is not None:
    tokenizer.write(pathlib.Path(tokenizer_model), folder, cfg.max_positions)
  card = model_card(
    weights,
    title=title,
    dtype=dtype,
    has_tokenizer=tokenizer_model is not None,
    steps=steps,
  )
  (folder / "README.md").write_text(card, encoding="utf-8")


def _vocabulary(weights: Weights) -> dict[str, Any]:
  """Contents of vocabulary.json: Vocab.to_json, and what the data were."""
  known = {}
  if weights.data is not None:
    known[_DATA] = dataclasses.asdict(weights.data)
  if weights.kinds:
    known[_KINDS] = weights.kinds
  return weights.vocab.to_json() | known


def _read_data(
  folder: pathlib.Path,
) -> tuple[DataDescription | None, tuple[str, ...]]:
  """What the data and the kinds of documents were, as far as known."""
  path = folder / VOCABULARY
  content = config.read_json(path) if path.is_file() else {}
  data, kinds = None, content.get(_KINDS, [])
  try:
    if _DATA in content:
      data = read(DataDescription, content[_DATA], _DATA)
    if not all(isinstance(kind, str) for kind in kinds):
      raise TypeError(f"{_KINDS}={kinds!r}, expected names")
  except (TypeError, ValueError) as error:
    raise ValueError(f"{path}: {error}") from error
  return data, tuple(kinds)


def _check_tensors(
  stored: Mapping[str, shards.StoredTensor],
  sums: Mapping[str, str],
  cfg: ModelConfig,
) -> None:
  """Refuses other tensors than expected before a byte of them is read."""
  expected = {tensor.name: tensor.shape for tensor in table.tensors(cfg)}
  table.check_names("tensors", set(expected), set(stored))
  if sums:
    table.check_names(checksums.NAME, set(expected), set(sums))
  for name, shape in expected.items():
    found = stored[name]
    if found.shape != shape or found.dtype not in shards.DTYPES:
      raise ValueError(
        f"{name} is {found.dtype} {found.shape}, expected {shape} by"
        f" config.json, of dtype {', '.join(shards.DTYPES)}"
      )


def read_vocab(folder: pathlib.Path, cfg: ModelConfig) -> Vocab:
  path = folder / VOCABULARY
  released = [RELEASED.padded_size(multiple) for multiple in (1, 128, 256)]
  if not path.is_file() and cfg.vocab_size not in released:
    raise FileNotFoundError(
      f"{path}: needed, since vocab_size={cfg.vocab_size} is not one of the"
      f" released {released}; write it with Vocab.to_json"
    )
  vocab = RELEASED
  if path.is_file():
    fields = config.read_json(path)
    for key in (_DATA, _KINDS):
      fields.pop(key, None)
    vocab = Vocab.from_json(fields)
  if vocab.size > cfg.vocab_size:
    raise ValueError(
      f"{path} has {vocab.size} ids, but the model {cfg.vocab_size} rows"
    )
  return vocab


def _identity(folder: pathlib.Path) -> list:
  """Tells a folder from what it was before any of its files was changed."""
  return [
    [path.name, path.stat().st_size, path.stat().st_mtime_ns]
    for path in sorted(folder.iterdir())
  ]


def _fingerprint(settings: list) -> str:
  return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def _sync(folder: pathlib.Path) -> None:
  for path in (*folder.iterdir(), folder):
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def _check_room(folder: pathlib.Path, cfg: ModelConfig, itemsize: int) -> None:
  """Refuses to begin what the disk has no room for."""
  shapes = (tensor.shape for tensor in table.tensors(cfg))
  needed = itemsize * sum(map(math.prod, shapes))
  there = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
  free = shutil.disk_usage(folder).free
  if free < needed - there:
    raise OSError(
      f"{folder.parent} has {free / 2**30:.1f} GiB free, the weights take"
      f" {(needed - there) / 2**30:.1f} GiB more"
    )
