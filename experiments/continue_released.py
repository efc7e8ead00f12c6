"""Go on from the released stage-1 weights, on songs of your own.

Purpose Fine-tuning and new languages: weights of YuE-s1-7B-anneal-*, imported
        by tools/import_hf.py, a fresh optimiser, and a rate that is warmed up
        again to a tenth of pre-training's before it falls.
Change  what you like: a longer context (max_positions and the context of the
        phase; the rotary base is what it was), other padding of the
        vocabulary (83,968 rows here; a multiple of 128 from 83,738 on, as
        meshes want it: rows are added or cut, none that has a token), the
        mixture, the tokens.
Expected losses by stream start where the import has them; vocal loss on new
        data falls within the first hundred million tokens.
Data    data/mine (tools/prepare_songs.py); one song in a hundred is held out.
Cost    7b: 4.8e10 FLOPs a token; 2 B tokens are 9.6e19 FLOPs.
Command python tools/import_hf.py YuE-s1-7B-anneal-en-cot runs/released
        python -m yue_jax.main --config=experiments/continue_released.py \
          --run_dir=runs/mine
"""

import dataclasses

import ml_collections

from yue_jax import config, phases, presets
from yue_jax.vocab import RELEASED

_TOKENS = 2 * 10**9


def get_config() -> ml_collections.ConfigDict:
  run = config.RunConfig(
    seed=0,
    vocab=RELEASED,
    model=dataclasses.replace(
      presets.stage1_7b(),
      max_positions=16_384,
      vocab_size=RELEASED.padded_size(256),
    ),
    initial_weights="runs/released",
    mesh=config.MeshConfig(fsdp=16),
    data=config.DataConfig(heldout=0.01, attend_across_documents=True),
    phases=(
      phases.PhaseConfig(
        name="mine",
        tokens=_TOKENS,
        context=16_384,
        samples=64,
        microbatches=4,
        rate=phases.RateConfig(
          peak=3e-5,
          final=3e-6,
          warmup_tokens=_TOKENS // 50,
          decay_tokens=_TOKENS // 5,
        ),
        mixture={
          "cot": phases.SourceConfig(
            data="data/mine", kind="cot", weight=2.0, overlong="sections"
          ),
          "icl": phases.SourceConfig(
            data="data/mine", kind="icl", weight=1.0, overlong="sections"
          ),
        },
      ),
    ),
    optimizer=config.OptimizerConfig(),
    loss=config.LossConfig(
      weights={
        "text": 1.0,
        "restated": 1.0,
        "mark": 1.0,
        "reference": 1.0,
        "vocal": 1.0,
        "backing": 1.0,
      }
    ),
    train=config.TrainConfig(
      log_every=10, eval_every=100, eval_samples=128, checkpoint_every=200
    ),
  )
  return ml_collections.ConfigDict(config.to_json(run))
