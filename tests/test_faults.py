"""Two processes are killed in every way, and nothing of it is left to see.

Five faults here, and two damaged checkpoints; tools/bench_faults.py deals out
as many as it is told.
"""

import os
import pathlib
import signal
import sys

import pytest

from tests import songs_on_disk as disk
from tests.conftest import ROOT
from yue_jax.checkpoint import find_checkpoint, finished_steps

sys.path.insert(0, str(ROOT / "tools"))
from bench_faults import Fault, Trial, differences, write_experiment

KILL, TERM = signal.SIGKILL, signal.SIGTERM


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
  root = tmp_path_factory.mktemp("faults")
  write_experiment(root / "experiment.py", disk.prepared(root, 20))
  return root / "experiment.py"


@pytest.fixture(scope="module")
def undisturbed(experiment, tmp_path_factory) -> Trial:
  trial = Trial(experiment, tmp_path_factory.mktemp("undisturbed"))
  trial.finish()
  return trial


def damage_newest(trial: Trial, *, listed: bool) -> int:
  """Halves the largest file of a checkpoint; returns its step."""
  step_dir = pathlib.Path(find_checkpoint(trial.run_dir))
  if not listed:  # then only reading shows it
    (step_dir / "files.json").unlink()
  files = [p for p in (step_dir / "params").rglob("*") if p.is_file()]
  largest = max(files, key=lambda p: p.stat().st_size)
  os.truncate(largest, largest.stat().st_size // 2)
  return int(step_dir.name)


def test_killed_processes_leave_no_trace(experiment, undisturbed, tmp_path):
  trial, damaged = Trial(experiment, tmp_path / "run"), []
  for fault, codes in (
    (Fault("saving", 0.0, 2, KILL, (1,)), {-KILL, -signal.SIGABRT, 1}),
    (Fault("step", 0.1, 3, KILL, (0,)), {-KILL, -signal.SIGABRT, 1}),
    (Fault("start", 4.0, 0, KILL, (0, 1)), {-KILL}),
    (Fault("step", 0.0, 3, TERM, (1,)), {os.EX_TEMPFAIL}),
    (Fault("saving", 0.0, 1, TERM, (0, 1)), {os.EX_TEMPFAIL}),
  ):
    with trial.attempt() as attempt:
      met = attempt.meet(fault)
    assert met["reached"], met
    assert set(met["exit_codes"]) <= codes, met
    if fault.kill == TERM and len(finished_steps(trial.run_dir)) > 1:
      damaged.append(damage_newest(trial, listed=not damaged))
  assert trial.last_step() < undisturbed.last_step()
  trial.finish()
  assert trial.records()[-1]["step"] == undisturbed.last_step()
  assert differences(trial, undisturbed) == []
  aside = {p.name for p in (trial.run_dir / "damaged").iterdir()}
  assert aside == {f"{step}-1" for step in damaged}
  assert len(damaged) == 2


def test_the_number_of_hosts_may_change(experiment, undisturbed, tmp_path):
  """Two processes stop, and one with as many devices goes on."""
  trial = Trial(experiment, tmp_path / "run")
  with trial.attempt() as attempt:
    attempt.meet(Fault("step", 0.0, 5, TERM, (1,)))
  stopped = trial.last_step()
  trial.finish(processes=1)
  ours, theirs = trial.records(), undisturbed.records()
  before = sum(r["step"] <= stopped for r in ours)
  assert ours[:before] == theirs[:before]
  for got, expected in zip(ours, theirs, strict=True):
    numbers = {k: v for k, v in expected.items() if k != "kind"}
    assert got.pop("kind") == expected["kind"]
    assert got == pytest.approx(numbers, rel=1e-4)
