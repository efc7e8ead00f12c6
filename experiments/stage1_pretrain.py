"""Stage 1 from nothing: text and codebook 0 of two interleaved tracks.

Paper   section 4.1.2, phases 1 and 2: warm-up over 280 B tokens to 3e-4, then
        constant up to 1 T tokens, 8,192 tokens of context, 768 sequences
        (6.29 M tokens) a step.
Data    a prepared data set of CoT documents at data/train (held out:
        data/heldout); see tools/prepare_songs.py.
Cost    7b: 4.2e10 FLOPs a token with causal attention (`accounting`), so
        4.2e22 for 1 T tokens; annealing and longer contexts are later runs.
Command python -m yue_jax.main --config=experiments/stage1_pretrain.py:7b \
          --run_dir=runs/stage1-7b
Variants 0b5, 2b, 7b. The mesh is for 64 chips; override --config.mesh.fsdp.
"""

import ml_collections

from yue_jax import config, presets
from yue_jax.vocab import RELEASED

_MODELS = {
  "0b5": presets.stage1_0b5,
  "2b": presets.stage1_2b,
  "7b": presets.stage1_7b,
}


def get_config(size: str = "7b") -> ml_collections.ConfigDict:
  if size not in _MODELS:
    raise ValueError(f"size={size!r} is not one of {sorted(_MODELS)}")
  run = config.RunConfig(
    seed=0,
    vocab=RELEASED,
    model=_MODELS[size](),
    mesh=config.MeshConfig(fsdp=64),
    data=config.DataConfig(
      train="data/train",
      heldout="data/heldout",
      kind="cot",
      context=8192,
      attend_across_documents=True,  # as released (Megatron's defaults)
    ),
    batch=config.BatchConfig(samples=768, microbatches=12),  # a row a chip
    optimizer=config.OptimizerConfig(
      peak_rate=3e-4,
      final_rate=3e-4,  # constant; annealing is a run of its own
      warmup_steps=44_500,  # 280 B tokens
      stable_steps=114_500,  # up to 1 T tokens
      decay_steps=0,
    ),
    loss=config.LossConfig(
      weights={  # every token, as in the released code
        "text": 1.0,
        "restated": 1.0,
        "mark": 1.0,
        "reference": 1.0,
        "vocal": 1.0,
        "backing": 1.0,
      }
    ),
    train=config.TrainConfig(
      last_step=159_000,
      log_every=10,
      eval_every=1000,
      checkpoint_every=500,
      keep_checkpoints=3,
    ),
  )
  return ml_collections.ConfigDict(config.to_json(run))
