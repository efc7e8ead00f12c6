"""A first run on songs of your own: small, so that it runs anywhere.

Purpose To see that data, losses by stream and checkpoints are in order before
        a large run is paid for: CoT documents of data/songs, a decoder of
        11 M parameters (nearly all of them the released vocabulary), 100
        steps of 4,096 tokens.
Expected 11.3 nats at first, 7.0 after 60 steps of the synthetic songs this was
        tried with, whose codes are noise (ln 1024 is 6.93); music is easier.
Cost    about a quarter of an hour on two cores, a minute on one accelerator.
Next    experiments/stage1_pretrain.py, continue_released.py, or a copy of
        yue_four_phases.py with your own mixture.
Command python -m yue_jax.main --config=experiments/own_songs.py \
          --run_dir=runs/own
"""

import dataclasses

import ml_collections

from yue_jax import config, phases, presets
from yue_jax.vocab import RELEASED

_CONTEXT, _SAMPLES, _STEPS = 2048, 2, 100


def get_config() -> ml_collections.ConfigDict:
  tokens = _CONTEXT * _SAMPLES * _STEPS
  run = config.RunConfig(
    seed=0,
    vocab=RELEASED,
    model=dataclasses.replace(
      presets.small(RELEASED.padded_size(128)), max_positions=_CONTEXT
    ),
    mesh=config.MeshConfig(),
    data=config.DataConfig(heldout=0.1),
    phases=(
      phases.PhaseConfig(
        name="first",
        tokens=tokens,
        context=_CONTEXT,
        samples=_SAMPLES,
        microbatches=_SAMPLES,
        rate=phases.RateConfig(
          peak=2e-3, warmup_tokens=tokens // 20, decay_tokens=tokens // 4
        ),
        mixture={
          "songs": phases.SourceConfig(
            data="data/songs", kind="cot", weight=1.0
          )
        },
      ),
    ),
    optimizer=config.OptimizerConfig(),
    loss=config.LossConfig(
      weights={
        "text": 1.0,
        "restated": 1.0,
        "mark": 1.0,
        "vocal": 1.0,
        "backing": 1.0,
      }
    ),
    train=config.TrainConfig(log_every=10, eval_every=100, eval_samples=32),
  )
  return ml_collections.ConfigDict(config.to_json(run))
