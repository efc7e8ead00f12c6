"""Updates that are not finite: skipped, counted, and in the end fatal.

One batch in a million may overflow, and weeks of training should survive it;
a run that has diverged gives nothing else, and should stop. So an update
whose loss or gradient is not finite leaves weights and moments as they were,
and so many of them in a row end the run. The step goes on counting, since it
is the position in the data, and the learning rate follows the step.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool
import optax


def keep_unless(finite: Bool[Array, ""], new: Any, old: Any) -> Any:
  """`new` if finite, else `old`, but for the step that sets the rate.

  Args:
    finite: whether the update can be used.
    new: weights or optimiser state after it.
    old: the same before; may be donated.
  """

  def choose(after, before):
    if isinstance(after, optax.ScaleByScheduleState):
      return after
    return jnp.where(finite, after, before)

  return jax.tree.map(
    choose,
    new,
    old,
    is_leaf=lambda x: isinstance(x, optax.ScaleByScheduleState),
  )


class Skips:
  """Counts skipped updates; every process sees the same ones."""

  def __init__(self, most_in_a_row: int):
    self._most, self._in_a_row, self._unread = most_in_a_row, 0, 0

  def count(self, skipped: bool) -> None:
    self._in_a_row = self._in_a_row + 1 if skipped else 0
    self._unread += bool(skipped)

  @property
  def too_many(self) -> bool:
    return self._in_a_row > self._most

  def read(self) -> int:
    """How many since the last reading."""
    unread, self._unread = self._unread, 0
    return unread
