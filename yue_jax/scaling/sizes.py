"""The sizes of YuE, for which a law may be asked.

What the paper says it trained on: 500 B tokens for the 0.5B and the 2B of the
comparison of sizes, 1.75 T and 40 B of annealing for the 7B, 2 T for stage 2
(arXiv 2503.08638, sections 4.1, 4.2 and 5.1).
"""

import dataclasses

import numpy as np

from yue_jax import accounting, presets
from yue_jax.scaling.law import Cost

# The rule of thumb for text: about as much by arXiv 2203.15556 and 2404.10102.
TOKENS_PER_PARAMETER = 20.0


@dataclasses.dataclass(frozen=True)
class Size:
  """One of the published sizes.

  Attributes:
    name: as the paper calls it.
    parameters: with embeddings or without, as asked for.
    flops_per_token: of training at the full context, by the causal convention.
    trained: tokens of the paper's training.
  """

  name: str
  parameters: int
  flops_per_token: float
  trained: float


def yue_sizes(*, embeddings: bool = True) -> list[Size]:
  """0.5B, 1B (stage 2), 2B and 7B, in rising order of their names."""
  found = []
  for name, preset, trained in (
    ("0.5B", presets.stage1_0b5, 0.5e12),
    ("1B (stage 2)", presets.stage2_1b, 2e12),
    ("2B", presets.stage1_2b, 0.5e12),
    ("7B", presets.stage1_7b, 1.79e12),
  ):
    cfg = preset()
    flops = accounting.train_flops_per_token(cfg, cfg.max_positions)
    size = (
      accounting.parameter_count(cfg)
      if embeddings
      else accounting.parameters_without_embedding(cfg)
    )
    found.append(Size(name, size, flops, trained))
  return found


def cost_of(sizes: list[Size]) -> Cost:
  """FLOPs of a token as a power of the size, through these sizes."""
  return Cost.through(
    np.array([size.parameters for size in sizes], float),
    np.array([size.flops_per_token for size in sizes]),
  )
