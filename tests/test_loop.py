"""Whole runs: they resume bit for bit, wherever they were stopped."""

import itertools
import math
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from tests import songs_on_disk as disk
from tests import tiny
from yue_jax import config
from yue_jax.data.preparing.prepare import prepare
from yue_jax.metrics import read_metrics
from yue_jax.train import loop
from yue_jax.train.watchdog import EXIT_CODE

STEPS = 60


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> tuple[pathlib.Path, dict]:
  """A prepared data set of toy songs, and the vocabulary as JSON."""
  root = tmp_path_factory.mktemp("songs")
  recipe = disk.small_recipe(disk.small_tokenizer(root / "tokenizer.model"))
  prepare(disk.write_songs(root, 20), root / "data", recipe=recipe, workers=1)
  return root / "data", recipe.vocab.to_json()


def run_dict(dataset, *, phase=(), **changes) -> dict:
  """A run of one phase; `phase` are changes of its fields."""
  path, vocab = dataset
  plain = tiny.run_dict()
  fields = {"context": 128, "samples": 4} | dict(phase)
  only = tiny.phase_dict(str(path), steps=STEPS, **fields)
  only["rate"]["warmup_tokens"] = 2 * 512
  return {
    **plain,
    "vocab": vocab,
    "model": {**plain["model"], "vocab_size": 512, "max_positions": 256},
    "data": {"evaluation": {"songs": {"data": str(path), "kind": "cot"}}},
    "phases": [only],
    "mesh": {"replica": 2, "fsdp": 2, "tensor": 2},
    "train": {"log_every": 1, "eval_every": 25, "checkpoint_every": 5},
    **changes,
  }


def train(tree: dict, run_dir: pathlib.Path) -> list[dict]:
  cfg = config.from_config_dict(tree)
  devices = jax.devices()[: math.prod(cfg.mesh.shape)]
  loop.Run(cfg, run_dir, devices=devices).train()
  return losses(run_dir)


def losses(run_dir: pathlib.Path) -> list[dict]:
  """All that a run measured, without what depends on the clock."""
  clock = ("tokens_per_second", "mfu", "mfu_full")
  return [
    {k: v for k, v in record.items() if k not in clock}
    for record in read_metrics(run_dir / "metrics.jsonl")
  ]


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory) -> list[dict]:
  return train(run_dict(dataset), tmp_path_factory.mktemp("undisturbed"))


def test_a_run_writes_every_step_and_evaluation(undisturbed):
  steps = [r["step"] for r in undisturbed if r["kind"] == "train"]
  assert steps == list(range(1, STEPS + 1))
  assert [r["step"] for r in undisturbed if r["kind"] == "eval/songs"] == [
    25,
    50,
    60,
  ]
  first, last = undisturbed[0], undisturbed[-2]
  assert last["loss"] < first["loss"]
  assert {"loss/text", "loss/mark", "loss/vocal", "loss/backing"} <= set(last)
  evaluated = undisturbed[-1]
  assert evaluated["loss/vocal"] != evaluated["loss/text"]
  # Weights 1.0 and 0.5 of the two streams that are trained.
  low, high = sorted((evaluated["loss/vocal"], evaluated["loss/text"]))
  assert low < evaluated["loss"] < high
  assert 1 < last["mean_segment"] <= 128


def test_killed_runs_continue_bit_for_bit(dataset, undisturbed, tmp_path):
  """At moments drawn by the clock; the same command each time."""
  run_dir = tmp_path / "run"
  moments = random.Random(0)
  env = {
    k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"
  }
  for kill, at_least, code in (
    (signal.SIGKILL, 3, -signal.SIGKILL),
    (signal.SIGTERM, 23, os.EX_TEMPFAIL),
  ):
    process = subprocess.Popen(
      command(dataset, tmp_path), stderr=subprocess.PIPE, text=True, env=env
    )
    wait_for_step(run_dir, at_least, process)
    time.sleep(moments.uniform(0.0, 0.1))
    process.send_signal(kill)
    _, said = process.communicate()
    assert process.returncode == code
  reached = losses(run_dir)[-1]["step"]
  assert reached < STEPS
  assert f"asked to stop: saved at step {reached}, to be contin" in said
  assert (run_dir / f"checkpoints/{reached}").is_dir()
  subprocess.run(command(dataset, tmp_path), check=True, env=env)
  assert losses(run_dir) == undisturbed
  compiled = list((run_dir / "compiled").glob("jit_train_step-*-cache"))
  assert len(compiled) == 1  # by the first; the others found it there


def command(dataset, root: pathlib.Path, **changes) -> list[str]:
  """The command line of a run in root/run; `changes` are of its config."""
  experiment = tiny.write_experiment(
    root / "experiment.py", run_dict(dataset, **changes)
  )
  return [
    sys.executable,
    "-m",
    "yue_jax.main",
    f"--config={experiment}",
    f"--run_dir={root / 'run'}",
  ]


def wait_for_step(run_dir, step, process, seconds=120.0) -> None:
  deadline = time.monotonic() + seconds
  while time.monotonic() < deadline:
    records = read_metrics(run_dir / "metrics.jsonl")
    if records and records[-1]["step"] >= step:
      return
    assert process.poll() is None, "the run ended before it could be killed"
    time.sleep(0.01)
  raise AssertionError(f"step {step} was not reached in {seconds} s")


def test_a_run_may_grow_longer_and_change_its_mesh(
  dataset, undisturbed, tmp_path
):
  tree = run_dict(dataset)
  short = {**tree["train"], "last_step": 10}
  train({**tree, "train": short, "mesh": {"fsdp": 4}}, tmp_path)
  train({**tree, "mesh": {"tensor": 2}}, tmp_path)
  got, expected = (
    {r["step"]: r["loss/vocal"] for r in records if r["kind"] == "train"}
    for records in (losses(tmp_path), undisturbed)
  )
  assert got.keys() == expected.keys()
  # Rounding differs between meshes and grows with the steps.
  for step in range(1, 24):
    assert got[step] == pytest.approx(expected[step], rel=1e-3)


def test_another_config_may_not_continue(dataset, tmp_path):
  tree = run_dict(dataset)
  short = {**tree["train"], "last_step": 5}
  train({**tree, "train": short}, tmp_path)
  with pytest.raises(ValueError, match=r"seed: saved 0, given 1"):
    train({**tree, "seed": 1}, tmp_path)


def test_a_run_can_start_from_the_weights_of_another(dataset, tmp_path):
  tree = run_dict(dataset)
  short = {**tree["train"], "last_step": 5}
  train({**tree, "train": short}, tmp_path / "first")
  again = {**tree, "train": short, "initial_weights": str(tmp_path / "first")}
  records = train(again, tmp_path / "second")
  fresh = losses(tmp_path / "first")
  assert records[0]["loss"] < fresh[0]["loss"]


def test_the_vocabulary_of_the_data_must_be_the_models(dataset, tmp_path):
  tree = {**run_dict(dataset), "vocab": tiny.VOCAB.to_json()}
  with pytest.raises(ValueError, match="vocabulary"):
    train(tree, tmp_path)


def diverging(dataset, **train) -> dict:
  """A run whose first update is far too long: no later gradient is finite."""
  tree = run_dict(dataset, train={"checkpoint_every": 1, **train})
  tree["phases"][0]["rate"]["peak"] = 1e30
  return tree


@pytest.mark.parametrize("most", [0, 2])
def test_a_run_of_skipped_updates_stops(dataset, tmp_path, most):
  tree = diverging(dataset, log_every=1, max_skipped_steps=most)
  with pytest.raises(FloatingPointError) as error:
    train(tree, tmp_path)
  first = 4 * (1 + most)
  place = f"samples {first} to {first + 3} of phase 'only' (songs {first} to"
  assert str(error.value).startswith(f"step {2 + most}: loss")
  assert "gradient norm nan" in str(error.value)
  assert place in str(error.value)
  assert error.value.__notes__ == [
    f"The last good checkpoint is that of step {1 + most}."
  ]
  assert (tmp_path / f"checkpoints/{1 + most}/params").is_dir()
  records = read_metrics(tmp_path / "metrics.jsonl")
  assert [r["skipped"] for r in records] == [0] + [1] * most
  assert [r["grad_norm"] is None for r in records] == [False] + [True] * most


def test_skipped_updates_are_counted_and_survived(dataset, tmp_path, caplog):
  tree = diverging(dataset, last_step=9, log_every=3, max_skipped_steps=8)
  records = [r for r in train(tree, tmp_path) if r["kind"] == "train"]
  assert [(r["step"], r["skipped"]) for r in records] == [
    (3, 2),
    (6, 3),
    (9, 3),
  ]
  said = [m for m in caplog.messages if "this update is skipped" in m]
  assert len(said) == 8


def test_steps_are_compiled_once_a_phase(dataset, tmp_path, caplog):
  tree = run_dict(dataset)
  only = {**tree["phases"][0], "tokens": 6 * 512, "rate": {"peak": 1e-3}}
  tree["phases"] = [
    {**only, "name": "a"},
    {**only, "name": "b", "context": 64},
  ]
  tree["train"] = {"eval_every": 2, "log_every": 1, "checkpoint_every": 3}
  with jax.log_compiles():
    records = train(tree, tmp_path)
  assert records[-1]["step"] == 6 + 12
  compiled = [m for m in caplog.messages if "Finished XLA compilation" in m]
  for name in ("train_step", "eval_step"):
    assert sum(f"jit({name})" in m for m in compiled) == 2
  lines = read_metrics(tmp_path / "goodput.jsonl")
  spent = [line["step"] for line in lines if "compile" in line["seconds"]]
  assert spent == [1, 3, 7, 9]  # evaluations come after the lines of 2 and 8
  for before, line in itertools.pairwise(lines):
    passed = sum(line["seconds"].values())
    assert passed == pytest.approx(line["time"] - before["time"], abs=0.01)


def test_a_transfer_that_does_not_say_so_is_an_error(
  dataset, tmp_path, monkeypatch
):
  monkeypatch.setattr(
    loop,
    "_placed",
    lambda batches: ({**b, "inputs": np.asarray(b["inputs"])} for b in batches),
  )
  with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
    train(run_dict(dataset), tmp_path)


def traced(run_dir: pathlib.Path) -> int:
  return len(list(run_dir.glob("profile/**/*.xplane.pb")))


def test_planned_steps_are_traced(dataset, tmp_path):
  steps = {"last_step": 4, "profile_steps": (2, 3)}
  train(run_dict(dataset, train=steps), tmp_path)
  assert traced(tmp_path) == 1


def test_a_signal_traces_the_next_steps(dataset, tmp_path, monkeypatch):
  report = loop.Run._report

  def signalling(self, step, *rest):
    if step == 2:
      signal.raise_signal(signal.SIGUSR1)
    report(self, step, *rest)

  monkeypatch.setattr(loop.Run, "_report", signalling)
  train(run_dict(dataset, train={"last_step": 5}), tmp_path)
  assert traced(tmp_path) == 1  # cut short by the end of the run


def test_a_run_that_stands_still_ends_itself(dataset, tmp_path):
  """The second step waits for ever for its batch."""
  script = (
    "import threading\n"
    "from yue_jax.train import loop\n"
    "placed = loop._placed\n"
    "def stuck(batches):\n"
    "  yield next(placed(batches))\n"
    "  yield next(placed(batches))\n"
    "  threading.Event().wait()\n"
    "loop._placed = stuck\n"
    "from yue_jax import main\n"
    "main.run()\n"
  )
  flags = command(dataset, tmp_path, train={"watchdog_minutes": 0.05})[3:]
  done = subprocess.run(
    [sys.executable, "-c", script, *flags],
    capture_output=True,
    text=True,
    timeout=180,
  )
  assert done.returncode == EXIT_CODE
  stacks = (tmp_path / "run/stacks-0.txt").read_text()
  for said in (stacks, done.stderr):
    assert "in stuck" in said


def test_how_often_things_happen(dataset, tmp_path):
  often = {
    "last_step": 9,
    "log_every": 4,
    "eval_every": 3,
    "checkpoint_every": 2,
    "keep_checkpoints": 3,
  }
  records = train(run_dict(dataset, train=often), tmp_path)
  steps = {
    kind: [r["step"] for r in records if r["kind"] == kind]
    for kind in ("train", "eval/songs")
  }
  assert steps == {"train": [4, 8, 9], "eval/songs": [3, 6, 9]}
  kept = {int(p.name) for p in (tmp_path / "checkpoints").iterdir()}
  assert kept == {6, 8, 9}


@pytest.mark.parametrize(("minutes", "kept"), [(0.0, {4}), (1e-9, {3, 4})])
def test_checkpoints_by_time(dataset, tmp_path, minutes, kept):
  train(
    run_dict(dataset, train={"last_step": 4, "checkpoint_minutes": minutes}),
    tmp_path,
  )
  there = (tmp_path / "checkpoints").iterdir()
  assert {int(p.name) for p in there} == kept


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ("--config.model.widht=3", "widht"),
    ("--config.model.width=30", "width=30 is not divisible by heads=4"),
    ("--config.phases[0].mixture.songs.data=/nowhere", "/nowhere"),
  ],
)
def test_the_command_line_names_mistakes_in_one_line(
  dataset, tmp_path, change, message
):
  done = subprocess.run(
    [*command(dataset, tmp_path), change], capture_output=True, text=True
  )
  assert done.returncode != 0
  assert message in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
  ("table", "name", "value"),
  [
    (None, "seed", 1),
    ("data", "seed", 1),
    ("songs", "kind", "plain"),
    ("songs", "kind", "icl_dual"),
    ("songs", "kind", "window"),
    ("phase", "context", 64),
    ("data", "attend_across_documents", True),
    ("data", "heldout", 0.2),
    ("phase", "samples", 8),
    ("loss", "weights", {"vocal": 1.0}),
  ],
)
def test_every_choice_changes_the_run(
  dataset, undisturbed, tmp_path, table, name, value
):
  tree = run_dict(dataset, train={"last_step": 2, "log_every": 1})
  if table is None:
    tree[name] = value
  elif table == "songs":
    tree["phases"][0]["mixture"]["songs"][name] = value
    tree["data"]["evaluation"]["songs"][name] = value
  elif table == "phase":
    tree = run_dict(dataset, phase={name: value}, train=tree["train"])
  else:
    tree[table] = {**tree[table], name: value}
  if value == "window":
    tree["loss"] = {"weights": {"codebook_1": 1.0}}
  loss = train(tree, tmp_path)[1]["loss"]
  assert math.isfinite(loss)
  assert loss != undisturbed[1]["loss"]


def test_weights_for_streams_that_the_data_lack_are_an_error(dataset, tmp_path):
  tree = run_dict(dataset, loss={"weights": {"codebook_1": 1.0}})
  with pytest.raises(ValueError, match="no token of the batch has a weight"):
    train(tree, tmp_path)
  assert not list((tmp_path / "checkpoints").iterdir())


def test_a_run_beyond_its_last_step_is_an_error(dataset, tmp_path):
  tree = run_dict(dataset)
  train({**tree, "train": {**tree["train"], "last_step": 5}}, tmp_path)
  with pytest.raises(ValueError, match=r"at step 5, beyond the last step 4"):
    train({**tree, "train": {**tree["train"], "last_step": 4}}, tmp_path)
