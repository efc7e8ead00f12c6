"""What the inspection shows is what is read."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from tests import songs_on_disk as disk
from tests.conftest import ROOT
from yue_jax.data.course import Course
from yue_jax.data.dataset import open_dataset
from yue_jax.data.samples import PlannedSamples
from yue_jax.data.sources.make import make_source
from yue_jax.phases import DataConfig, PhaseConfig, RateConfig, SourceConfig
from yue_jax.vocab import Stream

V, B, M = Stream.VOCAL, Stream.BACKING, Stream.MARK


def inspect(*arguments) -> str:
  command = [sys.executable, "tools/inspect_data.py", *map(str, arguments)]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  return re.sub(r"\x1b\[\d+m", "", done.stdout)


def test_stretches_of_one_stream_and_of_two_in_turn(monkeypatch):
  monkeypatch.syspath_prepend(ROOT / "tools")
  import inspect_data

  ids = np.arange(1, 8)
  streams = np.array([M, V, B, V, B, M, M])
  found = [
    (kinds, stretch.tolist())
    for kinds, stretch in inspect_data.stretches(ids, streams)
  ]
  assert found == [((M,), [1]), ((V, B), [2, 3, 4, 5]), ((M,), [6, 7])]


def test_a_data_set_is_printed_and_drawn(tmp_path):
  rows = [disk.write_song(tmp_path, f"s{i}", seed=i) for i in range(9)]
  rows[3]["audio_length_in_sec"] = 1e6
  recipe = disk.small_recipe(disk.small_tokenizer(tmp_path / "t.model"))
  disk.prepare(
    disk.write_manifest(tmp_path, rows), tmp_path / "out", recipe=recipe
  )
  page = tmp_path / "page.html"
  said = inspect(
    tmp_path / "out",
    f"--tokenizer={tmp_path}/t.model",
    "--context=256",
    f"--html={page}",
  )
  assert "8 documents in" in said
  assert re.search(r"restated:'\[(verse|chorus)\]", said)
  frames = [int(n) for n in re.findall(r"vocal\+backing:(\d+)", said)]
  section = rows[0]["splitted_lyrics"]["segmented_lyrics"][0]
  length = section["codec_frame_end"] - section["codec_frame_start"]
  assert frames[0] == 2 * length
  text = page.read_text()
  assert "<tr><td>frame_rate<td>1</tr>" in text
  shares = [float(s) for s in re.findall(r"<td>([\d.]+)%</tr>", text)]
  assert abs(sum(shares) - 100) < 0.1
  bars = [int(n) for n in re.findall(r": (\d+)</title>", text)]
  assert sum(bars[:40]) == 8  # lengths of documents
  [samples] = re.findall(r"documents in (\d+) samples", said)
  assert sum(bars[40:]) == int(samples)  # how full they are


def test_how_often_documents_are_read(tmp_path, monkeypatch):
  """Two phases read one and a half rounds of the songs, then one more."""
  monkeypatch.syspath_prepend(ROOT / "tools")
  import inspect_data

  data = str(disk.prepared(tmp_path, 30))
  vocab = open_dataset(data).vocab
  one = {"cot": SourceConfig(data=data, kind="cot", weight=1.0)}
  epoch = len(
    PlannedSamples(
      make_source(open_dataset(data), "cot", seed=0), context=64, seed=0
    )
  )
  phases = [
    PhaseConfig(
      name=name,
      mixture=one,
      rate=RateConfig(peak=1.0),
      tokens=samples * 64,
      context=64,
      samples=1,
    )
    for name, samples in (("a", epoch + epoch // 2), ("b", epoch))
  ]
  first, then = inspect_data.readings(Course(phases, DataConfig(), vocab=vocab))
  assert first.reading.passes == pytest.approx(1.5, abs=0.01)
  assert set(first.reading.here.tolist()) == {1, 2}
  np.testing.assert_array_equal(first.reading.here, first.reading.so_far)
  # What the first phase left of an epoch, and as much of the next one.
  assert then.reading.here.sum() == pytest.approx(30, abs=10)
  np.testing.assert_array_equal(
    then.reading.so_far, first.reading.here + then.reading.here
  )
  assert set(then.reading.so_far.tolist()) == {2, 3}
  page = tmp_path / "page.html"
  page.write_text(inspect_data.page_of(tmp_path, [first, then]))
  twice = np.count_nonzero(first.reading.here == 2)
  assert f"<td>2<td>{twice} ({twice / 30:.1%})" in page.read_text()


def test_what_is_neither_data_nor_run_is_named(tmp_path):
  command = [sys.executable, "tools/inspect_data.py", str(tmp_path)]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert "neither dataset.json nor config.json" in done.stderr
  (tmp_path / "config.json").write_text(json.dumps({}))
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert "config lacks" in done.stderr
