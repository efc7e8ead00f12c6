"""Stage 1 from nothing: text and codebook 0 of two interleaved tracks.

Paper   section 4.1.2, phases 1 and 2: warm-up over 280 B tokens to 3e-4, then
        constant up to 1 T tokens, 8,192 tokens of context, 768 sequences
        (6.29 M tokens) a step.
Data    a prepared data set of songs at data/songs (tools/prepare_songs.py),
        read as CoT documents; one song in a thousand is held out. For the
        whole mixture of the paper see yue_four_phases.py.
Cost    7b: 4.2e10 FLOPs a token with causal attention (`accounting`), so
        4.2e22 for 1 T tokens; annealing and longer contexts are later runs.
Command python -m yue_jax.main --config=experiments/stage1_pretrain.py:7b \
          --run_dir=runs/stage1-7b
Variants 0b5, 2b, 7b. The mesh is for 64 chips; override --config.mesh.fsdp.
"""

import ml_collections

from yue_jax import config, phases, presets
from yue_jax.vocab import RELEASED

_MODELS = {
  "0b5": presets.stage1_0b5,
  "2b": presets.stage1_2b,
  "7b": presets.stage1_7b,
}

_ALIKE = {  # of both phases
  "context": 8192,
  "samples": 768,
  "microbatches": 12,  # a row a chip
  "mixture": {
    "cot": phases.SourceConfig(data="data/songs", kind="cot", weight=1.0)
  },
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
      heldout=0.001,
      attend_across_documents=True,  # as released (Megatron's defaults)
    ),
    phases=(
      phases.PhaseConfig(
        name="warmup",
        tokens=280 * 10**9,
        rate=phases.RateConfig(peak=3e-4, warmup_tokens=280 * 10**9),
        **_ALIKE,
      ),
      phases.PhaseConfig(
        name="constant",  # annealing is a phase or a run of its own
        tokens=720 * 10**9,
        rate=phases.RateConfig(peak=3e-4),
        **_ALIKE,
      ),
    ),
    optimizer=config.OptimizerConfig(),
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
      log_every=10,
      eval_every=1000,
      eval_samples=512,
      checkpoint_every=500,
      keep_checkpoints=3,
    ),
  )
  return ml_collections.ConfigDict(config.to_json(run))
