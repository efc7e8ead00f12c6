"""tools/generate.py on tiny random checkpoints: files, seeds, clear errors."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tests import tiny
from tools import generate
from yue_jax.checkpoint import Weights, save_weights
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
  argv = [f"--{name}={value}" for name, value in options.items()]
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
