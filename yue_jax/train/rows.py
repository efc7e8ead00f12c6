"""The rows of a step: how they are laid out, and where they come from.

step ─► samples of its phase ─► each from a source, by its number there
                                └ epoch and pieces of documents
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh

from yue_jax.data.course import OpenedPhase
from yue_jax.phases import PhaseConfig
from yue_jax.sharding import SPECS, zigzag


def batch_layout(phase: PhaseConfig, mesh: Mesh) -> dict[str, Any]:
  """What `data.pipeline` must know to make the batches of a phase."""
  return {
    "samples_per_step": phase.samples,
    "microbatches": phase.microbatches,
    "sharding": jax.NamedSharding(mesh, SPECS.batch_abt),
    "order": zigzag(phase.context, mesh.shape["context"]),
  }


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of a batch.

  Attributes:
    sample: its number in the phase.
    source: name of the source in the mixture.
    number: of the sample in its source.
    epoch: of the source.
    pieces: (document, first token, tokens) of what lies in it, in order;
      documents are numbered within the source.
  """

  sample: int
  source: str
  number: int
  epoch: int
  pieces: tuple[tuple[int, int, int], ...]


def samples_of_step(phase: OpenedPhase, step: int) -> range:
  """Numbers of the samples in step `step` (from 0) of a phase."""
  size = phase.config.samples
  return range(step * size, (step + 1) * size)


def rows_of_step(phase: OpenedPhase, step: int) -> list[Row]:
  """The rows of step `step` (from 0) of a phase, in the order of the batch."""
  rows = []
  for sample in samples_of_step(phase, step):
    line, number = phase.mixture.locate(sample)
    epoch, place = line.samples.locate(number)
    pieces = tuple(
      tuple(map(int, piece)) for piece in line.samples.plan(epoch).pieces(place)
    )
    rows.append(Row(sample, line.name, number, epoch, pieces))
  return rows


def describe_samples(phase: OpenedPhase, step: int) -> str:
  """The samples of a step in one line, without opening any of them.

  Example: "samples 8 to 11 of phase 'only' (cot 4 to 6, icl 3)".
  """
  samples = samples_of_step(phase, step)
  by_source: dict[str, list[int]] = {}
  for sample in samples:
    line, number = phase.mixture.locate(sample)
    by_source.setdefault(line.name, []).append(number)
  inside = ", ".join(f"{n} {_range(c)}" for n, c in sorted(by_source.items()))
  return f"samples {_range(samples)} of phase {phase.config.name!r} ({inside})"


def _range(numbers: Sequence[int]) -> str:
  """A step takes consecutive samples of every source."""
  first, last = numbers[0], numbers[-1]
  return f"{first} to {last}" if last > first else f"{first}"
