"""Traces of some steps for TensorBoard or Perfetto, planned or on request.

Planned by `train.profile_steps`; on request by SIGUSR1, which traces the next
steps of the process that gets it. Traces lie in <directory>/profile.
"""

from collections.abc import Sequence
import logging
import pathlib
import signal
from typing import Any, Self

import jax

STEPS_ON_REQUEST = 5
_log = logging.getLogger(__name__)


class Profiler:
  """Use as a context manager around the steps, in the main thread."""

  def __init__(self, directory: pathlib.Path, steps: Sequence[int]):
    """Traces from the first to the last step in `steps`, if there are any."""
    self._directory = directory / "profile"
    self._planned = range(steps[0], steps[1] + 1) if steps else range(0)
    self._requested, self._last = False, None  # of the trace under way
    self._before = None

  def before(self, step: int) -> None:
    """Call before `step` is dispatched."""
    if self._last is not None:
      return
    if step in self._planned:
      self._last = self._planned[-1]
    elif self._requested:
      self._last = step + STEPS_ON_REQUEST - 1
    else:
      return
    self._requested = False
    jax.profiler.start_trace(str(self._directory))

  def after(self, step: int, state: Any) -> None:
    """Call when `step` was dispatched and makes `state`."""
    if self._last is None or step < self._last:
      return
    jax.block_until_ready(state)
    self._stop()
    _log.info("the trace up to step %d is in %s", step, self._directory)

  def _stop(self) -> None:
    self._last = None
    jax.profiler.stop_trace()

  def _request(self, *_) -> None:
    self._requested = True

  def __enter__(self) -> Self:
    self._before = signal.signal(signal.SIGUSR1, self._request)
    return self

  def __exit__(self, *_) -> None:
    signal.signal(signal.SIGUSR1, self._before)
    if self._last is not None:
      self._stop()
