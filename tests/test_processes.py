"""Several processes read one run; their number changes, and they are killed.

Real processes with jax.distributed, twelve fake devices in all.
"""

import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import songs_on_disk as disk
from tests import tiny
from tests.conftest import ROOT
from tests.reading_process import SHAPE, STEPS
from yue_jax.data.samples import FIELDS


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  return disk.prepared(tmp_path_factory.mktemp("processes"), 40)


def start(data, out, processes: int, first: int) -> list[subprocess.Popen]:
  port = tiny.free_port()
  devices = 12 // processes
  environment = {
    **os.environ,
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    "PYTHONPATH": str(ROOT),
  }
  arguments = [str(a) for a in (processes, data, out, first, STEPS)]
  command = [sys.executable, "-m", "tests.reading_process", str(port)]
  return [
    subprocess.Popen(
      [*command, str(p), *arguments],
      cwd=ROOT,
      env=environment,
      stderr=subprocess.PIPE,
    )
    for p in range(processes)
  ]


def written(out, processes: int, step: int) -> bool:
  return all((out / f"{step}-{p}.npz").exists() for p in range(processes))


def until(out, readers, step: int, seconds=120.0) -> None:
  deadline = time.monotonic() + seconds
  while not written(out, len(readers), step):
    for reader in readers:
      if reader.poll() not in (None, 0):
        raise AssertionError(reader.stderr.read().decode()[-3000:])
    assert time.monotonic() < deadline, f"step {step} was not read"
    time.sleep(0.01)


def batch(out, processes: int, step: int) -> dict[str, np.ndarray]:
  """Puts the shards of a step together; every place must be filled."""
  found = {name: np.full(SHAPE, -1, np.int64) for name in FIELDS}
  for process in range(processes):
    with np.load(out / f"{step}-{process}.npz", allow_pickle=False) as arrays:
      for key in arrays.files:
        if not key.endswith("/place"):
          index = tuple(slice(*part) for part in arrays[f"{key}/place"])
          found[key.split("/")[0]][index] = arrays[key]
  for name, values in found.items():
    assert (values >= 0).all(), f"step {step}: {name} has gaps"
  return found


def read_all(data, out, stages) -> list[dict[str, np.ndarray]]:
  """Batches of all steps; a stage is (processes, steps before it is killed)."""
  out.mkdir()
  first, batches = 0, []
  for processes, steps in stages:
    folder = out / f"from_{first}"
    folder.mkdir()
    readers = start(data, folder, processes, first)
    try:
      until(folder, readers, first + steps - 1)
    finally:
      for reader in readers:
        reader.kill()
        reader.communicate()
    batches += [
      batch(folder, processes, step) for step in range(first, first + steps)
    ]
    first += steps
  return batches


def test_the_number_of_processes_changes_nothing(data, tmp_path):
  """4, 2, 3 and 1 processes, killed at random, as one that is left alone.

  Each of them is new, knows the step only, and finds the plans that those
  before it have written, all at once and up to the moment of their death.
  """
  moments = sorted(random.Random(0).sample(range(2, STEPS - 1), 3))
  steps = np.diff([0, *moments, STEPS]).tolist()
  alone = read_all(data, tmp_path / "alone", [(1, STEPS)])
  stages = zip((4, 2, 3, 1), steps, strict=True)
  changing = read_all(data, tmp_path / "changing", stages)
  assert len(alone) == len(changing) == STEPS
  for one, other in zip(alone, changing, strict=True):
    for name in FIELDS:
      np.testing.assert_array_equal(one[name], other[name])
  assert len({b["inputs"].tobytes() for b in alone}) == STEPS
