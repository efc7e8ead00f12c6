"""Stage 2 in the small world: seven residual codebooks, given codebook 0.

Purpose  The second half of `make demo`: windows of 25 frames of every track,
         codebook 0 first, then all eight codebooks frame by frame.
Expected after 800 steps: 98 % of the gap between the unigram of codebooks 1
         to 7 and their floor is closed on unseen songs; codebook 0 in the
         frames is a copy, with a floor of zero.
Cost     0.3 M parameters, about a minute on two cores.
Command  make demo, or, after its first steps have prepared the data,
         python -m yue_jax.main --config=experiments/demo_stage2.py \
           --run_dir=runs/demo/stage2
"""

import dataclasses

import ml_collections

from yue_jax import config, phases, presets
from yue_jax.vocab import Vocab

_STEPS = {"short": (100, 460, 240), "long": (100, 900, 600)}
_VOCAB = Vocab.small(338, codes=160)  # the world's own tokenizer and codes
_CONTEXT = 232  # one window of 229 tokens
_SAMPLES = 8


def get_config(length: str = "short") -> ml_collections.ConfigDict:
  if length not in _STEPS:
    raise ValueError(f"length={length!r} is not one of {sorted(_STEPS)}")
  warmup, stable, decay = _STEPS[length]
  step = _SAMPLES * _CONTEXT  # tokens
  run = config.RunConfig(
    seed=0,
    vocab=_VOCAB,
    model=dataclasses.replace(
      presets.small(_VOCAB.padded_size(128)), layers=2, heads=2, kv_heads=2
    ),
    mesh=config.MeshConfig(fsdp=2),
    data=config.DataConfig(
      evaluation={
        "heldout": phases.EvaluationConfig(
          data="runs/demo/data/heldout", kind="window"
        )
      },
    ),
    phases=(
      phases.PhaseConfig(
        name="all",
        tokens=(warmup + stable + decay) * step,
        context=_CONTEXT,
        samples=_SAMPLES,
        rate=phases.RateConfig(
          peak=5e-3, warmup_tokens=warmup * step, decay_tokens=decay * step
        ),
        mixture={
          "songs": phases.SourceConfig(
            data="runs/demo/data/train", kind="window", weight=1.0
          )
        },
      ),
    ),
    optimizer=config.OptimizerConfig(),
    loss=config.LossConfig(
      # The leading codebook 0 is given, never generated: conditioning.
      weights={f"codebook_{k}": 1.0 for k in range(8)}
    ),
    train=config.TrainConfig(
      log_every=10,
      eval_every=0,
      checkpoint_every=200,
    ),
  )
  return ml_collections.ConfigDict(config.to_json(run))
