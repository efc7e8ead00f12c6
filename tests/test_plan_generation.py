"""tools/plan_generation.py: the loop through the real TPU compiler."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from tests import tiny
from tests.conftest import ROOT, needs_libtpu
from yue_jax import chips, config
from yue_jax.planner import generation, topology
from yue_jax.planner.compiler import Compiled

GIB = 2**30
# Heads as wide as a TPU likes them; a cache that outweighs the rest.
MODEL = {
  "width": 256,
  "heads": 2,
  "kv_heads": 2,
  "layers": 8,
  "max_positions": 2048,
  "dtype": "bfloat16",
}


def planned(tmp_path: pathlib.Path, *flags: str) -> subprocess.CompletedProcess:
  run = tiny.run_dict()
  run["model"] |= MODEL
  run = config.to_json(config.from_config_dict(run))  # with every field
  experiment = tiny.write_experiment(tmp_path / "small.py", run)
  return subprocess.run(
    [
      sys.executable,
      "tools/plan_generation.py",
      f"--config={experiment}",
      f"--cache={tmp_path / 'cache'}",
      f"--markdown={tmp_path / 'table.md'}",
      *flags,
    ],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
  )


@needs_libtpu
def test_the_loop_is_compiled_and_copies_no_cache(tmp_path):
  done = planned(tmp_path, "--topology=v5e:2x2", "--tensor=2", "--rows=32")
  assert done.returncode == 0, done.stderr[-3000:]
  assert "32 rows with guidance of 2,048 tokens" in done.stdout
  assert "GiB: fits" in done.stdout
  head, _, line = (tmp_path / "table.md").read_text().splitlines()
  names = [cell.strip() for cell in head.split("|")]
  its = dict(zip(names, map(str.strip, line.split("|")), strict=True))
  # 2 x 8 layers x 32 rows x 1 head x 2,048 x 128 x 2 bytes, on each device.
  assert float(its["cache"]) == 0.25
  assert float(its["temporaries"]) < 0.2 * float(its["cache"])


def test_what_cannot_be_cut_is_refused(tmp_path):
  done = planned(tmp_path, "--topology=v5e:2x2", "--tensor=3")
  assert done.returncode and "--tensor=3 leaves" in done.stderr
  done = planned(tmp_path, "--topology=v5e:2x2", "--tensor=2", "--context=4096")
  assert done.returncode and "max_positions=2048" in done.stderr


@pytest.mark.parametrize("refused", ["", "exceeds available"])
def test_the_bound_is_what_a_step_reads_by_the_bandwidth(refused):
  plan = generation.GenerationPlan(
    name="small",
    topology=topology.parse("v5e:1x1"),
    tensor=1,
    rows=10,
    branches=1,
    slots=1024,
    parameters=GIB,
    cache=GIB,
    temporaries=None if refused else 0,
    needed=None if refused else 2 * GIB,
    read=round(chips.CHIPS["v5e"].hbm_bytes / 100),
    refused=refused,
    seconds=1.0,
  )
  assert plan.fits == (not refused)
  assert plan.tokens_per_second == pytest.approx(1000)
  assert ("does not fit" in generation.table_line(plan)) == bool(refused)
  assert any(
    "at most 1,000 tokens/s" in line for line in generation.lines(plan)
  )


def test_weights_are_read_once_but_for_the_tables():
  """The embedding is looked up; of the head only what is computed is read."""
  mesh = tiny.mesh(tiny.MESHES["one"])
  layout = jax.NamedSharding(mesh, jax.P())

  def array(*shape):
    return jax.ShapeDtypeStruct(shape, "bfloat16", sharding=layout)

  said = {"argument": 10, "output": 7, "temp": 3, "alias": 7}
  compiled = Compiled(
    key="",
    seconds=1.0,
    refused="",
    memory={f"{name}_size": size for name, size in said.items()},
    versions={},
    text=lambda _: "",
  )
  plan = generation.measure(
    compiled,
    tiny.MODEL,
    weights={"embed": array(192, 32), "unembed": array(192, 32), "w": array(5)},
    cache=array(100),
    head=10,
    name="",
    topology=topology.parse("v5e:1x1"),
    tensor=1,
    rows=1,
    branches=1,
    slots=1,
  )
  assert plan.read == 2 * (5 + 10 * 32 + 100)
  assert plan.needed == 13
