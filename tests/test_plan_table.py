"""tools/plan_table.py: every recipe has a row, and every row an outcome."""

import argparse
import json
import sys

import pytest

from tests import tiny
from tests.conftest import ROOT, needs_libtpu
from yue_jax import config
from yue_jax.planner import topology

sys.path.insert(0, str(ROOT / "tools"))
import plan_table

ROW = plan_table.Row("a recipe", "experiments/stage2_pretrain.py", "v5e:4x4", 0)


@pytest.mark.parametrize("row", plan_table.ROWS, ids=lambda row: row.name)
def test_rows_are_runs_whose_mesh_fits_their_chips(row):
  file, *argument = row.config.split(":")
  run = tiny.load_experiment(ROOT / file, *argument)
  with run.unlocked():
    for field in row.layout:
      path, value = field.split("=")
      *parents, name = path.replace("[", ".").replace("]", "").split(".")
      table = run
      for part in parents:
        table = table[int(part)] if part.isdigit() else table[part]
      table[name] = type(table[name])(value)
  cfg = config.from_config_dict(run)
  context = 16_384 if "16,384" in row.title else 8192
  assert cfg.phases[row.phase].context == context
  devices = topology.parse(row.topology).device_count
  mesh = cfg.mesh
  assert mesh.replica * mesh.fsdp * mesh.context * mesh.tensor == devices


def test_names_of_rows_differ():
  assert len({row.name for row in plan_table.ROWS}) == len(plan_table.ROWS)


def test_a_page_says_what_was_not_compiled(tmp_path):
  known = {"topology": "v5e:4x4", "memory": _memory(), "work": None}
  known |= {"layout": {"text": "fsdp 16"}, "versions": {"jax": "1.2"}}
  other = plan_table.Row("another", "", "v6e:4x4", 0)
  plan_table.write(tmp_path, {ROW: known, other: "not compiled"})
  page = (tmp_path / "plans.md").read_text()
  assert "| a recipe | v5e:4x4 | fsdp 16 | 3.00 | ? | 20.00 | -4.25 |" in page
  assert "does not fit" in page and "jax 1.2" in page
  assert page.endswith("| another | not compiled |\n")
  assert json.loads((tmp_path / "plans.json").read_text()) == {
    "a recipe (v5e:4x4)": known,
    "another (v6e:4x4)": "not compiled",
  }


def committed() -> dict:
  path = ROOT / "docs/plans.json"
  if not path.exists():
    pytest.skip(f"{path} is not there; run tools/plan_table.py")
  return json.loads(path.read_text())


def test_the_committed_table_has_the_rows_of_today():
  titles = [f"{row.title} ({row.topology})" for row in plan_table.ROWS]
  assert list(committed()) == titles


def test_steps_of_the_committed_table_do_little_more_than_they_must():
  """The bounds that the 7B keeps; on some meshes activations move as well."""
  steps = [
    its
    for title, its in committed().items()
    if "7B" in title and not isinstance(its, str) and its["work"]
  ]
  for step in steps:
    ratios, layout = step["work"]["ratios"], step["layout"]
    assert ratios["flops"] <= (1.1 if layout["remat"] == "none" else 1.4)
    assert ratios["float32_gathered"] == 0
    tables = ratios["tables_gathered"]
    assert tables.get("forward", 0) <= 2.01  # for the lookup and the head
    assert tables.get("backward", 0) <= 1.01
    if layout["mesh"]["tensor"] == 1:
      assert ratios["gathered"] + ratios["permuted"] <= 1.1


@needs_libtpu
def test_a_row_that_fails_says_why_and_stops_nothing(tmp_path):
  """The mesh of this experiment is for 64 chips."""
  options = argparse.Namespace(cache=tmp_path, cores=2, max_gib=16.0)
  outcome = plan_table.plan(ROW, options)
  assert "mesh replica 1 x fsdp 64" in outcome
  assert plan_table.read(ROW, tmp_path) == outcome


def test_a_compiler_that_takes_too_much_is_stopped(tmp_path):
  options = argparse.Namespace(cache=tmp_path, cores=1, max_gib=0.01)
  assert "more than 0.01 GiB" in plan_table.plan(ROW, options)


def _memory() -> dict:
  gib = 2**30
  return {
    "parameters": gib,
    "optimizer": 2 * gib,
    "peak": None,
    "needed": 20 * gib,
    "headroom": -4.25 * gib,
  }
