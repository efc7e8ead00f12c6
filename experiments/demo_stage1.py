"""Stage 1 in the small world: sing the given words, in a few minutes.

Purpose  The main job of `make demo`: text and codebook 0 of two interleaved
         tracks, on songs whose every probability is known.
Expected after 4,000 steps (5.5 M tokens): 88 % of the gap between a listener
         who cannot read the lyrics and the floor is closed on unseen lyrics,
         and one word in a hundred is sung wrong; `:long` (9,000 steps) goes
         further.
Cost     0.4 M parameters, 5 to 8 minutes on two cores; `:long` 20.
Command  make demo, or, after its first steps have prepared the data,
         python -m yue_jax.main --config=experiments/demo_stage1.py \
           --run_dir=runs/demo/stage1

What made the difference in small trials: the words of a section restate the
head, so they can be predicted, and a model that learns to do so finds its
place in the lyrics when it sings; first-time text is random here, and with
weight 0 it does not drown that signal.
"""

import ml_collections

from yue_jax import config, phases, presets
from yue_jax.vocab import Vocab

_STEPS = {"short": (100, 2700, 1200), "long": (100, 5900, 3000)}
_VOCAB = Vocab.small(338, codes=160)  # the world's own tokenizer and codes
_CONTEXT = 200  # one song
_SAMPLES = 8


def get_config(length: str = "short") -> ml_collections.ConfigDict:
  if length not in _STEPS:
    raise ValueError(f"length={length!r} is not one of {sorted(_STEPS)}")
  warmup, stable, decay = _STEPS[length]
  step = _SAMPLES * _CONTEXT  # tokens
  run = config.RunConfig(
    seed=0,
    vocab=_VOCAB,
    model=presets.small(_VOCAB.padded_size(128)),
    mesh=config.MeshConfig(fsdp=2),
    data=config.DataConfig(
      evaluation={
        "heldout": phases.EvaluationConfig(
          data="runs/demo/data/heldout", kind="cot"
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
            data="runs/demo/data/train", kind="cot", weight=1.0
          )
        },
      ),
    ),
    optimizer=config.OptimizerConfig(),
    loss=config.LossConfig(
      weights={"restated": 1.0, "mark": 1.0, "vocal": 1.0, "backing": 1.0}
    ),
    train=config.TrainConfig(
      log_every=10,
      eval_every=500,
      checkpoint_every=200,
    ),
    rehearsal=config.RehearsalConfig(
      every=1000,
      songs="runs/demo/world/heldout/songs.jsonl",
      tokenizer="runs/demo/world/tokenizer.model",
      world="runs/demo/world/world.json",
      sound=True,
      settings={
        "min_frames": 1.0,
        "max_frames": 40.0,
        "top_p": 0.9,
        "first_guidance": 1.0,  # the unconditional branch is not trained
        "later_guidance": 1.0,
        "repetition_penalty": 1.0,  # a syllable is a repetition
      },
    ),
  )
  return ml_collections.ConfigDict(config.to_json(run))
