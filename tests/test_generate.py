"""tools/generate.py on tiny random checkpoints: files, seeds, clear errors."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tests import tiny
from tools import generate
from yue_jax.checkpoint import DataDescription, find_checkpoint
from yue_jax.checkpoint_files import fingerprint
from yue_jax.config import MeshConfig
from yue_jax.sampling import decode, song, song_folder, windows
from yue_jax.tokenizer import train_tokenizer
from yue_jax.train.state import init_params
from yue_jax.vocab import Vocab
from yue_jax.weights import Weights, save_weights

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
    louder = np.ones((cfg.vocab_size, 1), np.float32)
    louder[np.array(vocab.codebook(0))] = 99  # as stage 1 goes on
    loud = params | {"unembed": params["unembed"] * louder}
    save_weights(root / "loud", dataclasses.replace(weights, params=loud))
  (root / "lyrics.txt").write_text(LYRICS)
  (root / "tags.txt").write_text("pop slow\n")
  return root


def run(made, out, *flags, **changes):
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
  generate.main([*argv, *flags])


def read(folder, stage=2):
  """Both tracks of a song and what its song.json says."""
  paths = [folder / f"stage{stage}" / f"{name}track.npy" for name in "vi"]
  description = json.loads((folder / "song.json").read_text())
  return [np.load(path) for path in paths], description


def assert_same(folder, other):
  for stage in (1, 2):
    for ours, theirs in zip(
      read(folder, stage)[0], read(other, stage)[0], strict=True
    ):
      np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def whole(made):
  """A finished song of seed 3."""
  run(made, made / "whole", seed=3)
  return made / "whole"


def test_files_and_settings(made, whole):
  tracks, described = read(whole)
  sections = described["sections"]
  assert [s["text"].split("\n")[0] for s in sections] == [
    "[verse 1]",
    "[pre-chorus]",
    "[outro]",
  ]
  ends = [s["end"] for s in sections]
  assert [s["start"] for s in sections] == [0, *ends[:-1]]
  firsts, _ = read(whole, stage=1)
  for codes, first in zip(tracks, firsts, strict=True):
    assert codes.dtype == first.dtype == np.uint16
    assert codes.shape == (8, ends[-1]) == (8, described["frames"])
    np.testing.assert_array_equal(first, codes[:1])
    assert codes.max() < 8
  assert described["seed"] == 3
  assert described["settings"]["stage1"]["sampling"]["top_p"] == 0.93
  assert described["settings"]["stage2"]["window"] == 6
  checkpoints = described["checkpoints"]
  assert [checkpoints[s]["step"] for s in ("stage1", "stage2")] == [7, 7]
  prints = [checkpoints[s]["fingerprint"] for s in ("stage1", "stage2")]
  assert prints == [
    fingerprint(find_checkpoint(made / s)) for s in ("stage1", "stage2")
  ]
  assert prints[0] != prints[1]
  assert sorted(path.name for path in whole.iterdir()) == [
    *("song.json", "stage1", "stage2"),
  ]


def test_labels_no_model_has_seen_are_named(made, tmp_path, capsys):
  (tmp_path / "labels.txt").write_text("[intro]\n\n[vers]\n\n[solo]\n")
  with pytest.raises(
    SystemExit, match=r"song: section 1 .* lower max_frames to"
  ):
    run(
      made,
      tmp_path / "song",
      lyrics=tmp_path / "labels.txt",
      **{"max-frames": 500},
    )
  run(made, tmp_path / "song", lyrics=tmp_path / "labels.txt")
  said = capsys.readouterr()
  assert "an instrumental song" in said.out
  assert "3 sections" in said.out
  assert "[vers]; the nearest is [verse]" in said.err
  assert "[solo]; they know [intro], [verse]" in said.err
  assert "[intro];" not in said.err
  # Progress: whole sections, and music per second.
  assert "stage 1: 3/3 sections" in said.err
  assert "s of music" in said.err


def test_interrupted_in_stage_1(made, whole, tmp_path, monkeypatch, capsys):
  """After one section; its folder does not look finished, and goes on."""
  monkeypatch.setattr(decode, "_TURN", 4)
  write = song_folder.write_sections

  def interrupt(folder, description, texts, sections):
    write(folder, description, texts, sections)
    if sections:
      raise KeyboardInterrupt

  monkeypatch.setattr(song_folder, "write_sections", interrupt)
  folder = tmp_path / "song"
  with pytest.raises(SystemExit) as exit_:
    run(made, folder, seed=3)
  assert exit_.value.code == 130
  assert "--resume" in capsys.readouterr().err
  stored = song_folder.read_song(folder)
  assert not stored.whole
  assert len(stored.sections) == 1
  monkeypatch.undo()
  with pytest.raises(SystemExit, match="holds an unfinished song"):
    run(made, folder, seed=3)
  for change in ({"seed": 4}, {"top-p": 0.9}, {"tags": "pop"}):
    with pytest.raises(SystemExit, match="begun as another song"):
      run(made, folder, "--resume", **{"seed": 3, **change})
  run(made, folder, "--resume", seed=3)
  assert_same(folder, whole)


def test_interrupted_in_stage_2(made, whole, tmp_path, monkeypatch):
  def fail(*_, **__):
    raise ValueError("stage 2 failed")

  monkeypatch.setattr(windows, "generate_codebooks", fail)
  folder = tmp_path / "half"
  with pytest.raises(SystemExit, match="stage 2 failed"):
    run(made, folder, seed=3)
  for name in song_folder.TRACKS:
    np.testing.assert_array_equal(
      np.load(folder / "stage1" / name), np.load(whole / "stage1" / name)
    )
  assert not (folder / "song.json").exists()
  monkeypatch.undo()
  monkeypatch.setattr(song, "decode", None)  # nothing is left for stage 1
  run(made, folder, "--resume", seed=3)
  assert_same(folder, whole)


def test_several_songs_and_seeds(made, whole, tmp_path):
  """Each is what it is alone, in a batch that another song shares."""
  (tmp_path / "b.txt").write_text("[verse]\nme ba\n")
  run(
    made,
    tmp_path / "all",
    *("--lyrics", str(tmp_path / "b.txt"), "--tags", "slow"),
    *("--seeds", "3", "4"),
  )
  folders = sorted(path.name for path in (tmp_path / "all").iterdir())
  assert folders == ["b-3", "b-4", "lyrics-3", "lyrics-4"]
  assert_same(tmp_path / "all/lyrics-3", whole)
  rows = [
    {"lyrics": "b.txt", "tags": "slow", "seed": 4, "out": "x"},
    {"lyrics": "b.txt", "tags": "slow", "seed": 3, "out": "y/z"},
  ]
  (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)))
  run(
    made,
    tmp_path / "listed",
    jobs=tmp_path / "jobs.jsonl",
    lyrics=None,
    tags=None,
    **{"songs-at-once": 1},
  )
  assert_same(tmp_path / "listed/x", tmp_path / "all/b-4")
  assert_same(tmp_path / "listed/y/z", tmp_path / "all/b-3")


def test_continued_and_with_one_section_anew(made, whole, tmp_path):
  """From section 2: section 1 stays. Section 2 only: 1 and 3 stay."""
  again = {"continue-from": whole, "section": 2, "seed": 5}
  again |= {"lyrics": None, "tags": None}
  run(made, tmp_path / "on", **again)
  run(made, tmp_path / "one", "--only", **again)
  old, on, one = (
    song_folder.read_song(path).sections
    for path in (whole, tmp_path / "on", tmp_path / "one")
  )
  assert len(on) == len(one) == 3

  def same(a, b):
    return np.array_equal(np.stack(a), np.stack(b))

  assert [same(a, b) for a, b in zip(old, on, strict=True)] == [
    *(True, False, False),
  ]
  assert [same(a, b) for a, b in zip(old, one, strict=True)] == [
    *(True, False, True),
  ]
  assert same(on[1], one[1])  # both follow section 1
  _, described = read(tmp_path / "one")
  assert described["tags"] == "pop slow"
  assert described["frames"] == sum(len(s.vocal) for s in one)


def test_the_released_ranges_are_a_choice(made, tmp_path):
  """Most draws lie outside their codebook, and become the code it has most."""
  drawn = {"stage2-temperature": 9, "stage2-top-k": 0, "stage2-top-p": 1}
  drawn |= {"stage2-ranges": "released", "min-frames": 20, "max-frames": 20}
  run(made, tmp_path / "song", **drawn)
  tracks, described = read(tmp_path / "song")
  assert described["settings"]["stage2"]["ranges"] == "released"
  assert described["settings"]["stage2"]["sampling"]["temperature"] == 9
  for codes in tracks:
    assert codes.shape == (8, 60)
    assert all(np.bincount(row).max() > 30 for row in codes[1:])


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


def test_the_seed_decides(made, whole, tmp_path):
  run(made, tmp_path / "b", seed=3, tags=made / "tags.txt")
  assert_same(tmp_path / "b", whole)
  run(made, tmp_path / "c", seed=1)
  assert not np.array_equal(read(tmp_path / "c")[0], read(whole)[0])


def test_a_mesh_of_devices(made, whole, tmp_path):
  run(made, tmp_path / "four", seed=3, fsdp=2, tensor=2)
  assert_same(tmp_path / "four", whole)


def test_a_reference_changes_the_song(made, whole, tmp_path):
  codes = np.random.default_rng(0).integers(0, 8, (8, 9)).astype(np.uint16)
  np.save(tmp_path / "clip.npy", codes)
  np.save(tmp_path / "wide.npy", np.full((8, 9), 8, np.uint16))
  np.save(tmp_path / "turned.npy", codes.T)
  clip = {
    "reference-vocal": tmp_path / "clip.npy",
    "reference-frames": 4,
    "seed": 3,
  }
  run(made, tmp_path / "vocal", **clip)
  both = clip | {"reference-backing": tmp_path / "clip.npy"}
  run(made, tmp_path / "dual", **both)
  folders = (whole, tmp_path / "vocal", tmp_path / "dual")
  assert len({np.hstack(read(f)[0]).tobytes() for f in folders}) == 3
  for wrong, message in [
    (both | {"reference-mixture": tmp_path / "clip.npy"}, "mixture alone"),
    (clip | {"reference-start": 6}, "9 frames, the reference is 6..10"),
    (clip | {"reference-vocal": tmp_path / "wide.npy"}, "codes span 8..8"),
    (clip | {"reference-vocal": tmp_path / "turned.npy"}, "9 codebooks, the"),
  ]:
    with pytest.raises(SystemExit, match=message):
      run(made, tmp_path / "wrong", **wrong)
  # What is continued keeps its reference.
  again = {"continue-from": tmp_path / "dual", "section": 1, "seed": 3}
  run(made, tmp_path / "again", **again)
  assert_same(tmp_path / "again", tmp_path / "dual")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"stage2": "other"}, "has vocabulary"),
    ({"stage1": "nowhere"}, "nowhere"),
    ({"stage2": "loud"}, r"--stage2 .*loud: .* a checkpoint of stage 1"),
    ({"stage1": "foreign"}, "foreign was trained with tokenizer another"),
    ({"stage2": "foreign"}, "foreign was trained with tokenizer another"),
    ({"tokenizer": "lyrics.txt"}, "no SentencePiece model"),
    ({"lyrics": "nowhere.txt"}, "nowhere.txt"),
    ({"lyrics": "tags.txt"}, "before any section"),
    ({"window": 60}, "needs 543 tokens"),
    ({"max-frames": 300}, "max_positions=512"),
    ({"songs-at-once": 0}, "songs_at_once=0"),
    ({"section": 2}, "continue_from and section"),
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


def test_a_song_is_not_overwritten(made, whole, capsys):
  with pytest.raises(SystemExit, match="holds a song already"):
    run(made, whole)
  with pytest.raises(SystemExit, match="begun as another song: seed was 3"):
    run(made, whole, "--resume", seed=4)
  before = (whole / "song.json").stat()
  run(made, whole, "--resume", seed=3)
  assert (whole / "song.json").stat() == before
  assert "0 of 1 songs to make" in capsys.readouterr().out
