"""tools/plan_run.py: the step through the real TPU compiler, and its report."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests import tiny
from tests.conftest import ROOT, needs_libtpu
from yue_jax import accounting, config

pytestmark = needs_libtpu

SMALL = (  # 16 chips along three axes
  "--topology=v5e:4x4",
  "--config.mesh.replica=2",
  "--config.mesh.fsdp=4",
  "--config.mesh.tensor=2",
)
PHASE = {"samples": 32, "microbatches": 2}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> pathlib.Path:
  """An experiment file of a tiny run, with full remat."""
  run = tiny.run_dict(phases=[tiny.phase_dict(**PHASE)])
  run["model"] |= {"dtype": "bfloat16", "remat": "full"}
  run = config.to_json(config.from_config_dict(run))  # with every field
  root = tmp_path_factory.mktemp("experiment")
  return tiny.write_experiment(root / "small.py", run)


def plan_run(*flags: str, fails: bool = False) -> str:
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
  done = subprocess.run(
    [sys.executable, "tools/plan_run.py", *flags],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=environment,
  )
  assert (done.returncode != 0) == fails, done.stderr[-3000:]
  return done.stderr if fails else done.stdout


@pytest.fixture(scope="module")
def planned(experiment, tmp_path_factory) -> tuple[str, dict, pathlib.Path]:
  """Text and JSON of a plan, and the directory they are in."""
  out = tmp_path_factory.mktemp("plan")
  text = plan_run(
    f"--config={experiment}",
    *SMALL,
    f"--cache={out / 'cache'}",
    f"--json={out / 'plan.json'}",
    f"--png={out / 'plan.png'}",
    "--price=2.0",
  )
  return text, json.loads((out / "plan.json").read_text()), out


def test_flops_are_those_of_the_model_and_of_full_remat(planned):
  """Attention of this size is computed over every pair of tokens, or nearly:
  hence between the two conventions, a third more for remat less the head."""
  _, plan, _ = planned
  model = config.from_config_dict(tiny.run_dict()).model
  tokens = 32 * 16
  full = accounting.train_flops_per_token_full(model, 16) * tokens
  causal = accounting.train_flops_per_token(model, 16) * tokens
  assert plan["work"]["model_flops"] == causal
  counted = plan["work"]["flops"]["total"] * 16
  assert causal < counted < 1.4 * full
  assert {"forward", "backward", "recomputed"} <= set(
    plan["work"]["flops"]["matmuls"]
  )


def test_state_and_memory_add_up(planned):
  _, plan, _ = planned
  memory = plan["memory"]
  state = memory["parameters"] + memory["optimizer"] + memory["batch"]
  assert state <= memory["arguments"] <= memory["needed"]
  assert memory["headroom"] == memory["usable"] - memory["needed"] > 0
  assert plan["fits"]


def test_weights_are_gathered_in_bfloat16_along_fsdp(planned):
  _, plan, _ = planned
  gathers = [
    c
    for c in plan["work"]["collectives"]
    if c["kind"] == "all-gather" and c["axes"] == ["fsdp"]
  ]
  assert {c["where"] for c in gathers} >= {"layer"}
  assert plan["work"]["ratios"]["float32_gathered"] == 0
  assert 0.5 < plan["work"]["ratios"]["gathered"] < 2
  assert 0.9 < sum(plan["work"]["ratios"]["tables_gathered"].values()) < 4.1


def test_costs_follow_from_the_bound(planned):
  text, plan, out = planned
  work = plan["work"]
  seconds = work["roofline"]["overlapped"]
  assert work["bound"]["step_seconds"] == seconds
  assert work["bound"]["tokens_per_second_per_chip"] == pytest.approx(
    32 * 16 / seconds / 16
  )
  assert work["bound"]["dollars"] == pytest.approx(
    work["bound"]["days"] * 24 * 16 * 2.0
  )
  assert work["serial"]["step_seconds"] > seconds
  assert "not a measurement" in text
  assert (out / "plan.png").stat().st_size > 10_000


def test_a_second_time_nothing_is_compiled(planned, experiment):
  _, plan, out = planned
  [entry] = (out / "cache").iterdir()
  before = (entry / "compiled.json").stat().st_mtime_ns
  # A price changes the plan, and not the program.
  text = plan_run(
    f"--config={experiment}", *SMALL, f"--cache={out / 'cache'}", "--price=3"
  )
  assert [e.name for e in (out / "cache").iterdir()] == [entry.name]
  assert (entry / "compiled.json").stat().st_mtime_ns == before
  assert f"compiled in {plan['seconds']:.0f} s" in text


def test_a_step_that_does_not_fit_is_a_report(experiment, tmp_path):
  rows = 2**22
  text = plan_run(
    f"--config={experiment}",
    *SMALL,
    f"--config.phases[0].samples={rows}",
    f"--config.phases[0].tokens={rows * 16}",
    "--config.phases[0].microbatches=1",
    "--config.phases[0].rate.warmup_tokens=0",
    "--config.phases[0].rate.decay_tokens=0",
    f"--cache={tmp_path}",
  )
  assert "DOES NOT FIT" in text
  assert float(re.search(r"headroom +(\S+)", text)[1]) < 0
  kept = float(re.search(r"kept activations +(\S+)", text)[1])
  assert kept > 0.5
  # The nearest layout keeps the mesh and has more microbatches.
  nearest = text.split("ESTIMATED")[1].splitlines()[1]
  assert "replica 2 x fsdp 4 x tensor 2, remat full" in nearest


def test_search_ranks_what_fits(experiment, tmp_path):
  text = plan_run(
    f"--config={experiment}",
    "--topology=v5e:2x2",
    "--config.mesh.fsdp=4",
    "--search",
    "--vary=microbatches",
    "--compile=1",
    f"--cache={tmp_path}",
  )
  assert "should fit (ESTIMATED)" in text
  assert "compiled " in text and ": fits" in text
  last = text.strip().splitlines()[-1]
  assert last.startswith("| --config.mesh.replica=1 --config.mesh.fsdp=4")


def test_the_7b_is_traced_without_compiling():
  text = plan_run(
    "--config=experiments/stage1_pretrain.py:7b",
    "--topology=v5p:4x4x4",
    "--estimate",
  )
  assert "ESTIMATED, not compiled: should fit" in text
  # 6.22 B parameters in float32 on 64 chips, and twice that for AdamW.
  assert re.search(r"parameters +0\.36\n", text)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (("--topology=v5e:2x4",), "has 8; change mesh"),
    (("--topology=v5p-128",), "is none of"),
    ((*SMALL, "--phase=1"), "--phase=1: the run has phases 0 to 0"),
  ],
)
def test_what_cannot_be_is_said_before_compiling(experiment, flags, message):
  said = plan_run(f"--config={experiment}", *flags, fails=True)
  assert message in said
  assert "Traceback" not in said
