"""Claims about a demo hold for good songs, and fail for bad ones."""

import json
import pathlib
import shutil
import sys

import numpy as np
import pytest

from tests.conftest import ROOT
from yue_jax.world import corpus, listening
from yue_jax.world.config import WorldConfig
from yue_jax.world.generator import World

sys.path.insert(0, str(ROOT / "tools"))
import evaluate_demo
import make_world
import prepare_songs

SONGS = 24


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> pathlib.Path:
  """A demo whose model sings as the world does, and before that anything."""
  root = tmp_path_factory.mktemp("demo")
  arguments = [str(root / "world"), "--train-songs=200", "--heldout-songs=60"]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "argv", ["make_world", *arguments])
    make_world.main()
  prepare_songs.main(
    [
      str(root / "world/train/songs.jsonl"),
      f"--tokenizer={root}/world/tokenizer.model",
      f"--out={root}/data/train",
      *("--small-vocab", "--codes=160", "--window=25"),
      *("--windows-per-record=1", "--min-section-seconds=0.1"),
    ]
  )
  world = corpus.read_world(root / "world/world.json")
  rng = np.random.default_rng(0)
  real = evaluate_demo._drawn(world, root / "world/heldout")
  for song, _ in zip(real, range(SONGS), strict=False):
    tracks = [_disturbed(rng, t, 0.05) for t in (song.vocal, song.backing)]
    _write(world, root / "songs", song, song.frames, tracks)
    frames = rng.integers(1, 40, size=2).tolist()
    noise = [rng.integers(160, size=sum(frames)) for _ in range(2)]
    _write(world, root / "songs/untrained", song, frames, noise)
  return root


def _disturbed(rng, codes, share):
  return np.where(
    rng.random(len(codes)) < share, rng.integers(160, size=len(codes)), codes
  )


def _write(world, root, song, frames, tracks) -> None:
  folder = root / song.id
  folder.mkdir(parents=True)
  for name, codes in zip(("vtrack", "itrack"), tracks, strict=True):
    np.save(folder / f"{name}.npy", codes[None])
  texts = [
    evaluate_demo.manifest.section_text(world, label, words)
    for label, words in zip(song.labels, song.words, strict=True)
  ]
  described = {"sections": texts, "frames": list(frames)}
  (folder / "song.json").write_text(json.dumps(described))


@pytest.fixture(scope="module")
def found(demo) -> dict:
  return evaluate_demo._evaluate(demo, demo / "evaluation")


def _main(monkeypatch, demo, found) -> None:
  monkeypatch.setattr(evaluate_demo, "_evaluate", lambda *_: found)
  evaluate_demo.main([str(demo)])


def test_every_metric_moves_the_way_it_must(demo, found, capsys, monkeypatch):
  _main(monkeypatch, demo, found)
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 16 and all(line.startswith("yes") for line in lines)
  written = json.loads((demo / "evaluation/evaluation.json").read_text())
  assert set(written["systems"]) == {"trained", "untrained", "training", "real"}
  assert (demo / "evaluation/memorisation.png").exists()
  assert (demo / "evaluation/claims.txt").read_text().splitlines() == lines


def test_a_model_that_got_worse_is_found_out(demo, found, capsys, monkeypatch):
  worse = {
    **found,
    "trained": found["untrained"],
    "untrained": found["trained"],
  }
  monkeypatch.setattr(evaluate_demo.figures, "draw_all", lambda *_: None)
  with pytest.raises(SystemExit, match=r"1[0-9] of 16 claims fail"):
    _main(monkeypatch, demo, worse)
  shown = capsys.readouterr().out
  assert "NO   word error rate" in shown
  assert "yes  training songs found as copies" in shown


def test_a_demo_without_songs_is_an_error(demo, tmp_path):
  shutil.copytree(demo / "world", tmp_path / "world")
  with pytest.raises(SystemExit, match="has no songs"):
    evaluate_demo.main([str(tmp_path)])


def test_a_genre_is_known_by_its_chords():
  world = World(WorldConfig())
  (song,) = world.draw(np.random.default_rng(3), songs=1)
  parts = np.split(song.backing[0], song.bounds[1:-1])
  logits = listening.genre_logits(world, song.labels, parts)
  assert logits[song.genre] == logits.max()


def test_pitch_is_that_of_the_syllable():
  world = World(WorldConfig())
  codes = np.array([0, 1, 2, world.cfg.singer_codes, world.cfg.vocal_codes])
  found = listening.pitch(world, codes)
  assert found.tolist() == pytest.approx(
    [
      440 * 2 ** ((n - 69) / 12) if n else 0
      for n in (45,) * 4 + (46,) * 2 + (50,) * 2 + (0,) * 2
    ]
  )


def test_alike_words_are_near_each_other():
  world = World(WorldConfig())
  a, b, c = (
    listening.word_embedding(world, w)
    for w in ([1, 2, 3], [3, 2, 1], [7, 8, 9])
  )
  np.testing.assert_allclose(a, b)
  assert np.linalg.norm(a - c) > 1
  assert np.linalg.norm(listening.word_embedding(world, [])) > 0
