"""Batches: from samples by number to global arrays on the mesh.

  steps first_step, first_step + 1, ...     grain.MapDataset, random access
    └ rows of that step                     samples read by prefetch threads
       └ batch {inputs, targets, streams, segments, positions},
         each a global jax.Array (microbatch, row, token)

The batch of step s holds the samples from s * samples_per_step on, whoever
asks and however often the run was interrupted: the position of the data is
the step. A process reads the rows that its own devices hold, going by the
layout of the batch and never by its own number: where an axis over tokens or
heads spans processes, several of them need the same row.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import grain
import jax
import numpy as np

from yue_jax.data.samples import FIELDS, Sample, empty_sample

Batch = dict[str, jax.Array]
Order = np.ndarray | slice
# A few steps hide reading; deep buffers are slow, since Grain 0.2.18 counts
# the ready elements of its buffer anew for every element.
_STEPS_PER_THREAD = 2


class Samples(Protocol):
  """What batches are made of; `PlannedSamples` and `Mixture` are such."""

  context: int

  def __len__(self) -> int: ...

  def sample(self, number: int) -> Sample: ...


def train_batches(
  samples: Samples,
  *,
  samples_per_step: int,
  microbatches: int,
  sharding: jax.sharding.Sharding,
  first_step: int,
  last_step: int,
  order: Order = slice(None),
  threads: int = 2,
) -> Iterator[Batch]:
  """Batches of the steps from `first_step` up to but not `last_step`.

  Args:
    samples: read by number, from as many threads as given.
    samples_per_step: rows of all microbatches together.
    microbatches: parts of a step, in the order of the samples.
    sharding: of arrays (microbatch, row, token).
    first_step: how many steps were taken before; nothing else is restored.
    last_step: where to end.
    order: which token of a sample lies at each place of a row; all in order,
      unless the mesh cuts rows (`sharding.zigzag`).
    threads: read ahead; 0 reads when asked. Changes nothing but speed.
  """
  return _batches(
    samples.sample,
    range(first_step, last_step),
    shape=_batch_shape(samples, samples_per_step, microbatches),
    sharding=sharding,
    order=order,
    threads=threads,
  )


def eval_batches(
  samples: Samples,
  *,
  samples_per_step: int,
  microbatches: int,
  sharding: jax.sharding.Sharding,
  order: Order = slice(None),
  threads: int = 2,
) -> Iterator[Batch]:
  """Batches with every sample of epoch 0 once; padding fills the last one."""

  def read(number: int) -> Sample:
    if number < len(samples):
      return samples.sample(number)
    return empty_sample(samples.context)

  return _batches(
    read,
    range(-(-len(samples) // samples_per_step)),
    shape=_batch_shape(samples, samples_per_step, microbatches),
    sharding=sharding,
    order=order,
    threads=threads,
  )


def addressable_rows(
  sharding: jax.sharding.Sharding, shape: tuple[int, int, int]
) -> list[int]:
  """Rows of a (microbatch, row, token) batch that this process must read.

  Numbered microbatch by microbatch: row r of microbatch m is m * rows + r.
  """
  needed = np.zeros(shape[:2], bool)
  for index in sharding.addressable_devices_indices_map(shape).values():
    needed[index[:2]] = True
  return np.flatnonzero(needed).tolist()


def read_rows(
  read: Callable[[int], Sample],
  steps: range,
  *,
  rows: Sequence[int],
  rows_per_step: int,
  threads: int,
  order: Order = slice(None),
) -> Iterator[Sample]:
  """The given rows of each step, stacked: arrays (rows given, token)."""

  def read_step(step: int) -> Sample:
    read_ones = [read(step * rows_per_step + row) for row in rows]
    return {
      name: np.stack([r[name][order] for r in read_ones]) for name in FIELDS
    }

  options = grain.ReadOptions(threads, _STEPS_PER_THREAD * threads)
  chain = grain.MapDataset.range(steps.start, steps.stop).map(read_step)
  return iter(chain.to_iter_dataset(options))


def _batches(
  read: Callable[[int], Sample],
  steps: range,
  *,
  shape: tuple[int, int, int],
  sharding: jax.sharding.Sharding,
  order: Order,
  threads: int,
) -> Iterator[Batch]:
  rows = addressable_rows(sharding, shape)
  places = np.full(shape[0] * shape[1], -1)
  places[rows] = np.arange(len(rows))
  places = places.reshape(shape[:2])
  for local in read_rows(
    read,
    steps,
    rows=rows,
    rows_per_step=places.size,
    order=order,
    threads=threads,
  ):
    yield {
      name: _global_array(values, places, shape=shape, sharding=sharding)
      for name, values in local.items()
    }


def _global_array(
  values: np.ndarray,
  places: np.ndarray,
  *,
  shape: tuple[int, int, int],
  sharding: jax.sharding.Sharding,
) -> jax.Array:
  """Arranges rows (rows, token) by their places (microbatch, row)."""
  return jax.make_array_from_callback(
    shape, sharding, lambda index: values[places[index[:2]], index[2]]
  )


def _batch_shape(
  samples: Samples, samples_per_step: int, microbatches: int
) -> tuple[int, int, int]:
  if samples_per_step % microbatches:
    raise ValueError(
      f"samples_per_step={samples_per_step} is not divisible by"
      f" microbatches={microbatches}"
    )
  return microbatches, samples_per_step // microbatches, samples.context
