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

import ml_collections

_STEPS = {"short": (100, 460, 240), "long": (100, 900, 600)}


def get_config(length: str = "short") -> ml_collections.ConfigDict:
  if length not in _STEPS:
    raise ValueError(f"length={length!r} is not one of {sorted(_STEPS)}")
  warmup, stable, decay = _STEPS[length]
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.vocab = {
    "text_size": 338,  # the world's own tokenizer
    "codec_blocks": [{"name": "xcodec", "codebooks": 8, "size": 160}],
  }
  config.model = {
    "vocab_size": 1664,  # 1,640 ids, padded to a multiple of 128
    "width": 64,
    "mlp_width": 192,
    "layers": 2,
    "heads": 2,
    "kv_heads": 2,
    "max_positions": 256,
    "dtype": "float32",
    "remat": "none",
  }
  config.mesh = {"fsdp": 2}
  config.data = {
    "train": "runs/demo/data/train",
    "heldout": "runs/demo/data/heldout",
    "kind": "window",
    "context": 232,  # one window of 229 tokens
  }
  config.batch = {"samples": 8}
  config.optimizer = {
    "peak_rate": 5e-3,
    "final_rate": 0.0,
    "warmup_steps": warmup,
    "stable_steps": stable,
    "decay_steps": decay,
  }
  # The leading codebook 0 is given, never generated: conditioning.
  config.loss = {"weights": {f"codebook_{k}": 1.0 for k in range(8)}}
  config.train = {
    "last_step": warmup + stable + decay,
    "log_every": 10,
    "eval_every": 0,
    "checkpoint_every": 200,
    "keep_checkpoints": 2,
  }
  return config
