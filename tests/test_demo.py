"""The whole demo, with a handful of songs and steps: every tool fits."""

import json
import pathlib
import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import demo

STEPS = 130


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[pathlib.Path, dict]:
  out = tmp_path_factory.mktemp("demo")
  size = demo.Size("short", train_songs=60, heldout_songs=8, generated_songs=2)
  run = demo.Demo(out, size, [f"--config.train.last_step={STEPS}"])
  return out, run.run()


def test_killed_run_continues_bit_for_bit(finished):
  assert finished[1]["resumed_bit_exact"]


def test_training_lowers_every_trained_stream(finished):
  """Far from converged, but far below where it began."""
  for stage in ("stage1", "stage2"):
    tables = finished[1][stage]
    assert set(tables) == {"loss", "floor", "baseline"}
    assert tables["floor"]["audio"] < tables["baseline"]["audio"]
    assert tables["floor"]["audio"] < tables["loss"]["audio"] < 5.5


def test_exported_weights_have_equal_logits_in_pytorch(finished):
  pytest.importorskip("torch", reason="PyTorch is not installed")
  assert finished[1]["logits_max_abs_difference"] < 1e-4


def test_untrained_models_sing_nothing_right(finished):
  assert finished[1]["lyric_error_rate_untrained"] > 0.8


def test_summary_table_and_picture_are_there(finished):
  out, summary = finished
  assert json.loads((out / "summary.json").read_text()) == summary
  assert "lyric error rate" in "\n".join(demo.table(summary))
  assert (out / "demo.png").stat().st_size > 20_000
  assert set(summary["seconds"]) >= {"world", "stage1", "stage2", "sing"}


def test_a_finished_demo_runs_nothing_again(finished, monkeypatch):
  out, summary = finished
  again = demo.Demo(out, demo.SIZES["demo"], [])
  monkeypatch.setattr(again, "tool", lambda *_: "")
  monkeypatch.setattr(again, "command", None)
  assert again.run() == summary
