"""Shapes of decoders: the released ones, ours in between, and tiny ones.

Each function returns a `ModelConfig`; an experiment changes single fields with
`dataclasses.replace`. Sizes in the docstrings count every parameter, both
embedding tables included (`accounting.parameter_count`; a test compares).

Released shapes are those of the published weights' config.json files, so that
weights can be exchanged. The 0.5B and the 2B of the paper were never described
in full: of theirs only width 1,024 and 24 layers of the 0.5B are known. What
is ours there follows three rules: heads are 128 wide, which fills a TPU's
matrix unit; 4 key/value heads as in the 7B; and the MLP is 3.25 times the
width, a multiple of 256, which gives back the parameters that grouped queries
save.
"""

from yue_jax.config import ModelConfig
from yue_jax.vocab import RELEASED

# The published tables are padded for different tensor parallelism in training.
STAGE1_VOCAB_SIZE = RELEASED.padded_size(256)  # 83,968
STAGE2_VOCAB_SIZE = RELEASED.padded_size(128)  # 83,840


def stage1_7b() -> ModelConfig:
  """6.22 B parameters. Source: config.json of YuE-s1-7B-anneal."""
  return ModelConfig(
    vocab_size=STAGE1_VOCAB_SIZE,
    width=4096,
    mlp_width=11_008,
    layers=32,
    heads=32,
    kv_heads=4,
    max_positions=16_384,
  )


def stage1_2b() -> ModelConfig:
  """1.99 B parameters. Ours (see the module): the paper gives no shape."""
  return ModelConfig(
    vocab_size=STAGE1_VOCAB_SIZE,
    width=2048,
    mlp_width=6656,
    layers=32,
    heads=16,
    kv_heads=4,
    max_positions=16_384,
  )


def stage1_0b5() -> ModelConfig:
  """0.49 B parameters. Width and layers as in YuE-s1-0.5B, the rest ours."""
  return ModelConfig(
    vocab_size=STAGE1_VOCAB_SIZE,
    width=1024,
    mlp_width=3328,
    layers=24,
    heads=8,
    kv_heads=4,
    max_positions=16_384,
  )


def stage2_1b() -> ModelConfig:
  """1.96 B parameters, "1B" by name. Source: config of YuE-s2-1B-general."""
  return ModelConfig(
    vocab_size=STAGE2_VOCAB_SIZE,
    width=2048,
    mlp_width=5504,
    layers=32,
    heads=16,
    kv_heads=16,
    max_positions=8192,
  )


def tiny(vocab_size: int) -> ModelConfig:
  """For tests: 98,624 parameters and 128 for each row of the vocabulary.

  Grouped queries, float32 and nothing recomputed.
  """
  return ModelConfig(
    vocab_size=vocab_size,
    width=64,
    mlp_width=192,
    layers=2,
    heads=4,
    kv_heads=2,
    max_positions=1024,
    dtype="float32",
    remat="none",
  )


def small(vocab_size: int) -> ModelConfig:
  """For the small world: 160,192 parameters and 128 for each vocabulary row.

  One step up from `tiny`: a third layer, and every head has its own keys.
  """
  return ModelConfig(
    vocab_size=vocab_size,
    width=64,
    mlp_width=192,
    layers=3,
    heads=4,
    kv_heads=4,
    max_positions=256,
    dtype="float32",
    remat="none",
  )
