"""Adapters on the released stage-1 weights, with the released LoRA recipe.

Recipe  that of YuE's finetuning code: rank 64 and alpha 32 on q, k, v and o,
        5e-4 and a cosine to 0 after 3 % of warm-up, beta2 0.95, decay 0.01,
        8,192 tokens, loss on every token. Not its dropout of 0.1: a step here
        is a function of state and batch. And not two defects of its trainer,
        which shifts labels twice, so that it learns the token after the next,
        and hands attention a mask under which tokens see later ones.
Ours    tokens and batch, which the recipe leaves to the data.
Change  the mixture, the tokens; adapters on the MLP as well, by
        --config.lora.targets="('q','k','v','out','gate','up','down')".
Expected losses by stream start where the import has them, exactly: B is 0.
Cost    3.0e10 FLOPs a token with causal attention; 4.2e10 would train all. A
        checkpoint holds the 52 M parameters of the adapters and their moments,
        0.6 GB; the weights stay in runs/released, which must be there to
        continue, to generate and to merge. On v5e:2x4 a step needs 6.2 of the
        15.75 GiB of a chip, compiled for it by tools/plan_run.py.
Data    data/mine (tools/prepare_songs.py); one song in fifty is held out.
Command python tools/import_hf.py YuE-s1-7B-anneal-en-cot runs/released
        python -m yue_jax.main --config=experiments/lora_released.py \
          --run_dir=runs/lora
        python tools/export_lora.py runs/lora exports/lora
"""

import ml_collections

from yue_jax import config, phases, presets
from yue_jax.vocab import RELEASED

_TOKENS = 100 * 10**6
_WARMUP = _TOKENS * 3 // 100


def get_config() -> ml_collections.ConfigDict:
  run = config.RunConfig(
    seed=0,
    vocab=RELEASED,
    model=presets.stage1_7b(),
    initial_weights="runs/released",
    lora=config.LoraConfig(rank=64, alpha=32.0),
    mesh=config.MeshConfig(fsdp=8),
    data=config.DataConfig(heldout=0.02, attend_across_documents=True),
    phases=(
      phases.PhaseConfig(
        name="mine",
        tokens=_TOKENS,
        context=8192,
        samples=16,
        microbatches=2,
        rate=phases.RateConfig(
          peak=5e-4,
          final=0.0,
          warmup_tokens=_WARMUP,
          decay_tokens=_TOKENS - _WARMUP,
        ),
        mixture={
          "cot": phases.SourceConfig(
            data="data/mine", kind="cot", weight=1.0, packing="split"
          ),
        },
      ),
    ),
    optimizer=config.OptimizerConfig(beta2=0.95, weight_decay=0.01),
    loss=config.LossConfig(
      weights={
        "text": 1.0,
        "restated": 1.0,
        "mark": 1.0,
        "vocal": 1.0,
        "backing": 1.0,
      }
    ),
    train=config.TrainConfig(
      log_every=10, eval_every=100, eval_samples=128, checkpoint_every=100
    ),
  )
  return ml_collections.ConfigDict(config.to_json(run))
