"""When a checkpoint is due: at certain steps, and by time in between.

All processes must save at the same step, and their clocks differ. So process
0 alone looks at its clock and tells the others, through the coordination
service; devices are not asked, and go on working meanwhile.
"""

from collections.abc import Callable
import datetime
from typing import NamedTuple

import orbax.checkpoint as ocp

from yue_jax.config import TrainConfig


class _Moment(NamedTuple):
  step: int
  time: datetime.datetime
  metrics: None = None


def _now() -> datetime.datetime:
  return datetime.datetime.now(datetime.UTC)


class SaveTimes:
  """Decides at every step; the same in every process."""

  def __init__(
    self,
    cfg: TrainConfig,
    *,
    clock: Callable[[], datetime.datetime] = _now,
  ):
    """`clock` is asked in process 0; time runs from now, then from saves."""
    self._every, self._clock = cfg.checkpoint_every, clock
    self._after = None
    if cfg.checkpoint_minutes:
      self._after = ocp.checkpoint_managers.ContinuousCheckpointingPolicy(
        minimum_interval_secs=60 * cfg.checkpoint_minutes
      )
    self._last = _Moment(0, clock())

  def due(self, step: int) -> bool:
    """Whether to save after `step`; every process asks at every step."""
    if step % self._every == 0:
      return True
    return self._after is not None and self._after.should_save(
      _Moment(step, self._clock()),
      [self._last],
      context=ocp.checkpoint_managers.DecisionContext(
        is_saving_in_progress=False,
        reached_preemption=False,
        multiprocessing_options=ocp.options.MultiprocessingOptions(),
      ),
    )

  def saved(self, step: int) -> None:
    self._last = _Moment(step, self._clock())
