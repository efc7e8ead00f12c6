"""What a run may do with its weights every so often, besides its losses."""

from collections.abc import Callable, Mapping
from typing import Protocol

import jax

from yue_jax.checkpoint import DataDescription


class Evaluator(Protocol):
  """Measures weights; the run goes on as if it had not.

  What it measures is a function of weights and step, and what it writes may be
  written again: a run that is killed meanwhile takes the steps since its last
  checkpoint anew, and evaluates anew.

  Attributes:
    kind: of its records in metrics.jsonl.
    every: steps between two evaluations.
  """

  kind: str
  every: int

  def open(self, mesh: jax.sharding.Mesh, data: DataDescription) -> None:
    """Called once, before the first step, to find what is wrong.

    Raises:
      ValueError: it does not fit the run.
      OSError: something it needs is not there.
    """

  def evaluate(
    self, params: dict, step: int, *, alive: Callable[[], None]
  ) -> Mapping[str, float | None]:
    """Called in all processes, inside the mesh, after `step`.

    Args:
      params: those of the decoder, `TrainState.weights`; they are lent.
      step: steps taken in the run.
      alive: to be called whenever something was done.

    Returns:
      The values of a record, by name; the same in all processes.
    """
