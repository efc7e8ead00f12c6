"""The step compiles for TPU slices that are not here, by the real compiler."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason="no libtpu; install the [tpu] extra",
)


def compile_step(*flags: str) -> str:
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
  done = subprocess.run(
    [sys.executable, "tools/compile_step.py", *flags],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=environment,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  return done.stdout


def test_small_step_compiles_for_v5e():
  out = compile_step(
    "--config=experiments/demo_stage1.py",
    "--topology=v5e:4x4",
    "--config.mesh.fsdp=4",
    "--config.mesh.tensor=2",
    "--config.mesh.replica=2",
    "--config.model.dtype=bfloat16",
  )
  state, arguments = re.search(
    r"state (\S+) GiB, arguments (\S+) GiB", out
  ).groups()
  assert 0 < float(state) <= float(arguments)


def test_7b_step_lowers_for_a_v5p_slice():
  out = compile_step(
    "--config=experiments/stage1_pretrain.py:7b",
    "--topology=v5p:4x4x4",
    "--lower_only",
  )
  assert "lowered in" in out
