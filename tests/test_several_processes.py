"""Training on two hosts is training on one: two real processes, eight devices.

The mesh cuts the tokens of every row over both, so that keys and values, the
head and the gradients all cross the border between them.
"""

import os
import subprocess
import sys

import pytest

from tests import songs_on_disk as disk
from tests import tiny
from tests.conftest import ROOT
from yue_jax.data.dataset import open_dataset
from yue_jax.metrics import read_metrics

STEPS = 6
MESH = {"context": 4, "tensor": 2}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
  """An experiment file; the run it describes takes a few steps."""
  root = tmp_path_factory.mktemp("several")
  data = disk.prepared(root, 20)
  plain = tiny.run_dict()
  tree = {
    **plain,
    "vocab": open_dataset(data).vocab.to_json(),
    "model": {**plain["model"], "vocab_size": 512, "max_positions": 256},
    "data": {"heldout": 0.2},
    "mesh": MESH,
    "phases": [
      tiny.phase_dict(
        str(data), steps=STEPS, context=128, samples=4, microbatches=2
      )
    ],
    "train": {"log_every": 1, "eval_every": 2},
  }
  return tiny.write_experiment(root / "experiment.py", tree)


def train(experiment, run_dir, processes: int) -> list[dict]:
  """What so many processes measured, on eight devices in all."""
  port = tiny.free_port()
  devices = 8 // processes
  environment = os.environ | {
    "XLA_FLAGS": os.environ["XLA_FLAGS"].replace(
      "device_count=8", f"device_count={devices}"
    ),
    "PYTHONPATH": str(ROOT),
  }
  command = [sys.executable, "-m", "yue_jax.main", f"--config={experiment}"]
  command += [f"--run_dir={run_dir}", f"--num_processes={processes}"]
  if processes > 1:
    command += [f"--coordinator=localhost:{port}", "--heartbeat_seconds=20"]
  started = [
    subprocess.Popen(
      command + ([f"--process_id={number}"] if processes > 1 else []),
      env=environment,
      stderr=subprocess.PIPE,
      text=True,
    )
    for number in range(processes)
  ]
  for process in started:
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said[-3000:]
  return read_metrics(run_dir / "metrics.jsonl")


def test_two_processes_train_as_one(experiment, tmp_path):
  one, two = (
    train(experiment, tmp_path / str(count), count) for count in (1, 2)
  )
  assert len(one) == len(two) > STEPS
  for got, expected in zip(two, one, strict=True):
    assert (got["step"], got["kind"]) == (expected["step"], expected["kind"])
    measured = [n for n in expected if n.startswith("loss") or n == "grad_norm"]
    assert measured
    for name in measured:
      assert got[name] == pytest.approx(expected[name], rel=2e-5), (name, got)
