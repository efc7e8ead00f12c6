"""tools/sweep.py, from an experiment file to its table; and those shipped."""

import csv
import importlib
import json
import math
import sys

import pytest
import yaml

from tests import songs_on_disk as disk
from tests import tiny
from tests.conftest import ROOT, needs_libtpu
from yue_jax import accounting, config
from yue_jax.json_lines import read_lines
from yue_jax.sweeps import costs
from yue_jax.tokenizer import Tokenizer

sys.path.insert(0, str(ROOT / "tools"))
import sweep as tool

STEPS = 4
VARIANTS = [
  "experiments/sweep_world.py:full",
  "experiments/sweep_world.py:quick",
  "experiments/sweep_world.py:rates",
  "experiments/sweep_stage1.py:isoflop",
  "experiments/sweep_stage1.py:rates",
  "experiments/sweep_world.py:mup",
]
ISOFLOP = VARIANTS[3]


def call(monkeypatch, *words: str) -> None:
  monkeypatch.setattr(sys, "argv", ["sweep.py", *words])
  monkeypatch.chdir(ROOT)
  tool.main()


@pytest.mark.parametrize("experiment", VARIANTS)
def test_every_run_is_found_by_its_name(experiment):
  """As the command that is launched does it."""
  file, variant = experiment.split(":")
  module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
  runs = tool.read_sweep(experiment).runs()
  name, run = list(runs.items())[-1]
  tree = module.get_config(f"{variant}/{name}")
  assert config.from_config_dict(tree) == run.config
  with pytest.raises(ValueError, match="'other' is not one of"):
    module.get_sweep("other")


def test_budgets_of_the_isoflop_sweep_are_met_and_met_thrice():
  runs = tool.read_sweep(ISOFLOP).runs().values()
  budgets = [f"{costs.work_of(run.config).flops:.0e}" for run in runs]
  assert {b: budgets.count(b) for b in set(budgets)} == {
    "3e+19": 4, "1e+20": 4, "3e+20": 4, "1e+21": 4
  }  # fmt: skip


def test_a_plan_says_what_is_to_be_done(monkeypatch, capsys):
  call(monkeypatch, "plan", "experiments/sweep_world.py:quick")
  *lines, last = capsys.readouterr().out.splitlines()
  runs = tool.read_sweep("experiments/sweep_world.py:quick").runs()
  assert [line.split()[0] for line in lines[1:]] == list(runs)
  small = next(iter(runs.values())).config
  assert f"{accounting.parameter_count(small.model):,}" in lines[1]
  assert last.startswith("4 runs, 4.8e+05 tokens")
  tokens = small.phases[0].tokens
  assert costs.work_of(small) == costs.Work(
    steps=tokens // 1600,
    tokens=tokens,
    flops=tokens * accounting.train_flops_per_token(small.model, 200),
  )


@pytest.mark.parametrize("name", ["sweep_world", "sweep_stage1"])
def test_a_run_of_the_default_variant_needs_no_variant(name):
  experiment = f"experiments/{name}.py"
  run, made = next(iter(tool.read_sweep(experiment).runs().items()))
  command = tool._experiment_of_run(experiment, run)
  module = importlib.import_module(f"experiments.{name}")
  assert command == f"{experiment}:{run}"
  tree = module.get_config(command.split(":", 1)[1])
  assert config.from_config_dict(tree) == made.config


@needs_libtpu
def test_a_plan_has_the_least_time_and_its_price(monkeypatch, capsys):
  call(
    monkeypatch, "plan", ISOFLOP, "--only=tokens=35986000000,width=512",
    "--topology=v5p:4x4x4", "--price=2",
  )  # fmt: skip
  head, line, *_ = capsys.readouterr().out.splitlines()
  assert head.split()[-2:] == ["hours", "dollars"]
  hours, dollars = map(float, line.split()[-2:])
  peak = 3e19 / (64 * 459e12) / 3600
  assert peak < hours < 2 * peak
  assert math.isclose(dollars, hours * 64 * 2, rel_tol=0.02)


def test_every_run_is_a_job_of_its_own(monkeypatch, tmp_path, capsys):
  call(
    monkeypatch, "render", ISOFLOP, "--only=*width=2560",
    "--topology=v5p:4x4x4", "--run-dir=gs://runs/isoflop",
    "--data-bucket=songs", "--image=image", f"--out={tmp_path}",
  )  # fmt: skip
  assert capsys.readouterr().out.count("64 chips") == 2
  names = []
  for folder in sorted(tmp_path.iterdir()):
    job = yaml.safe_load((folder / "jobset.yaml").read_text())
    names.append(job["metadata"]["name"])
    (group,) = job["spec"]["replicatedJobs"]
    pod = group["template"]["spec"]["template"]["spec"]
    command = pod["containers"][0]["command"]
    assert f"--config={ISOFLOP}/{folder.name}" in command
    assert f"--run_dir=gs://runs/isoflop/{folder.name}" in command
    assert (folder / "xpk.sh").exists() and (folder / "vm.sh").exists()
  assert len(set(names)) == 2
  with pytest.raises(SystemExit, match=r"needs 64 devices, but there are 128"):
    call(
      monkeypatch, "render", ISOFLOP, "--topology=v5p:4x4x8",
      "--run-dir=gs://runs/isoflop", "--data-bucket=songs", "--image=image",
      f"--out={tmp_path}",
    )  # fmt: skip


@pytest.mark.parametrize(
  ("experiment", "message"),
  [
    ("experiments/none.py", "there is no experiment file"),
    ("experiments/own_songs.py", "has no function get_sweep"),
    ("experiments/sweep_world.py:big", "'big' is not one of"),
  ],
)
def test_what_is_no_sweep(experiment, message, monkeypatch):
  with pytest.raises(SystemExit, match=message):
    call(monkeypatch, "plan", experiment)


def test_names_that_fit_no_run(monkeypatch):
  with pytest.raises(
    SystemExit, match="fits none of the 4 runs, such as rate="
  ):
    call(monkeypatch, "plan", VARIANTS[1], "--only=big*")


def test_two_runs_are_trained_and_make_a_table(monkeypatch, tmp_path, capsys):
  data = disk.prepared(tmp_path, 12)
  recipe = disk.small_recipe(Tokenizer(tmp_path / "tokenizer.model"))
  tree = tiny.run_dict(vocab=recipe.vocab.to_json())
  tree["model"] |= {"vocab_size": 512, "max_positions": 128}
  tree["mesh"] = {"fsdp": 2}
  tree["data"] = {"evaluation": {"songs": {"data": str(data), "kind": "cot"}}}
  tree["phases"] = [
    tiny.phase_dict(str(data), steps=STEPS, context=128, samples=4)
  ]
  tree["phases"][0]["rate"] |= {"warmup_tokens": 512, "decay_tokens": 512}
  tree["train"] = {"log_every": 1, "eval_samples": 8}
  experiment = tmp_path / "experiment.py"
  experiment.write_text(
    "import json\n"
    "from yue_jax import config\n"
    "from yue_jax.sweeps.axes import Axis, Sweep, fields\n"
    f"BASE = config.from_config_dict(json.loads({json.dumps(tree)!r}))\n"
    "def get_sweep():\n"
    "  seeds = Axis(name='seed', values=(0, 1), apply=fields('seed'))\n"
    "  return Sweep(\n"
    "    name='two', base=BASE, axes=(seeds,), loss='eval/songs/vocal'\n"
    "  )\n"
  )
  out = tmp_path / "runs"
  call(monkeypatch, "run", str(experiment), f"--out={out}", "--parallel=2")
  said = capsys.readouterr().out
  assert "seed=0: done" in said and "2 done" in said
  call(monkeypatch, "gather", str(experiment), f"--out={out}")
  rows = read_lines(out / "results.jsonl")
  assert [(row["run"], row["status"]) for row in rows] == [
    ("seed=0", "done"),
    ("seed=1", "done"),
  ]
  for row in rows:
    assert row["steps"] == STEPS
    assert STEPS * 256 < row["tokens"] <= STEPS * 512
    per_token = row["flops"] / row["tokens"]
    model = config.from_config_dict(tree).model
    assert accounting.train_flops_per_token(model, 1) < per_token
    assert per_token <= accounting.train_flops_per_token(model, 128)
    assert row["loss"] == row["eval"]["songs"]["vocal"]
    assert row["seconds"] > 0
  assert rows[0]["loss"] != rows[1]["loss"]
  with (out / "results.csv").open() as file:
    assert [line["axes.seed"] for line in csv.DictReader(file)] == ["0", "1"]
