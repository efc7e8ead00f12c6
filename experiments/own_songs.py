"""A first run on songs of your own: small, so that it runs anywhere.

Purpose To see that data, losses by stream and checkpoints are in order before
        a large run is paid for: CoT documents of data/songs, a decoder of
        11 M parameters (nearly all of them the released vocabulary), 100
        steps of 4,096 tokens. With :stage2, windows of 300 frames in place
        of songs, 100 steps of two: the residual codebooks. With ,world, as
        in :stage1,world, the vocabulary is that of the songs and tokenizer of
        tools/make_world_audio.py, prepared with --small-vocab --codes 1024.
Expected 11.3 nats at first, 7.0 after 60 steps of the synthetic songs this was
        tried with, whose codes are noise (ln 1024 is 6.93); music is easier.
Cost    about a quarter of an hour on two cores, a minute on one accelerator.
Next    experiments/stage1_pretrain.py, continue_released.py, or a copy of
        yue_four_phases.py with your own mixture.
Command python -m yue_jax.main --config=experiments/own_songs.py \
          --run_dir=runs/own
        python -m yue_jax.main --config=experiments/own_songs.py:stage2 \
          --run_dir=runs/own2
"""

import dataclasses

import ml_collections

from yue_jax import config, phases, presets
from yue_jax.vocab import RELEASED, Vocab

_STEPS, _SAMPLES = 100, 2
_CONTEXTS = {"stage1": 2048, "stage2": 2816}  # a window has 2,704 tokens
_VOCABS = {"": RELEASED, "world": Vocab.small(338, codes=1024)}
_KINDS = {"stage1": "cot", "stage2": "window"}
_TRAINED = {
  "stage1": ("text", "restated", "mark", "vocal", "backing"),
  "stage2": tuple(f"codebook_{k}" for k in range(8)),
}


def get_config(argument: str = "stage1") -> ml_collections.ConfigDict:
  stage, _, songs = argument.partition(",")
  if stage not in _KINDS or songs not in _VOCABS:
    raise ValueError(
      f"{argument!r}, expected stage1 or stage2, and ,world or nothing"
    )
  vocab = _VOCABS[songs]
  context = _CONTEXTS[stage]
  tokens = context * _SAMPLES * _STEPS
  run = config.RunConfig(
    seed=0,
    vocab=vocab,
    model=dataclasses.replace(
      presets.small(vocab.padded_size(128)), max_positions=context
    ),
    mesh=config.MeshConfig(),
    data=config.DataConfig(heldout=0.1),
    phases=(
      phases.PhaseConfig(
        name="first",
        tokens=tokens,
        context=context,
        samples=_SAMPLES,
        microbatches=_SAMPLES,
        rate=phases.RateConfig(
          peak=2e-3, warmup_tokens=tokens // 20, decay_tokens=tokens // 4
        ),
        mixture={
          "songs": phases.SourceConfig(
            data="data/songs", kind=_KINDS[stage], weight=1.0
          )
        },
      ),
    ),
    optimizer=config.OptimizerConfig(),
    loss=config.LossConfig(weights=dict.fromkeys(_TRAINED[stage], 1.0)),
    train=config.TrainConfig(log_every=10, eval_every=100, eval_samples=32),
  )
  return ml_collections.ConfigDict(config.to_json(run))
