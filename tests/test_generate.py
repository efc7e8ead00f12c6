"""tools/generate.py on tiny random checkpoints: files, seeds, clear errors."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tests import tiny
from tools import generate
from yue_jax.checkpoint import DataDescription, Weights, save_weights
from yue_jax.config import MeshConfig
from yue_jax.tokenizer import train_tokenizer
from yue_jax.train.state import init_params
from yue_jax.vocab import Vocab

LYRICS = "[verse 1]\nba to ki\n\n[pre-chorus]\nme da\n\n[outro]\nba\n"
PHRASES = [
  f"[{edge}_of_{what}]"
  for edge in ("start", "end")
  for what in ("segment", "reference")
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """A folder with two checkpoints, a tokenizer and lyrics."""
  root = tmp_path_factory.mktemp("generate")
  tokenizer = train_tokenizer(
    [LYRICS, "pop slow"], root / "t.model", size=310, symbols=PHRASES
  )
  vocab = Vocab.small(tokenizer.size, codes=8)
  cfg = dataclasses.replace(
    tiny.MODEL,
    vocab_size=vocab.padded_size(64),
    max_positions=512,
    init_std=0.3,
  )
  with jax.set_mesh(tiny.mesh(MeshConfig())):
    params = jax.jit(lambda: init_params(cfg, 0))()
    weights = Weights(cfg, vocab, 7, params)
    save_weights(root / "stage1", weights)
    save_weights(root / "stage2", weights)
    data = DataDescription(tokenizer.fingerprint(), window=6)
    known = dataclasses.replace(weights, data=data)
    save_weights(root / "window6", known)
    data = dataclasses.replace(data, tokenizer="another")
    save_weights(root / "foreign", dataclasses.replace(weights, data=data))
    codes = dataclasses.replace(vocab.codec_blocks[0], size=7)
    other = dataclasses.replace(vocab, codec_blocks=(codes,))
    save_weights(root / "other", dataclasses.replace(weights, vocab=other))
  (root / "lyrics.txt").write_text(LYRICS)
  (root / "tags.txt").write_text("pop slow\n")
  return root


def run(made, out, **changes):
  options = {
    "stage1": made / "stage1",
    "stage2": made / "stage2",
    "tokenizer": made / "t.model",
    "lyrics": made / "lyrics.txt",
    "tags": "pop slow",
    "out": out,
    "window": 6,
    "min-frames": 2,
    "max-frames": 5,
    **changes,
  }
  argv = [f"--{k}={v}" for k, v in options.items() if v is not None]
  generate.main(argv)
  tracks = [np.load(out / f"{name}.npy") for name in ("vtrack", "itrack")]
  return tracks, json.loads((out / "song.json").read_text())


def test_files_and_settings(made, tmp_path):
  tracks, described = run(made, tmp_path / "song", seed=3)
  sections = described["sections"]
  assert [s["text"].split("\n")[0] for s in sections] == [
    "[verse 1]",
    "[pre-chorus]",
    "[outro]",
  ]
  ends = [s["end"] for s in sections]
  assert [s["start"] for s in sections] == [0, *ends[:-1]]
  for codes in tracks:
    assert codes.dtype == np.uint16
    assert codes.shape == (8, ends[-1]) == (8, described["frames"])
    assert codes.max() < 8
  assert described["settings"]["seed"] == 3
  assert described["settings"]["top_p"] == 0.93
  assert described["steps"] == {"stage1": 7, "stage2": 7}


def test_window_and_longest_section_are_what_the_models_allow(made, tmp_path):
  """Three sections and the prompt must fit the 512 positions of stage 1."""
  _, described = run(
    made,
    tmp_path / "song",
    stage2=made / "window6",
    window=None,
    **{"max-frames": None, "temperature": 0},
  )
  assert described["settings"]["window"] == 6
  fitted = described["settings"]["max_frames"]
  assert 5 < fitted < 512 // 6
  with pytest.raises(SystemExit, match=f"lower max_frames to {fitted}"):
    run(made, tmp_path / "long", **{"max-frames": fitted + 1})


def test_stage_1_is_on_disk_before_stage_2_begins(made, tmp_path, monkeypatch):
  whole, _ = run(made, tmp_path / "whole")

  def fail(*_):
    raise ValueError("stage 2 failed")

  monkeypatch.setattr(generate, "complete", fail)
  with pytest.raises(SystemExit, match="stage 2 failed"):
    run(made, tmp_path / "half")
  for name, codes in zip(("vtrack0", "itrack0"), whole, strict=True):
    first = np.load(tmp_path / "half" / f"{name}.npy")
    np.testing.assert_array_equal(first, codes[0])
  assert not (tmp_path / "half" / "song.json").exists()


def test_labels_alone_are_an_instrumental_song(made, tmp_path, capsys):
  (tmp_path / "labels.txt").write_text("[intro]\n\n[outro]\n")
  _, described = run(made, tmp_path / "song", lyrics=tmp_path / "labels.txt")
  assert len(described["sections"]) == 2
  assert "instrumental" in capsys.readouterr().out
  run(made, tmp_path / "sung")
  assert "instrumental" not in capsys.readouterr().out


def save_npz(path):
  np.savez(path, codes=np.zeros((8, 9), np.uint16))


@pytest.mark.parametrize(
  ("write", "message"),
  [
    (lambda path: path.touch(), "no .npy array"),
    (lambda path: path.write_text("codes"), "no .npy array"),
    (lambda path: save_npz(path.open("wb")), "no .npy array"),
    (lambda path: np.save(path, np.uint16(3)), r"shape \(\)"),
    (lambda path: np.save(path, np.array([{}])), "no .npy array"),
  ],
)
def test_a_clip_that_is_no_codes_is_named(made, tmp_path, write, message):
  clip = tmp_path / "clip.npy"
  write(clip)
  with pytest.raises(SystemExit, match=f"clip.npy.* {message}"):
    run(made, tmp_path / "song", **{"reference-vocal": clip})


def test_the_seed_decides(made, tmp_path):
  songs = [
    run(made, tmp_path / name, seed=seed, tags=tags)[0]
    for name, seed, tags in (
      ("a", 0, "pop slow"),
      ("b", 0, made / "tags.txt"),
      ("c", 1, "pop slow"),
    )
  ]
  np.testing.assert_array_equal(songs[0], songs[1])
  assert not np.array_equal(songs[0], songs[2])


def test_a_mesh_of_devices(made, tmp_path):
  one, _ = run(made, tmp_path / "one")
  four, _ = run(made, tmp_path / "four", fsdp=2, tensor=2)
  np.testing.assert_array_equal(one, four)


def test_a_reference_changes_the_song(made, tmp_path):
  codes = np.random.default_rng(0).integers(0, 8, (8, 9)).astype(np.uint16)
  np.save(tmp_path / "clip.npy", codes)
  np.save(tmp_path / "wide.npy", np.full((8, 9), 8, np.uint16))
  clip = {"reference-vocal": tmp_path / "clip.npy", "reference-frames": 4}
  without, _ = run(made, tmp_path / "without")
  vocal, _ = run(made, tmp_path / "vocal", **clip)
  both = clip | {"reference-backing": tmp_path / "clip.npy"}
  dual, _ = run(made, tmp_path / "dual", **both)
  assert len({np.hstack(t).tobytes() for t in (without, vocal, dual)}) == 3
  for wrong, message in [
    (both | {"reference-mixture": tmp_path / "clip.npy"}, "mixture alone"),
    (clip | {"reference-start": 6}, "9 frames, the reference is 6..10"),
    (clip | {"reference-vocal": tmp_path / "wide.npy"}, "codes span 8..8"),
  ]:
    with pytest.raises(SystemExit, match=message):
      run(made, tmp_path / "wrong", **wrong)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"stage2": "other"}, "has vocabulary"),
    ({"stage1": "nowhere"}, "nowhere"),
    ({"stage1": "foreign"}, "foreign was trained with tokenizer another"),
    ({"stage2": "foreign"}, "foreign was trained with tokenizer another"),
    ({"tokenizer": "lyrics.txt"}, "no SentencePiece model"),
    ({"lyrics": "nowhere.txt"}, "nowhere.txt"),
    ({"lyrics": "tags.txt"}, "before any section"),
    ({"window": 60}, "needs 543 tokens"),
    ({"max-frames": 100}, "max_positions=512"),
    ({"top-p": 2.0}, "top_p"),
    ({"tensor": 3}, "divi(de|sible)"),
    ({"tags": " "}, "tags are empty"),
  ],
)
def test_one_clear_error(made, tmp_path, changes, message):
  for name, value in changes.items():
    if name in ("stage1", "stage2", "tokenizer", "lyrics"):
      changes = {name: made / value}
  with pytest.raises(SystemExit, match=message):
    run(made, tmp_path / "song", **changes)
  assert not (tmp_path / "song" / "song.json").exists()


def test_a_song_is_not_overwritten(made, tmp_path):
  run(made, tmp_path / "song")
  with pytest.raises(SystemExit, match="holds a song already"):
    run(made, tmp_path / "song")
