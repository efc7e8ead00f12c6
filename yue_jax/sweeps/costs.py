"""What the runs of a sweep take, before any of them runs."""

from collections.abc import Sequence
import dataclasses

from yue_jax import accounting
from yue_jax.config import RunConfig
from yue_jax.phases import places, steps_by_phase
from yue_jax.planner import search
from yue_jax.planner.estimate import Estimate
from yue_jax.planner.topology import Topology


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
  """What a run is to do, as if documents filled its samples.

  Attributes:
    steps: of the optimiser.
    tokens: places in samples.
    flops: by the causal convention of `accounting`.
  """

  steps: int
  tokens: int
  flops: float


def work_of(cfg: RunConfig) -> Work:
  """Counted from the config; opens no data."""
  steps = steps_by_phase(cfg.phases, cfg.last_step)
  flops = sum(
    taken
    * phase.tokens_per_step
    * accounting.train_flops_per_token(cfg.model, phase.context, cfg.lora)
    for phase, taken in zip(cfg.phases, steps, strict=True)
  )
  tokens = places(cfg.phases, cfg.last_step)
  return Work(steps=cfg.last_step, tokens=tokens, flops=flops)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Price:
  """What a run costs on a topology, at least.

  Attributes:
    seconds: if all steps take the least time that the planner estimates.
    dollars: of all chips for so long; None without a price.
    fits: whether the planner thinks that every step fits into the memory.
  """

  seconds: float
  dollars: float | None
  fits: bool


def total(prices: Sequence[Price]) -> Price:
  """Of all runs, one after the other."""
  dollars = [price.dollars for price in prices]
  return Price(
    seconds=sum(price.seconds for price in prices),
    dollars=None if None in dollars else sum(dollars),
    fits=all(price.fits for price in prices),
  )


class Pricing:
  """Prices of runs on a topology; steps of one shape are traced once."""

  def __init__(self, topology: Topology, dollars_per_hour: float | None):
    """`dollars_per_hour` of a chip; None if not known."""
    self._topology, self._dollars = topology, dollars_per_hour
    self._known: dict[str, Estimate] = {}

  def price(self, cfg: RunConfig) -> Price:
    """Estimated, not compiled (see `planner.estimate`).

    Raises:
      ValueError: mesh and topology do not fit each other.
    """
    seconds, fits = 0.0, True
    for number, steps in enumerate(steps_by_phase(cfg.phases, cfg.last_step)):
      if steps:
        step = self._estimate(cfg, number)
        seconds += steps * step.bound
        fits &= step.fits
    chip_hours = seconds / 3600 * self._topology.chips
    dollars = None if self._dollars is None else chip_hours * self._dollars
    return Price(seconds=seconds, dollars=dollars, fits=fits)

  def _estimate(self, cfg: RunConfig, number: int) -> Estimate:
    its = cfg.phases[number]
    shape = its.context, its.samples, its.microbatches
    key = repr((cfg.model, cfg.mesh, cfg.optimizer, cfg.loss, cfg.lora, shape))
    if key not in self._known:
      self._known[key] = search.estimate_of(cfg, self._topology, number)
    return self._known[key]
