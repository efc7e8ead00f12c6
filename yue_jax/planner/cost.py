"""From seconds of a step to tokens, utilisation, days and dollars."""

import dataclasses

from yue_jax import accounting
from yue_jax.config import RunConfig
from yue_jax.planner.topology import Topology


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
  """What a bound on the time of a step means for its phase.

  MFU by two conventions (`accounting`); dollars are None without a price.
  """

  step_seconds: float
  tokens_per_second_per_chip: float
  mfu_causal: float
  mfu_full: float
  days: float
  dollars: float | None


def cost(
  cfg: RunConfig,
  topology: Topology,
  phase: int,
  step_seconds: float,
  price: float | None,
) -> Cost:
  """What a phase costs if its steps take so long."""
  its = cfg.phases[phase]
  rate = its.tokens_per_step / step_seconds / topology.chips
  hours = its.steps * step_seconds / 3600
  peak = topology.chip.flops
  full = accounting.train_flops_per_token_full(cfg.model, its.context, cfg.lora)
  causal = accounting.train_flops_per_token(cfg.model, its.context, cfg.lora)
  return Cost(
    step_seconds=step_seconds,
    tokens_per_second_per_chip=rate,
    mfu_causal=rate * causal / peak,
    mfu_full=rate * full / peak,
    days=hours / 24,
    dollars=None if price is None else hours * topology.chips * price,
  )
