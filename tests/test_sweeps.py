"""Sweeps: names, running and stopping, and what becomes of a run, by rule."""

import csv
import dataclasses
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from tests import tiny
from tests.conftest import ROOT
from yue_jax import accounting, config, phases
from yue_jax.json_lines import read_lines
from yue_jax.sweeps import axes, outcomes, results, running
from yue_jax.sweeps.axes import Axis, Sweep

BASE = config.from_config_dict(
  tiny.run_dict(phases=[tiny.phase_dict("songs")], train={"log_every": 1})
)
EVALUATED = dataclasses.replace(
  BASE,
  data=phases.DataConfig(
    evaluation={"songs": phases.EvaluationConfig(data="songs", kind="cot")}
  ),
)
SEEDS = Axis(name="seed", values=(0, 1), apply=axes.fields("seed"))
RATES = Axis(
  name="rate", values=(1e-2, 3e-3), apply=axes.fields("phases[0].rate.peak")
)


def sweep(*given: Axis, **changes) -> Sweep:
  return Sweep(**{"name": "s", "base": BASE, "axes": given} | changes)


def fake(**ways: str) -> running.Command:
  """A command that ends as the word of its run says; done, without one."""

  def command(given: pathlib.Path, run_dir: pathlib.Path) -> list[str]:
    how = ways.get(run_dir.name, "is_done")
    script = ROOT / "tests/fake_training.py"
    return [sys.executable, str(script), str(given), str(run_dir), how]

  return command


def configs(*names: str) -> dict[str, config.RunConfig]:
  return {n: dataclasses.replace(BASE, seed=i) for i, n in enumerate(names)}


def trace(out: pathlib.Path) -> list[list[str]]:
  return [line.split() for line in (out / "trace").read_text().splitlines()]


def test_every_combination_is_a_run_with_its_values():
  runs = sweep(RATES, SEEDS).runs()
  assert list(runs) == [
    "rate=0.01,seed=0",
    "rate=0.01,seed=1",
    "rate=0.003,seed=0",
    "rate=0.003,seed=1",
  ]
  last = runs["rate=0.003,seed=1"]
  assert last.values == {"rate": 3e-3, "seed": 1}
  assert (last.config.seed, last.config.phases[0].rate.peak) == (1, 3e-3)
  assert sweep(RATES, SEEDS).run(last.name) == last
  with pytest.raises(ValueError, match="no run 'rate=1,seed=0'"):
    sweep(RATES, SEEDS).run("rate=1,seed=0")


def test_names_are_those_of_the_values_in_any_order():
  seeds = dataclasses.replace(SEEDS, values=(2, 1, 0))
  before, after = sweep(RATES, SEEDS).runs(), sweep(seeds, RATES).runs()
  assert before.keys() <= after.keys()
  assert all(before[name].config == after[name].config for name in before)


def test_tokens_may_depend_on_the_size_and_bring_their_schedule():
  sizes = Axis(name="width", values=(32, 64), apply=axes.fields("model.width"))
  tokens = Axis(
    name="tokens",
    per="width",
    values={32: (1280, 2560), 64: (5120,)},
    apply=axes.tokens(warmup=0.1, decay=0.5),
  )
  runs = sweep(sizes, tokens).runs()
  assert list(runs) == [
    "tokens=1280,width=32",
    "tokens=2560,width=32",
    "tokens=5120,width=64",
  ]
  for run in runs.values():
    phase = run.config.phases[0]
    assert phase.tokens == run.values["tokens"]
    assert phase.rate.warmup_tokens == phase.tokens // 10
    assert phase.rate.decay_tokens == phase.tokens // 2
  wrong = dataclasses.replace(tokens, values={32: (1280,)})
  with pytest.raises(ValueError, match=r"for width \[32\], and the axis"):
    sweep(sizes, wrong)
  with pytest.raises(ValueError, match="'width', which is no earlier axis"):
    sweep(tokens, sizes)


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: sweep(), "has no axes"),
    (lambda: Axis(name="a", values=(), apply=None), "values ()"),
    (lambda: Axis(name="a", values="ab", apply=None), "values 'ab'"),
    (lambda: Axis(name="a", values=(1, 1), apply=None), "1 twice"),
    (lambda: Axis(name="a", values=("x/y",), apply=None), "value 'x/y'"),
    (lambda: Axis(name="a", values=(float("nan"),), apply=None), "value nan"),
    (lambda: Axis(name="A b", values=(1,), apply=None), "axis 'A b'"),
    (lambda: Axis(name="a", values={1: (1,)}, apply=None), "with per=''"),
    (lambda: sweep(SEEDS, SEEDS), "two axes 'seed'"),
    (lambda: sweep(SEEDS, name="a/b"), "sweep 'a/b'"),
    (lambda: sweep(SEEDS, loss="vocal"), "expected train, eval/SET"),
  ],
)
def test_sweeps_that_make_no_sense(make, message):
  with pytest.raises(ValueError) as error:
    make()
  assert message in str(error.value)


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("sead", "no field 'sead': 'sead' is none of ['seed'"),
    ("phases[1].samples", "1 is none of [0]"),
    ("phases[0].rate.peek", "'peek' is none of ['peak'"),
    ("seed.more", "'more' is none of []"),
    ("model.heads", "width=32 is not divisible by heads=3"),
  ],
)
def test_values_that_a_config_cannot_have(path, message):
  axis = Axis(name="a", values=(3,), apply=axes.fields(path))
  with pytest.raises(ValueError) as error:
    sweep(axis).runs()
  assert message in str(error.value) and "run a=3" in str(error.value)


def test_a_loss_that_no_run_would_have():
  sweep(SEEDS, base=EVALUATED, loss="eval/songs/vocal").runs()
  with pytest.raises(ValueError, match="'eval/other' is of no held-out set"):
    sweep(SEEDS, base=EVALUATED, loss="eval/other").runs()
  share = dataclasses.replace(BASE.data, heldout=0.1)  # named by what they hold
  base = dataclasses.replace(BASE, data=share)
  sweep(SEEDS, base=base, loss="eval/songs/en").runs()


def test_an_axis_that_changes_nothing():
  axis = Axis(name="a", values=(1, 2), apply=lambda tree, value: None)
  with pytest.raises(ValueError, match="a=1 and a=2 are the same config"):
    sweep(axis).runs()


def test_runs_are_trained_side_by_side_and_once(tmp_path):
  wanted = configs("a", "b", "c", "d")
  ways = dict.fromkeys(wanted, "meets_another")
  for _ in range(2):
    ended = running.run_all(wanted, tmp_path, parallel=2, command=fake(**ways))
    assert {o.status for o in ended.values()} == {"done"}
    words = [word for word, _ in trace(tmp_path)]
  assert words[:2] == ["start", "start"] and words.count("start") == 4
  at_work = [
    words[:n].count("start") - words[:n].count("end") for n in range(9)
  ]
  assert max(at_work) == 2


def test_what_becomes_of_runs(tmp_path):
  ways = {
    "a": "is_done",
    "b": "refuses",
    "c": "gives_up",
    "d": "is_killed",
    "e": "rises",
    "f": "is_lost",
  }
  wanted = configs(*ways)
  ended = running.run_all(wanted, tmp_path, parallel=6, command=fake(**ways))
  assert {name: str(outcome) for name, outcome in ended.items()} == {
    "a": "done",
    "b": "failed (main: there is no data)",
    "c": "diverged (FloatingPointError: nan)",
    "d": "unfinished (killed by SIGKILL)",
    "e": "diverged (the training loss ends at 4, above 2.9 where it began)",
    "f": "diverged (the training loss is not finite in the end)",
  }
  # Once more: what failed and what was killed, and nothing else.
  (tmp_path / "trace").unlink()
  again = running.run_all(
    wanted, tmp_path, parallel=6, command=fake(d="is_killed")
  )
  assert sorted(trace(tmp_path)) == [
    ["end", "b"], ["end", "d"], ["start", "b"], ["start", "d"]
  ]  # fmt: skip
  assert again["b"].status == again["d"].status == "done"
  assert again["c"] == ended["c"]


def test_whoever_asks_hears_of_each_end_and_can_stop_all(tmp_path):
  wanted, heard = configs("a", "b", "c"), {}
  command = fake(b="refuses")
  running.run_all(
    wanted, tmp_path, parallel=1, command=command, ended=heard.__setitem__
  )
  assert {n: o.status for n, o in heard.items()} == {
    "a": "done",
    "b": "failed",
    "c": "done",
  }

  def raises(name, outcome):
    raise ValueError(f"{name} was heard")

  with pytest.raises(ValueError, match="b was heard"):
    running.run_all(wanted, tmp_path, parallel=1, command=command, ended=raises)


def test_an_interruption_stops_all_runs_and_they_go_on(tmp_path):
  wanted = configs("a", "b", "c")
  command = fake(a="interrupts", b="waits")
  with pytest.raises(KeyboardInterrupt):
    running.run_all(wanted, tmp_path, parallel=2, command=command)
  words = [word for word, _ in trace(tmp_path)]
  assert words.count("stop") == words.count("start") >= 1
  assert not (tmp_path / "c").exists()
  found = outcomes.outcomes_of(wanted, tmp_path)
  assert found["c"] == outcomes.Outcome("missing")
  assert str(found["a"]) == "unfinished (at step 5 of 10)"
  ended = running.run_all(wanted, tmp_path, parallel=2, command=command)
  assert {o.status for o in ended.values()} == {"done"}


@pytest.mark.parametrize("it_ends_it", [False, True])
def test_a_run_that_another_process_is_at_work_on_is_waited_for(
  tmp_path, it_ends_it
):
  """As when a sweep was killed, and not the runs that it had started."""
  wanted, run_dir = configs("a", "b"), tmp_path / "a"
  run_dir.mkdir()
  lock = os.open(run_dir / "lock", os.O_CREAT | os.O_RDWR)
  fcntl.flock(lock, fcntl.LOCK_EX)

  def work():
    while not (tmp_path / "b/checkpoints/10").exists():
      time.sleep(0.01)
    time.sleep(0.3)  # in which it could be started, wrongly
    if it_ends_it:
      given = run_dir / "given.json"
      given.write_text(json.dumps(config.to_json(wanted["a"])))
      subprocess.run(fake()(given, run_dir), check=True)
    with (tmp_path / "trace").open("a") as file:
      file.write("released a\n")
    os.close(lock)

  threading.Thread(target=work).start()
  ended = running.run_all(wanted, tmp_path, parallel=1, command=fake())
  assert {o.status for o in ended.values()} == {"done"}
  itself = [["start", "a"], ["end", "a"]]
  released = [["released", "a"]]
  assert trace(tmp_path) == [
    ["start", "b"],
    ["end", "b"],
    *(itself + released if it_ends_it else released + itself),
  ]


def test_a_run_of_another_config_is_refused(tmp_path):
  wanted = configs("a", "b")
  running.run_all(wanted, tmp_path, parallel=2, command=fake())
  moved = {n: dataclasses.replace(c, seed=7) for n, c in wanted.items()}
  with pytest.raises(ValueError) as error:
    running.run_all(moved, tmp_path, parallel=2, command=fake())
  assert "seed: saved 0, given 7" in str(error.value)
  assert "seed: saved 1, given 7" in str(error.value)
  # How the work is laid out is no part of the run.
  mesh = config.MeshConfig(fsdp=4)
  laid = {n: dataclasses.replace(c, mesh=mesh) for n, c in wanted.items()}
  assert outcomes.outcomes_of(laid, tmp_path)["a"].status == "done"


def test_the_table_has_a_row_a_run(tmp_path):
  made = sweep(SEEDS, RATES, base=EVALUATED, loss="eval/songs/vocal")
  runs = made.runs()
  first, second, third, _ = runs
  running.run_all(
    {n: runs[n].config for n in (first, second, third)},
    tmp_path,
    parallel=3,
    command=fake(**{second: "rises", third: "is_killed"}),
  )
  rows = results.gather(made, tmp_path)
  assert [row["run"] for row in rows] == list(runs)
  model = BASE.model
  tokens = 10 * 16 * 8 // 2  # half of the places
  assert rows[0] == {
    "run": "rate=0.01,seed=0",
    "axes": {"seed": 0, "rate": 0.01},
    "status": "done",
    "reason": "",
    "parameters": accounting.parameter_count(model),
    "parameters_without_embedding": accounting.parameter_count(model)
    - 2 * 192 * 32,
    "steps": 10,
    "tokens": tokens,
    "flops": tokens * accounting.train_flops_per_token(model, 8.0),
    "loss": 1.5,
    "train_loss": 2.0,
    "eval": {"songs": {"loss": 2.5, "vocal": 1.5}},
    "seconds": 3,
  }
  assert [row["status"] for row in rows[1:]] == [
    "diverged", "unfinished", "missing"
  ]  # fmt: skip
  assert [row["loss"] for row in rows[1:]] == [None] * 3
  assert rows[2]["tokens"] == tokens // 2
  results.write(rows, tmp_path)
  assert read_lines(tmp_path / "results.jsonl") == json.loads(json.dumps(rows))
  with (tmp_path / "results.csv").open() as file:
    table = list(csv.DictReader(file))
  assert table[0]["eval.songs.vocal"] == "1.5"
  assert table[3]["axes.seed"] == "1" and table[3]["loss"] == ""
  with pytest.raises(ValueError, match=r"no loss 'eval/songs/text'; known: "):
    results.gather(dataclasses.replace(made, loss="eval/songs/text"), tmp_path)


def test_what_a_cluster_leaves_behind(tmp_path):
  """No attempt is written down there."""
  wanted = configs("a")
  running.run_all(wanted, tmp_path, parallel=1, command=fake(a="gives_up"))
  (tmp_path / "a/attempt.json").unlink()
  record = {"step": 6, "kind": "train", "loss": None}
  with (tmp_path / "a/metrics.jsonl").open("a") as file:
    file.write(json.dumps(record) + "\n")
  assert str(outcomes.outcomes_of(wanted, tmp_path)["a"]) == (
    "unfinished (at step 6 of 10, where its loss is not finite)"
  )


def test_the_last_tenth_of_the_losses_counts():
  assert outcomes.final_loss([9.0] * 18 + [2.0, 4.0]) == 3.0
  assert outcomes.final_loss([5.0, 1.0]) == 1.0
  records = [{"step": s, "kind": "train", "loss": 2.0} for s in (1, 2)]
  assert outcomes.judge(records, 2) == outcomes.Outcome("done")
  lost = {"step": 2, "kind": "eval/x", "loss/vocal": None}
  assert outcomes.judge([*records, lost], 2) == outcomes.Outcome(
    "diverged", "eval/x loss/vocal is not finite"
  )
