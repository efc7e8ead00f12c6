"""What the inspection shows is what is read."""

import json
import re
import subprocess
import sys

import numpy as np

from tests import songs_on_disk as disk
from tests.conftest import ROOT
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


def test_what_is_neither_data_nor_run_is_named(tmp_path):
  command = [sys.executable, "tools/inspect_data.py", str(tmp_path)]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert "neither dataset.json nor config.json" in done.stderr
  (tmp_path / "config.json").write_text(json.dumps({}))
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert "config lacks" in done.stderr
