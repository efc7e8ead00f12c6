"""Who joins whom: told, found by what a machine announces, or alone."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from yue_jax.processes import Cluster, find_cluster

GKE = {"TPU_WORKER_HOSTNAMES": "a,b,c,d", "TPU_WORKER_ID": "2"}


def found(tmp_path, *told, chips=(), **environment) -> Cluster | None:
  (tmp_path / "vfio").mkdir()
  for chip in chips:
    (tmp_path / chip).touch()
  told = told or (None, None, None)
  return find_cluster(*told, environment=environment, dev=str(tmp_path))


@pytest.mark.parametrize(
  ("environment", "chips", "processes"),
  [
    (GKE, ["vfio/0"], 4),
    ({**GKE, "MEGASCALE_NUM_SLICES": "3"}, [], 12),
    ({**GKE, "JAX_PLATFORMS": "tpu,cpu"}, [], 4),
    ({"TPU_PROCESS_ADDRESSES": "a:1,b:1"}, [], 2),
    ({"TPU_WORKER_HOSTNAMES": "localhost"}, [], 1),
    ({}, ["accel0"], None),
    ({}, ["vfio/vfio", "vfio/11"], None),
    ({"SLURM_STEP_NUM_TASKS": "8"}, [], 8),
    ({"OMPI_COMM_WORLD_SIZE": "2"}, [], 2),
  ],
)
def test_a_cluster_is_found(tmp_path, environment, chips, processes):
  cluster = found(tmp_path, chips=chips, **environment)
  assert cluster.processes == processes
  assert cluster.coordinator is cluster.process is None  # JAX finds them


@pytest.mark.parametrize(
  ("environment", "chips"),
  [
    ({}, []),
    ({}, ["vfio/vfio"]),
    ({**GKE, "JAX_PLATFORMS": "cpu"}, ["accel0"]),
    ({"SLURM_STEP_NUM_TASKS": "1", "OMPI_COMM_WORLD_SIZE": "1"}, []),
  ],
)
def test_a_process_is_alone(tmp_path, environment, chips):
  assert found(tmp_path, chips=chips, **environment) is None


def test_what_is_told_comes_first(tmp_path):
  told = found(tmp_path, "h:1", 3, 2, chips=["accel0"], **GKE)
  assert told == Cluster("told", "h:1", 3, 2)


def test_one_can_be_told_to_stay_alone(tmp_path):
  assert found(tmp_path, None, 1, None, chips=["accel0"], **GKE) is None


@pytest.mark.parametrize(
  ("told", "message"),
  [
    (("h:1", 2, None), "give all three"),
    ((None, 2, None), "give all three"),
    (("h:1", None, None), "give all three"),
    (("h:1", 2, 2), "none of the numbers from 0 to 1"),
  ],
)
def test_half_a_truth_is_an_error(tmp_path, told, message):
  with pytest.raises(ValueError, match=message):
    found(tmp_path, *told)


def run_main(*flags: str, **environment: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [
      sys.executable,
      "-m",
      "yue_jax.main",
      "--config=experiments/own_songs.py",
      "--run_dir=/nowhere",
      *flags,
    ],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env={**os.environ, **environment},
  )


def test_a_cluster_that_cannot_be_joined_ends_the_run():
  """A host that announces others must not train on its own."""
  done = run_main(SLURM_STEP_NUM_TASKS="2")
  assert done.returncode == 1
  last = done.stderr.strip().splitlines()[-1]
  assert "main: expected 2 processes (Slurm), but" in last
  assert "--num_processes=1" in last


def test_missing_processes_end_the_run():
  flags = ["--coordinator=localhost:1", "--num_processes=2", "--process_id=1"]
  done = run_main(*flags, "--wait_seconds=1")
  assert done.returncode not in (0, 75)
  assert "expected 2 processes (told), waiting up to 1 s" in done.stderr
