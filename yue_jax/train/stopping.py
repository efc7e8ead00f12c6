"""Requests to stop: SIGTERM at any process stops all at the same step.

That is how clusters announce that they take a machine away. Where processes
have joined, JAX catches the signal and agrees with all of them on a step that
none has passed yet; a process alone catches it itself.
"""

import signal
from typing import Self

import jax
from jax.experimental import multihost_utils


class StopRequests:
  """Use as a context manager around the steps of a run, in the main thread."""

  def __init__(self, first_step: int):
    """`first_step` is the step that every process has reached by now."""
    self._first_step, self._signalled = first_step, False
    self._before = None

  def reached(self, step: int) -> bool:
    """Whether to stop after `step`; every process asks after every step."""
    if jax.distributed.is_initialized():
      self._signalled |= multihost_utils.reached_preemption_sync_point(step)
    return self._signalled

  def __enter__(self) -> Self:
    if not jax.distributed.is_initialized():
      self._before = signal.signal(signal.SIGTERM, self._note)
      return self
    # JAX counts calls and takes the next count as the step to stop at. It may
    # have been asked to before the first step of this process: so count up to
    # where the run is, without a gap that the agreed step could fall into.
    for step in range(1, self._first_step + 1):
      self._signalled |= multihost_utils.reached_preemption_sync_point(step)
    return self

  def __exit__(self, *_) -> None:
    if not jax.distributed.is_initialized():
      signal.signal(signal.SIGTERM, self._before)

  def _note(self, *_) -> None:
    self._signalled = True
