"""What benchmarks share: tables, and contenders that take turns."""

import pathlib
import sys

import pytest

from benchmarks.report import table
from benchmarks.turns import Contender

ROOT = pathlib.Path(__file__).parent.parent


def test_a_table_aligns_words_left_and_numbers_right():
  rows = [{"loader": "ours", "tokens": 12_345}, {"loader": "x", "tokens": 7}]
  assert table(rows).splitlines() == [
    "loader  tokens",
    "ours    12,345",
    "x            7",
  ]


def start(program):
  return Contender(
    [sys.executable, "-c", program], cwd=ROOT, environment={"TURN": "3"}
  )


def test_a_contender_says_what_its_calls_took_and_gave():
  contender = start(
    "import os\n"
    "from benchmarks.turns import serve\n"
    "count = int(os.environ['TURN'])\n"
    "serve({'turn': lambda: {'loss': count}}, first={'loss': 1})"
  )
  assert contender.first == {"loss": 1}
  assert contender.seconds_to_first_step > 0
  answer = contender.call("turn")
  assert answer["loss"] == 3
  assert answer["seconds"] >= 0 and answer["cpu_seconds"] >= 0
  assert contender.close() > 2**20  # a process has a megabyte at least


def test_a_contender_that_ends_early_is_an_error():
  with pytest.raises(RuntimeError, match="ended early"):
    start("pass")
