"""A run of a claim as the config that `yue_jax.main` trains."""

import pathlib

from yue_jax import config, phases
from yue_jax.paper import corpora
from yue_jax.paper.cases import Phase, Run, Shape
from yue_jax.vocab import Vocab

_EVERY = 200  # steps between two checkpoints
_POSITIONS = 256  # room for a clip and a song sung at its longest
# Text is random, hence measured only; all else is trained.
_WEIGHTS = {
  name: 1.0
  for name in ("restated", "mark", "reference", "vocal", "backing", "mixture")
}


def run_config(run: Run, corpus: pathlib.Path) -> config.RunConfig:
  """What `yue_jax.main` trains."""
  vocab = corpora.vocabulary(corpus, run.corpus)
  return config.RunConfig(
    seed=run.seed,
    vocab=vocab,
    model=model_config(run.shape, vocab),
    mesh=config.MeshConfig(),
    data=phases.DataConfig(seed=run.seed),
    phases=tuple(
      _phase(f"phase{number}", phase, corpus / "train")
      for number, phase in enumerate(run.phases, start=1)
    ),
    optimizer=config.OptimizerConfig(),
    loss=config.LossConfig(weights=_WEIGHTS),
    train=config.TrainConfig(
      log_every=10, checkpoint_every=_EVERY, keep_checkpoints=1
    ),
  )


def model_config(shape: Shape, vocab: Vocab) -> config.ModelConfig:
  return config.ModelConfig(
    vocab_size=vocab.padded_size(64),
    width=shape.width,
    mlp_width=3 * shape.width,
    layers=shape.layers,
    heads=shape.heads,
    kv_heads=shape.heads,
    max_positions=_POSITIONS,
    # 0.02 is for wide models: so narrow ones learn three times as fast.
    init_std=shape.width**-0.5,
    dtype="float32",
    remat="none",
  )


def _phase(name: str, phase: Phase, data: pathlib.Path) -> phases.PhaseConfig:
  step = phase.samples * phase.context
  return phases.PhaseConfig(
    name=name,
    tokens=phase.steps * step,
    context=phase.context,
    samples=phase.samples,
    rate=phases.RateConfig(
      peak=phase.peak,
      final=phase.final,
      warmup_tokens=phase.warmup * step,
      decay_tokens=phase.decay * step,
    ),
    mixture={
      kind: phases.SourceConfig(
        data=str(data), kind=kind, weight=weight, order=phase.order
      )
      for kind, weight in phase.kinds
    },
  )
