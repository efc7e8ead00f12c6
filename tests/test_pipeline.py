"""The batch of a step depends on the step alone, and reads what it needs."""

import itertools
import threading

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import numpy as np
import pytest

from tests.songs_on_disk import prepared
from yue_jax.data.dataset import open_dataset
from yue_jax.data.pipeline import (
  addressable_rows,
  eval_batches,
  read_rows,
  train_batches,
)
from yue_jax.data.samples import FIELDS, PlannedSamples, empty_sample
from yue_jax.data.sources.make import open_source

CONTEXT = 8
LAYOUTS = {
  "rows": PartitionSpec(None, "rows", None),
  "rows and tokens": PartitionSpec(None, "rows", "tokens"),
  "tokens": PartitionSpec(None, None, "tokens"),
}


class CountedSamples:
  """Sample n holds n everywhere; remembers what was read."""

  context = CONTEXT

  def __init__(self, count=10):
    self.read = []
    self._count = count
    self._lock = threading.Lock()

  def __len__(self):
    return self._count

  def sample(self, number):
    with self._lock:
      self.read.append(number)
    sample = empty_sample(CONTEXT)
    return {name: values + number for name, values in sample.items()}


def layout(name="rows") -> NamedSharding:
  """On eight fake devices: four along rows, two along tokens."""
  mesh = jax.make_mesh(
    (4, 2), ("rows", "tokens"), axis_types=(AxisType.Explicit,) * 2
  )
  return NamedSharding(mesh, LAYOUTS[name])


def train(samples, first_step=0, last_step=3, **changes):
  fields = {"samples_per_step": 8, "microbatches": 2, "sharding": layout()}
  return train_batches(
    samples, **fields | changes, first_step=first_step, last_step=last_step
  )


@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_are_in_the_order_of_the_samples(name):
  sharding = layout(name)
  batches = list(train(CountedSamples(), sharding=sharding))
  assert len(batches) == 3
  for step, batch in enumerate(batches):
    assert list(batch) == list(FIELDS)
    for field, values in batch.items():
      assert values.sharding == sharding
      assert values.dtype == FIELDS[field]
      expected = 8 * step + np.arange(8).reshape(2, 4, 1)
      expected = np.broadcast_to(expected, (2, 4, CONTEXT))
      np.testing.assert_array_equal(jax.device_get(values), expected)


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
  directory = prepared(tmp_path_factory.mktemp("pipeline"), 30)
  vocab = open_dataset(directory).vocab
  source = open_source(directory, "icl", seed=0, vocab=vocab)
  return PlannedSamples(source, context=256, seed=0)


def on_host(batches):
  return [jax.device_get(batch) for batch in batches]


def assert_equal(ones, others):
  for one, other in zip(ones, others, strict=True):
    for name in FIELDS:
      np.testing.assert_array_equal(one[name], other[name])


@pytest.fixture(scope="module")
def first_steps(songs):
  return on_host(train(songs, last_step=12, threads=0))


@pytest.mark.parametrize("threads", [0, 1, 2, 5])
def test_the_number_of_threads_changes_nothing(songs, first_steps, threads):
  assert_equal(
    on_host(train(songs, last_step=12, threads=threads)), first_steps
  )


@pytest.mark.parametrize("first_step", [0, 1, 7, 11, 12])
def test_going_on_from_any_step(songs, first_steps, first_step):
  rest = train(songs, first_step=first_step, last_step=12)
  assert_equal(on_host(rest), first_steps[first_step:])


def test_microbatches_change_nothing_but_the_shape(songs, first_steps):
  whole = on_host(train(songs, last_step=12, microbatches=1))
  for one, other in zip(whole, first_steps, strict=True):
    for name in FIELDS:
      assert one[name].shape == (1, 8, 256)
      np.testing.assert_array_equal(
        one[name].reshape(8, 256), other[name].reshape(8, 256)
      )


def songs_in(batches) -> list[tuple[int, ...]]:
  """The tokens of every document that is whole, in order."""
  found = []
  for batch in batches:
    rows = (batch[name].reshape(-1, 256) for name in ("inputs", "segments"))
    for inputs, segments in zip(*rows, strict=True):
      for segment in range(1, segments.max() + 1):
        found.append(tuple(inputs[segments == segment].tolist()))
  return found


def test_each_document_once_per_epoch_in_another_order(tmp_path):
  directory = prepared(tmp_path, 16)
  vocab = open_dataset(directory).vocab
  source = open_source(directory, "plain", seed=0, vocab=vocab)
  samples = PlannedSamples(source, context=256, seed=0)
  steps = len(samples)  # of one row each, so that epochs end with a step
  flat = {
    "samples_per_step": 1,
    "microbatches": 1,
    "sharding": layout("tokens"),
  }
  epochs = [
    songs_in(on_host(train(samples, e * steps, (e + 1) * steps, **flat)))
    for e in range(3)
  ]
  assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
  assert len(set(epochs[0])) == len(epochs[0]) >= 16
  assert epochs[0] != epochs[1] != epochs[2]


class PartOfTheDevices:
  """A layout as a process sees it that holds only some of the devices."""

  def __init__(self, sharding, devices):
    self._sharding, self._devices = sharding, set(devices)

  def addressable_devices_indices_map(self, shape):
    indices = self._sharding.devices_indices_map(shape)
    return {d: i for d, i in indices.items() if d in self._devices}


@pytest.mark.parametrize(
  ("name", "devices", "expected"),
  [
    ("rows", [(0, 0), (0, 1)], [0, 4]),
    ("rows", [(1, 0), (3, 1)], [1, 3, 5, 7]),
    # Two processes that share a row over tokens both read it.
    ("rows and tokens", [(2, 0)], [2, 6]),
    ("rows and tokens", [(2, 1)], [2, 6]),
    ("tokens", [(1, 1)], range(8)),
  ],
)
def test_only_rows_of_its_own_devices_are_read(name, devices, expected):
  sharding = layout(name)
  mine = [sharding.mesh.devices[place] for place in devices]
  rows = addressable_rows(PartOfTheDevices(sharding, mine), (2, 4, CONTEXT))
  assert rows == list(expected)
  samples = CountedSamples()
  steps = read_rows(
    samples.sample, range(2, 5), rows=rows, rows_per_step=8, threads=3
  )
  for step, read in zip(range(2, 5), steps, strict=True):
    assert read["inputs"][:, 0].tolist() == [8 * step + row for row in rows]
  assert sorted(samples.read) == [
    8 * step + row for step in range(2, 5) for row in rows
  ]


def test_a_row_on_several_devices_is_read_once():
  samples = CountedSamples()
  assert len(list(train(samples, sharding=layout("tokens")))) == 3
  assert sorted(samples.read) == list(range(24))


def test_reading_ahead_is_bounded():
  samples = CountedSamples()
  batches = train(samples, last_step=1000, threads=2)
  next(batches)
  next(batches)
  assert len(samples.read) < 10 * 8


@pytest.mark.parametrize("count", [8, 9, 15, 16, 1])
def test_evaluation_sees_every_sample_once(count):
  samples = CountedSamples(count)
  batches = on_host(
    eval_batches(samples, samples_per_step=8, microbatches=2, sharding=layout())
  )
  rows = np.concatenate([b["inputs"].reshape(8, CONTEXT) for b in batches])
  padded = -(-count // 8) * 8
  assert rows[:, 0].tolist() == [*range(count), *[0] * (padded - count)]
  assert sorted(samples.read) == list(range(count))


def test_uneven_microbatches_are_refused_at_once():
  with pytest.raises(
    ValueError, match="samples_per_step=8 is not divisible by"
  ):
    train(CountedSamples(), microbatches=3)


def test_errors_in_a_thread_reach_the_reader():
  class Broken(CountedSamples):
    def sample(self, number):
      if number == 20:
        raise RuntimeError("record 20 is damaged")
      return super().sample(number)

  batches = train(Broken(), last_step=9)
  assert len(list(itertools.islice(batches, 2))) == 2
  with pytest.raises(RuntimeError, match="record 20 is damaged"):
    next(batches)
