"""What a run will read is said before anything runs."""

import os
import re
import subprocess
import sys

from tests import songs_on_disk as disk
from tests.conftest import ROOT
from yue_jax.data.dataset import open_dataset


def describe(*flags: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, "tools/describe_mixture.py", *flags],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
  )


def test_the_budget_of_the_paper_is_described_without_its_data():
  done = describe("--config=experiments/yue_four_phases.py")
  assert done.returncode == 0, done.stderr
  before_annealing = done.stdout.split("annealing:")[0]
  assert "cot: 28 B tokens, read 41.2 times" in before_annealing
  assert "speech: 13 B tokens, read 12.2 times" in before_annealing
  assert "warning: cot documents are read 41 times" in done.stdout
  assert "in all: 221,730 steps, 1.79 T tokens" in done.stdout


def test_data_that_exist_are_counted(tmp_path):
  out = disk.prepared(tmp_path, 20)
  vocab = open_dataset(out).vocab
  done = describe(
    "--config=experiments/demo_stage1.py",
    f"--config.phases[0].mixture.songs.data={out}",
    f"--config.data.evaluation.heldout.data={out}",
    f"--config.vocab.text_size={vocab.text_size}",
    "--config.vocab.codec_blocks[0].size=16",
    "--config.model.vocab_size=512",
  )
  assert done.returncode == 0, done.stderr
  assert "20 documents in" in done.stdout
  times = float(re.search(r"read ([\d.]+) times; beyond 16", done.stdout)[1])
  assert times > 16


def test_data_that_nobody_knows_are_named():
  done = describe("--config=experiments/stage1_pretrain.py:7b")
  assert done.returncode == 1
  assert "do not exist, and ['constant.cot', 'warmup.cot']" in done.stderr
