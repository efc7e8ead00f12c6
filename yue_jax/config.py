"""What a run is made of, as frozen dataclasses that refuse bad numbers.

    experiments/x.py -> ConfigDict -> from_config_dict -> RunConfig -> parts

`from_config_dict` is the only reader of a ConfigDict in the package; it
accepts exactly the fields below and those of `phases`. A constructor further
down takes its own part and never the whole.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

from yue_jax import checks
from yue_jax.config_tables import read
from yue_jax.phases import DataConfig, PhaseConfig, first_steps
from yue_jax.vocab import Stream, Vocab

DTYPES = ("float32", "bfloat16")
REMAT = ("none", "dots", "qkv", "attention", "full")
# Activations of a block that have a name, in the order of their making.
ACTIVATIONS = ("block_input", "qkv", "attention", "mlp")
ATTENTION = ("auto", "reference", "blocked", "splash")
# Weights of a block that can have an adapter, by their names in `model`.
LORA_TARGETS = ("q", "k", "v", "out", "gate", "up", "down")


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
    remat: what of every block is kept on the device for the backward pass,
      which computes the rest again: "none" of it is computed again, "dots"
      keeps products with weights, "attention" queries, keys, values and what
      attention gives, "qkv" the first three, "full" nothing but the input.
    offload: activations (of `ACTIVATIONS`) that wait in the memory of the
      host meanwhile; with a remat that keeps activations by name.
    attention: how it is computed, not what: a backend of `attention`.
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
  offload: tuple[str, ...] = ()
  attention: str = "auto"

  def __post_init__(self):
    checks.positive(
      self,
      "vocab_size width mlp_width layers heads kv_heads max_positions"
      " rope_base norm_eps init_std",
    )
    checks.one_of(self, "dtype", DTYPES)
    checks.one_of(self, "remat", REMAT)
    checks.one_of(self, "attention", ATTENTION)
    unknown = set(self.offload) - set(ACTIVATIONS)
    if unknown or (self.offload and self.remat in ("none", "dots")):
      raise ValueError(
        f"offload={self.offload} with remat={self.remat!r}: expected some of"
        f" {ACTIVATIONS}, and a remat that keeps activations by name"
        f" ({REMAT[2:]})"
      )
    checks.divides(self, "width", "heads")
    checks.divides(self, "heads", "kv_heads")
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
    checks.positive(self, "replica fsdp context tensor")

  @property
  def shape(self) -> tuple[int, int, int, int]:
    return self.replica, self.fsdp, self.context, self.tensor

  def describe(self) -> str:
    return " x ".join(
      f"{name} {size}" for name, size in dataclasses.asdict(self).items()
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
  """AdamW with the values of the paper (section 5.1).

  Moments are kept in `moment_dtype`; bfloat16 takes 4 bytes less a parameter.
  """

  beta1: float = 0.9
  beta2: float = 0.95
  eps: float = 1e-8
  weight_decay: float = 0.1
  clip_norm: float = 1.0
  moment_dtype: str = "float32"

  def __post_init__(self):
    checks.positive(self, "eps clip_norm")
    checks.one_of(self, "moment_dtype", DTYPES)
    checks.not_negative(self, "weight_decay")
    for name in ("beta1", "beta2"):
      if not 0 <= getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} is not in [0, 1)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraConfig:
  """Adapters on frozen weights, which alone are trained (see `lora`).

  Attributes:
    rank: of every adapter.
    alpha: what an adapter gives is multiplied by alpha / rank.
    targets: weights of every block that have one (of `LORA_TARGETS`).
  """

  rank: int
  alpha: float
  targets: tuple[str, ...] = ("q", "k", "v", "out")

  def __post_init__(self):
    checks.positive(self, "rank alpha")
    targets = set(self.targets)
    if not targets <= set(LORA_TARGETS) or not targets:
      raise ValueError(
        f"targets={self.targets}, expected at least one of {LORA_TARGETS}"
      )
    if len(targets) < len(self.targets):
      raise ValueError(f"targets={self.targets} names one twice; name it once")

  @property
  def scale(self) -> float:
    return self.alpha / self.rank


@dataclasses.dataclass(frozen=True, kw_only=True)
class MupConfig:
  """The small model whose learning rate is used (see `mup`).

  Attributes:
    base_width: its `width`.
    base_mlp_width: its `mlp_width`.
    head_width: its width / heads, which must be that of the model trained.
  """

  base_width: int
  base_mlp_width: int
  head_width: int

  def __post_init__(self):
    checks.positive(self, "base_width base_mlp_width head_width")
    checks.divides(self, "base_width", "head_width")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
  """Weight of each stream's tokens in the loss (names of `vocab.Stream`).

  A stream that is not named has weight 0: it is measured, not trained.
  `z_loss` times the squared log-normaliser of the logits is added to the nats
  of every token (PaLM, section 5), in training and not in what is reported.
  `chunk` is how many tokens of a device have their logits in memory at once
  (see `losses`): it changes memory and speed, and nothing else.
  """

  weights: dict[str, float]
  z_loss: float = 0.0
  chunk: int = 512

  def __post_init__(self):
    checks.not_negative(self, "z_loss")
    checks.positive(self, "chunk")
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
  """How often things happen, in optimiser steps.

  Attributes:
    last_step: where the run stops, though phases may go on; 0 for their end.
    log_every: steps between two lines of metrics.
    eval_every: steps between two evaluations; 0 for one at the end only.
    eval_samples: most samples of a held-out set; 0 for all of them.
    checkpoint_every: steps between two checkpoints.
    checkpoint_minutes: another one is made when so much time has passed since
      the last; 0 for none by time.
    keep_checkpoints: how many of the newest are kept.
    keep_every: checkpoints at multiples of so many steps are kept for ever;
      0 for none.
    max_skipped_steps: the run stops when more updates than this in a row were
      not finite and hence skipped.
    watchdog_minutes: the run ends, saying where it stands, when no step has
      ended for so long; 0 for never. Compiling does not count.
    profile_steps: first and last step to be traced; empty for none.
  """

  last_step: int = 0
  log_every: int = 10
  eval_every: int = 0
  eval_samples: int = 0
  checkpoint_every: int = 1000
  checkpoint_minutes: float = 0.0
  keep_checkpoints: int = 2
  keep_every: int = 0
  max_skipped_steps: int = 10
  watchdog_minutes: float = 30.0
  profile_steps: tuple[int, ...] = ()

  def __post_init__(self):
    checks.positive(self, "log_every checkpoint_every keep_checkpoints")
    checks.not_negative(
      self,
      "last_step eval_every eval_samples checkpoint_minutes keep_every"
      " max_skipped_steps watchdog_minutes",
    )
    steps = self.profile_steps
    if steps and (len(steps) != 2 or not 0 < steps[0] <= steps[1]):
      raise ValueError(
        f"profile_steps={steps}, expected the first and the last step of a"
        " trace, as (10, 12)"
      )
    if self.keep_every % self.checkpoint_every:
      raise ValueError(
        f"keep_every={self.keep_every} is no multiple of"
        f" checkpoint_every={self.checkpoint_every}, so that no checkpoint"
        " would be kept at most of these steps; change one"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RehearsalConfig:
  """Songs that a run sings every so often (see `rehearsal`).

  Attributes:
    every: steps between two rehearsals.
    songs: manifest whose first songs give tags and lyrics.
    tokenizer: the .model file that prepared the data.
    count: how many songs.
    seed: of the first; the others count on.
    settings: how they are drawn, where not as released, by names of
      `sampling.song.TrackSettings` and `sampling.logits.Sampling`.
    world: world.json of the small world whose words are read back; "" for
      none.
    sound: whether songs of a world are made audible.
  """

  every: int
  songs: str
  tokenizer: str
  count: int = 8
  seed: int = 0
  settings: dict[str, float] = dataclasses.field(default_factory=dict)
  world: str = ""
  sound: bool = False

  def __post_init__(self):
    checks.positive(self, "every count")
    checks.not_negative(self, "seed")
    if self.sound and not self.world:
      raise ValueError(
        "sound=True but world is empty; only codes of a small world are made"
        " audible here, others want their codec"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
  """Everything a training run depends on.

  Attributes:
    seed: of the initial weights.
    vocab: the token-id map, as `Vocab.to_json` writes it.
    phases: one after the other.
    initial_weights: run directory or checkpoint whose weights the run starts
      from, with a fresh optimiser; "" for random ones.
    lora: trains adapters on the initial weights, which stay as they are; None
      trains all weights.
    mup: scales initial weights and rates from a base model's width to this
      one's; None is the standard parametrisation, the same at every width.
    rehearsal: songs that are sung in the course of it; None for none.
  """

  seed: int
  vocab: Vocab
  model: ModelConfig
  mesh: MeshConfig
  data: DataConfig
  phases: tuple[PhaseConfig, ...]
  optimizer: OptimizerConfig
  loss: LossConfig
  train: TrainConfig
  initial_weights: str = ""
  lora: LoraConfig | None = None
  mup: MupConfig | None = None
  rehearsal: RehearsalConfig | None = None

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
    if self.lora is not None and not self.initial_weights:
      raise ValueError(
        "lora adapts given weights, but initial_weights is empty; name the run"
        " directory of some there (tools/import_hf.py makes one of a Hugging"
        " Face folder)"
      )
    self._check_mup()
    if not self.phases:
      raise ValueError("phases is empty; a run needs at least one")
    names = [phase.name for phase in self.phases]
    if len(set(names)) < len(names):
      raise ValueError(f"names of phases must differ, got {names}")
    for number, phase in enumerate(self.phases):
      self._check_phase(f"phases[{number}]", phase)
    steps = first_steps(self.phases)[-1]
    if self.train.last_step > steps:
      raise ValueError(
        f"train.last_step={self.train.last_step} is beyond the {steps} steps"
        " of all phases; give a phase more tokens, or append one"
      )

  def _check_mup(self) -> None:
    if self.mup is None:
      return
    if self.mup.head_width != self.model.head_width:
      raise ValueError(
        f"mup.head_width={self.mup.head_width}, but model.width / heads ="
        f" {self.model.head_width}; a wider model has more heads, not wider"
        f" ones: heads={self.model.width / self.mup.head_width:g} here"
      )
    if self.lora is not None:
      raise ValueError(
        "mup says how whole weights grow with the width, lora trains adapters"
        " alone; give one of them"
      )

  def _check_phase(self, path: str, phase: PhaseConfig) -> None:
    if phase.context > self.model.max_positions:
      raise ValueError(
        f"{path}.context={phase.context} exceeds"
        f" model.max_positions={self.model.max_positions}"
      )
    if self.mesh.context > 1 and phase.context % (2 * self.mesh.context):
      raise ValueError(
        f"{path}.context={phase.context} cannot be cut into two equal pieces"
        f" for each of mesh.context={self.mesh.context} shards; change one"
      )
    rows = phase.samples // phase.microbatches
    shards = self.mesh.replica * self.mesh.fsdp
    if rows % shards:
      raise ValueError(
        f"{path}: samples / microbatches = {rows} rows cannot be dealt to"
        f" replica x fsdp = {shards} shards; change one"
      )

  @property
  def last_step(self) -> int:
    """Where the run stops."""
    return self.train.last_step or first_steps(self.phases)[-1]


def from_config_dict(config: Mapping[str, Any]) -> RunConfig:
  """Reads the nested mapping an experiment file returns."""
  return read(RunConfig, config, "")


def to_json(cfg: RunConfig) -> dict[str, Any]:
  """Plain dictionary that `from_config_dict` reads back to an equal config."""
  plain = dataclasses.asdict(cfg)
  plain["vocab"] = cfg.vocab.to_json()
  return plain
