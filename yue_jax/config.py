"""What a run is made of, as frozen dataclasses that refuse bad numbers.

    experiments/x.py -> ConfigDict -> from_config_dict -> RunConfig -> parts

`from_config_dict` is the only reader of a ConfigDict in the package. It
accepts exactly the fields below: an unknown key, a missing one or one of
another type is an error that names its path. A constructor further down takes
its own part and never the whole.
"""

from collections.abc import Mapping
import dataclasses
import math
import typing
from typing import Any

from yue_jax.vocab import Stream, Vocab

DTYPES = ("float32", "bfloat16")
REMAT = ("none", "dots", "full")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """Shape of one decoder, in LLaMA's terms.

  Attributes:
    vocab_size: rows of the embedding, padding included.
    width: size of the residual stream.
    mlp_width: size of the SwiGLU hidden layer.
    layers: number of blocks.
    heads: query heads.
    kv_heads: key/value heads; each serves heads / kv_heads query heads.
    max_positions: longest context the model is meant for, in tokens.
    rope_base: base of the rotary frequencies.
    norm_eps: added to the mean square in RMSNorm.
    init_std: standard deviation of all initial weights.
    dtype: of activations; parameters are float32.
    remat: what the backward pass computes again instead of keeping it:
      "none" nothing, "dots" all but the results of matrix products with
      weights, "full" every block from its input.
  """

  vocab_size: int
  width: int
  mlp_width: int
  layers: int
  heads: int
  kv_heads: int
  max_positions: int
  rope_base: float = 10_000.0
  norm_eps: float = 1e-5
  init_std: float = 0.02
  dtype: str = "bfloat16"
  remat: str = "full"

  def __post_init__(self):
    _positive(
      self,
      "vocab_size width mlp_width layers heads kv_heads max_positions"
      " rope_base norm_eps init_std",
    )
    _one_of(self, "dtype", DTYPES)
    _one_of(self, "remat", REMAT)
    _divides(self, "width", "heads")
    _divides(self, "heads", "kv_heads")
    if self.head_width % 2:
      raise ValueError(
        f"width / heads = {self.head_width} is odd; rotary embeddings turn"
        " pairs, so choose an even head width"
      )

  @property
  def head_width(self) -> int:
    return self.width // self.heads


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
  """Number of devices along each axis (see `sharding`)."""

  replica: int = 1
  fsdp: int = 1
  context: int = 1
  tensor: int = 1

  def __post_init__(self):
    _positive(self, "replica fsdp context tensor")
    if self.context != 1:
      raise ValueError(
        f"mesh.context={self.context}: sequences cannot be sharded in this"
        " version; use fsdp or tensor"
      )

  @property
  def shape(self) -> tuple[int, int, int, int]:
    return self.replica, self.fsdp, self.context, self.tensor

  def describe(self) -> str:
    return " x ".join(
      f"{name} {size}" for name, size in dataclasses.asdict(self).items()
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """Which documents are read, and how they become samples.

  Attributes:
    train: prepared data set to train on (made by tools/prepare_songs.py).
    heldout: prepared data set for evaluation; "" for none.
    kind: kind of document, one of `data.pipeline.KINDS`.
    context: tokens in one sample.
    seed: of the order of documents and of every draw.
    attend_across_documents: whether a token sees the documents packed before
      its own in a sample, as in the released training.
  """

  train: str
  heldout: str
  kind: str
  context: int
  seed: int = 0
  attend_across_documents: bool = False

  def __post_init__(self):
    _positive(self, "context")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchConfig:
  """Samples per optimiser step, and in how many parts they are computed."""

  samples: int
  microbatches: int = 1

  def __post_init__(self):
    _positive(self, "samples microbatches")
    _divides(self, "samples", "microbatches")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
  """AdamW with the values of the paper (section 5.1), and a schedule.

  The rate rises linearly over `warmup_steps`, stays at `peak_rate` for
  `stable_steps`, and falls to `final_rate` over `decay_steps` by a half
  cosine; afterwards it stays there.
  """

  peak_rate: float
  final_rate: float
  warmup_steps: int
  stable_steps: int
  decay_steps: int
  beta1: float = 0.9
  beta2: float = 0.95
  eps: float = 1e-8
  weight_decay: float = 0.1
  clip_norm: float = 1.0

  def __post_init__(self):
    _positive(self, "peak_rate eps clip_norm")
    _not_negative(
      self, "final_rate warmup_steps stable_steps decay_steps weight_decay"
    )
    for name in ("beta1", "beta2"):
      if not 0 <= getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} is not in [0, 1)")
    if self.final_rate > self.peak_rate:
      raise ValueError(
        f"final_rate={self.final_rate} exceeds peak_rate={self.peak_rate}"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
  """Weight of each stream's tokens in the loss (names of `vocab.Stream`).

  A stream that is not named has weight 0: it is measured, not trained.
  """

  weights: dict[str, float]

  def __post_init__(self):
    known = {s.name.lower() for s in Stream} - {"pad"}
    for name, weight in self.weights.items():
      if name not in known:
        raise ValueError(
          f"loss.weights has unknown stream {name!r}; known: {sorted(known)}"
        )
      if not 0 <= weight < math.inf:
        raise ValueError(
          f"loss.weights.{name}={weight}, expected a finite number from 0 on"
        )
    if not any(self.weights.values()):
      raise ValueError("loss.weights trains no stream at all")

  @property
  def table(self) -> tuple[float, ...]:
    """Weight by stream number."""
    return tuple(self.weights.get(s.name.lower(), 0.0) for s in Stream)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
  """Length of the run and how often things happen, in optimiser steps.

  Attributes:
    last_step: where the run ends.
    log_every: steps between two lines of metrics.
    eval_every: steps between two evaluations; 0 for one at the end only.
    checkpoint_every: steps between two checkpoints.
    keep_checkpoints: how many of the newest are kept.
  """

  last_step: int
  log_every: int = 10
  eval_every: int = 0
  checkpoint_every: int = 1000
  keep_checkpoints: int = 2

  def __post_init__(self):
    _positive(self, "last_step log_every checkpoint_every keep_checkpoints")
    _not_negative(self, "eval_every")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
  """Everything a training run depends on.

  Attributes:
    seed: of the initial weights.
    vocab: the token-id map, as `Vocab.to_json` writes it.
    initial_weights: run directory or checkpoint whose weights the run starts
      from, with a fresh optimiser; "" for random ones.
  """

  seed: int
  vocab: Vocab
  model: ModelConfig
  mesh: MeshConfig
  data: DataConfig
  batch: BatchConfig
  optimizer: OptimizerConfig
  loss: LossConfig
  train: TrainConfig
  initial_weights: str = ""

  def __post_init__(self):
    names = [block.name for block in self.vocab.codec_blocks]
    if "xcodec" not in names:
      raise ValueError(f"vocab has codec blocks {names}, but no 'xcodec'")
    if self.model.vocab_size < self.vocab.size:
      raise ValueError(
        f"model.vocab_size={self.model.vocab_size} has no room for the"
        f" {self.vocab.size} ids of the vocabulary; use"
        f" {self.vocab.padded_size(128)} or more"
      )
    if self.data.context > self.model.max_positions:
      raise ValueError(
        f"data.context={self.data.context} exceeds"
        f" model.max_positions={self.model.max_positions}"
      )
    rows = self.batch.samples // self.batch.microbatches
    shards = self.mesh.replica * self.mesh.fsdp
    if rows % shards:
      raise ValueError(
        f"batch.samples / batch.microbatches = {rows} rows cannot be dealt to"
        f" replica x fsdp = {shards} shards; change one"
      )


def from_config_dict(config: Mapping[str, Any]) -> RunConfig:
  """Reads the nested mapping an experiment file returns."""
  return read(RunConfig, config, "")


def to_json(cfg: RunConfig) -> dict[str, Any]:
  """Plain dictionary that `from_config_dict` reads back to an equal config."""
  plain = dataclasses.asdict(cfg)
  plain["vocab"] = cfg.vocab.to_json()
  return plain


def read(kind: Any, value: Any, path: str) -> Any:
  """Reads `value` as `kind`; `path` names it in errors."""
  if kind is Vocab or typing.get_origin(kind) is dict:
    _expect_table(value, path)
  if kind is Vocab:
    return Vocab.from_json(_plain(value))
  if dataclasses.is_dataclass(kind):
    return _read_dataclass(kind, value, path)
  if typing.get_origin(kind) is dict:
    value_kind = typing.get_args(kind)[1]
    return {
      k: read(value_kind, v, f"{path}.{k}") for k, v in dict(value).items()
    }
  if kind is float and type(value) is int:
    value = float(value)
  if type(value) is not kind:
    raise TypeError(
      f"config.{path} must be {kind.__name__}, got"
      f" {type(value).__name__} {value!r}"
    )
  return value


def _read_dataclass(kind: type, value: Any, path: str) -> Any:
  _expect_table(value, path)
  fields = {f.name: f for f in dataclasses.fields(kind)}
  hints = typing.get_type_hints(kind)
  prefix = f"{path}." if path else ""
  given = dict(value.items())
  unknown = sorted(set(given) - set(fields))
  if unknown:
    raise ValueError(
      f"config has unknown keys {[prefix + k for k in unknown]}; known here:"
      f" {sorted(prefix + k for k in fields)}"
    )
  missing = sorted(
    name
    for name, f in fields.items()
    if name not in given and f.default is dataclasses.MISSING
  )
  if missing:
    raise ValueError(f"config lacks {[prefix + k for k in missing]}")
  return kind(**{k: read(hints[k], v, prefix + k) for k, v in given.items()})


def _expect_table(value: Any, path: str) -> None:
  if not hasattr(value, "items"):  # a ConfigDict is no Mapping
    raise TypeError(f"config.{path} must be a table, got {value!r}")


def _plain(value: Any) -> Any:
  if hasattr(value, "items"):
    return {k: _plain(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(v) for v in value]
  return value


def _positive(cfg: Any, names: str) -> None:
  for name in names.split():
    if not 0 < getattr(cfg, name) < math.inf:
      raise ValueError(f"{name}={getattr(cfg, name)} must be positive")


def _not_negative(cfg: Any, names: str) -> None:
  for name in names.split():
    if not 0 <= getattr(cfg, name) < math.inf:
      raise ValueError(f"{name}={getattr(cfg, name)} must not be negative")


def _one_of(cfg: Any, name: str, allowed: tuple[str, ...]) -> None:
  if getattr(cfg, name) not in allowed:
    raise ValueError(f"{name}={getattr(cfg, name)!r} is not one of {allowed}")


def _divides(cfg: Any, whole: str, parts: str) -> None:
  if getattr(cfg, whole) % getattr(cfg, parts):
    raise ValueError(
      f"{whole}={getattr(cfg, whole)} is not divisible by"
      f" {parts}={getattr(cfg, parts)}"
    )
