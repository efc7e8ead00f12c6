"""The whole demo, with a handful of songs and steps: every tool fits."""

import json
import pathlib
import sys

import jax
import numpy as np
import pytest

from tests import by_transformers, tiny
from tests.conftest import ROOT
from yue_jax.encoding import Phrases
from yue_jax.sampling import windows
from yue_jax.sampling.decode import decode
from yue_jax.sampling.layered import unstack
from yue_jax.sampling.logits import GREEDY, Sampling
from yue_jax.sampling.passes import Pass
from yue_jax.sampling.prompts import encode_prompt
from yue_jax.sampling.song import TrackSettings, section_rule, track_row
from yue_jax.tokenizer import Tokenizer
from yue_jax.weights import load_weights

sys.path.insert(0, str(ROOT / "tools"))
import demo
import report_demo

STEPS = 70


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[pathlib.Path, dict]:
  out = tmp_path_factory.mktemp("demo")
  size = demo.Size(
    "short", train_songs=60, heldout_songs=8, generated_songs=2, replayed=60
  )
  with pytest.MonkeyPatch.context() as patch:
    patch.delenv("XLA_FLAGS")  # so many steps are worth their optimisation
    demo.Demo(out, size, [f"--config.train.last_step={STEPS}"]).run()
  return out, json.loads((out / "summary.json").read_text())


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


def test_trained_stage_1_sings_in_transformers_what_it_sings_here(finished):
  """Guided and penalised as in the released inference, greedily."""
  out = finished[0]
  model = by_transformers.loaded(out / "hf/stage1")
  tokenizer = Tokenizer(out / "world/tokenizer.model")
  told = json.loads(min(out.glob("songs/*/song.json")).read_text())
  settings = TrackSettings(
    sampling=Sampling(temperature=0), min_frames=5, max_frames=20
  )
  weights = load_weights(out / "stage1", tiny.mesh(tiny.MESHES["one"]))
  vocab = weights.vocab
  row = track_row(
    encode_prompt(
      told["tags"], told["sections"][:2], tokenizer=tokenizer, vocab=vocab
    ),
    vocab,
    phrases=Phrases.encode(tokenizer),
    settings=settings,
    part=Pass(0, 0, 2),
    known=(),
  )
  assert row.guidance[row.is_sampled].tolist() == pytest.approx([1.5, 1.2])
  rules = [section_rule(vocab, settings)]
  assert greedily(weights, [row], rules, settings.sampling) == [
    by_transformers.greedily(
      model, row, rules, penalty=settings.sampling.repetition_penalty
    )
  ]


def test_trained_stage_2_completes_in_transformers_what_it_completes_here(
  finished,
):
  """Frame by frame, as in the released inference."""
  out = finished[0]
  model = by_transformers.loaded(out / "hf/stage2")
  weights = load_weights(out / "stage2", tiny.mesh(tiny.MESHES["one"]))
  window, vocab = weights.data.window, weights.vocab
  tracks = [
    np.load(path)[0, :window] for path in sorted(out.glob("songs/*/?track.npy"))
  ]
  rows = [windows.window_row(codes, vocab, window=window) for codes in tracks]
  ranges = windows.released_ranges(vocab, vocab.window_codebooks)
  rules = [windows.frame_rule(ranges)]
  assert greedily(weights, rows, rules, GREEDY) == [
    by_transformers.greedily(model, row, rules) for row in rows
  ]


def greedily(weights, rows, rules, sampling) -> list[list[int]]:
  with jax.set_mesh(tiny.mesh(tiny.MESHES["one"])):
    decoder = unstack(weights.params, weights.model)
    decoded = decode(
      decoder, rows, rules, sampling=sampling, seeds=np.zeros((len(rows), 1))
    )
  return [result.tokens.tolist() for result in decoded]


def test_untrained_models_sing_nothing_right(finished):
  assert finished[1]["lyric_error_rate_untrained"] > 0.8


def test_summary_table_and_picture_are_there(finished):
  out, summary = finished
  assert "lyric error rate" in "\n".join(report_demo.table(summary))
  assert (out / "demo.png").stat().st_size > 20_000
  assert set(summary["seconds"]) >= {"world", "stage1", "stage2", "sing"}


def test_songs_can_be_played_beside_the_true_ones(finished):
  names = sorted(path.name for path in (finished[0] / "wav").iterdir())
  songs = [path.name for path in finished[0].glob("songs/heldout-*")]
  assert names == sorted(
    f"{s}{e}" for s in songs for e in (".true.wav", ".wav")
  )


def test_a_finished_demo_only_reports_again(finished, monkeypatch):
  out, _ = finished
  again = demo.Demo(out, demo.SIZES["demo"], [])
  called = []
  monkeypatch.setattr(again, "tool", lambda name, *_: called.append(name))
  monkeypatch.setattr(again, "command", None)
  again.run()
  assert called == ["report_demo", "plot_demo", "report"]


def test_missed_targets_are_named(finished):
  summary = finished[1]
  assert not report_demo.misses(summary, None, None)
  missed = report_demo.misses(summary, 0.0, 1.0)
  assert any("lyric error rate" in m for m in missed)
  assert any("stage1 vocal" in m for m in missed)
  assert any("stage2 codebook_1" in m for m in missed)
  assert not any("codebook_0" in m for m in missed)  # its floor is zero
  broken = {**summary, "resumed_bit_exact": False}
  assert report_demo.misses(broken, None, None) == ["a bit-exact continuation"]


def test_a_run_that_was_not_killed_is_no_continuation(finished, tmp_path):
  out, _ = finished
  for run in ("stage1_undisturbed", "stage1"):
    (tmp_path / run).mkdir()
    metrics = (out / run / "metrics.jsonl").read_text()
    (tmp_path / run / "metrics.jsonl").write_text(metrics)
  note = {"killed_after_step": 45, "saved_step": 0}
  (tmp_path / "killed.json").write_text(json.dumps(note))
  assert not report_demo.resumed_bit_exact(tmp_path)
  note["saved_step"] = 20
  (tmp_path / "killed.json").write_text(json.dumps(note))
  assert report_demo.resumed_bit_exact(tmp_path)
