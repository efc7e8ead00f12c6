"""The seconds of a run, kind by kind, with what restarts cost."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from yue_jax.json_lines import read_lines
from yue_jax.train.goodput import Goodput, summarise


class Clock:
  def __init__(self):
    self.now = 1000.0

  def __call__(self) -> float:
    return self.now


def attempt(run_dir, clock, *, resumed_at: int, steps: int) -> None:
  """5 s of start, 7 s of compiling; then 2 s a step, of which 0.5 s data.

  After every second step 3 s for a checkpoint, and a line.
  """
  goodput = Goodput(clock=clock)
  goodput.open(run_dir, resumed_at=resumed_at)
  for kind, seconds in (("start", 5.0), ("compile", 7.0)):
    clock.now += seconds
    goodput.lap(kind)
  for step in range(resumed_at + 1, resumed_at + steps + 1):
    for kind, seconds in (("data", 0.5), ("step", 1.5)):
      clock.now += seconds
      goodput.lap(kind)
    if step % 2 == 0:
      clock.now += 3.0
      goodput.lap("checkpoint")
      goodput.write(step)


def test_an_attempt_adds_up_to_its_time(tmp_path):
  clock = Clock()
  attempt(tmp_path, clock, resumed_at=0, steps=4)
  lines = read_lines(tmp_path / "goodput.jsonl")
  assert lines[0] == {
    "time": 1019.0,
    "step": 2,
    "seconds": {
      "start": 5.0,
      "compile": 7.0,
      "data": 1.0,
      "step": 3.0,
      "checkpoint": 3.0,
    },
    "resumed_at": 0,
  }
  summary = summarise(lines)
  assert summary.total == pytest.approx(clock.now - 1000.0)
  assert summary.seconds["step"] == 6.0
  assert summary.goodput == pytest.approx(6.0 / 26.0)


def test_what_was_not_saved_is_lost(tmp_path):
  """Steps 1 to 7; then, after 30 s, again from step 4 on; then from 8 on."""
  clock = Clock()
  attempt(tmp_path, clock, resumed_at=0, steps=7)
  clock.now += 30.0
  attempt(tmp_path, clock, resumed_at=4, steps=4)
  clock.now += 40.0
  attempt(tmp_path, clock, resumed_at=8, steps=2)
  summary = summarise(read_lines(tmp_path / "goodput.jsonl"))
  assert summary.attempts == 3
  assert summary.lost_steps == 2  # 5 and 6; nobody wrote down step 7
  assert summary.seconds["lost"] == 3.0
  assert summary.seconds["down"] == pytest.approx(30.0 + 40.0 + 2.0)
  assert summary.seconds["step"] == 10 * 1.5
  assert summary.total == pytest.approx(clock.now - 1000.0)
  assert "3 attempts, 2 steps taken again" in summary.table()


def test_work_can_be_lost_more_than_once(tmp_path):
  clock = Clock()
  attempt(tmp_path, clock, resumed_at=0, steps=6)
  attempt(tmp_path, clock, resumed_at=6, steps=2)
  attempt(tmp_path, clock, resumed_at=2, steps=8)  # 4, 6 and 8 were damaged
  summary = summarise(read_lines(tmp_path / "goodput.jsonl"))
  assert summary.seconds["lost"] == 6 * 1.5
  assert summary.seconds["step"] == 10 * 1.5
  assert summary.lost_steps == 6


def test_nothing_yet_is_no_time():
  assert summarise([]).goodput == 0.0


def test_the_report(tmp_path):
  def report() -> subprocess.CompletedProcess:
    return subprocess.run(
      [sys.executable, "tools/report_goodput.py", tmp_path, "--attempts"],
      cwd=ROOT,
      capture_output=True,
      text=True,
    )

  assert "no run has taken a step" in report().stderr
  clock = Clock()
  attempt(tmp_path, clock, resumed_at=0, steps=6)
  attempt(tmp_path, clock, resumed_at=4, steps=4)
  lines = report().stdout.splitlines()
  assert lines[0] == "attempt 1: steps 0 to 6, 33 s"
  assert lines[1] == "attempt 2: steps 4 to 8, 26 s"
  assert lines[-1].endswith("2 attempts, 2 steps taken again")
