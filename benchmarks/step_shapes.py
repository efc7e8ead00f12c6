"""The model, the tokens and the optimiser of benchmarks/step.py.

Standard library and NumPy: every contender reads it, whatever it computes
with.
"""

import numpy as np

from yue_jax.config import ModelConfig, OptimizerConfig

ROWS, CONTEXT = 8, 512
RATE = 1e-3
OPTIMIZER = OptimizerConfig()
MATMUL = 2048  # rows and columns of the product that gives the matrix peak


def model(vocab_size: int) -> ModelConfig:
  return ModelConfig(
    vocab_size=vocab_size,
    width=256,
    mlp_width=704,
    layers=4,
    heads=4,
    kv_heads=4,
    max_positions=CONTEXT,
    dtype="float32",
    remat="none",
  )


def batch(vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
  """Inputs and targets, (ROWS, CONTEXT) int32: one document in each row."""
  ids = np.random.default_rng(0).integers(0, vocab_size, (ROWS, CONTEXT + 1))
  ids = ids.astype(np.int32)
  return ids[:, :-1], ids[:, 1:]
