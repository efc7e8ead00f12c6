"""Songs that a run sings while it is trained: they change nothing, and are
sung again where a run is killed."""

import json
import pathlib

import jax
import numpy as np
import pytest

from tests import tiny
from yue_jax import config
from yue_jax.data.preparing.prepare import prepare
from yue_jax.data.preparing.recipe import Recipe
from yue_jax.metrics import read_metrics
from yue_jax.rehearsal import folder, rehearsal
from yue_jax.rehearsal.rehearsal import Rehearsal, track_settings
from yue_jax.sampling.logits import Sampling
from yue_jax.sampling.song import TrackSettings
from yue_jax.songs import Rules
from yue_jax.train import loop
from yue_jax.vocab import Vocab
from yue_jax.world import corpus, lyrics, manifest
from yue_jax.world.config import WorldConfig
from yue_jax.world.generator import World

WORLD = World(WorldConfig(words=6, sections=2, words_per_section=2))
STEPS, EVERY, SONGS = 4, 2, 2
CLOCK = ("tokens_per_second", "mfu", "mfu_full")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> pathlib.Path:
  """world.json, tokenizer.model, train/songs.jsonl, and the data prepared."""
  root = tmp_path_factory.mktemp("world")
  corpus.write_world(WORLD, root / "world.json")
  tokenizer = corpus.write_tokenizer(WORLD, root / "tokenizer.model")
  songs = WORLD.draw(np.random.default_rng(0), songs=8)
  list(corpus.write_songs(WORLD, songs, root / "train"))
  recipe = Recipe(
    tokenizer=tokenizer,
    vocab=Vocab.small(tokenizer.size, codes=160),
    rules=Rules(min_section_seconds=0.02),
    window=10,
    windows_per_record=1,
  )
  prepare(root / "train/songs.jsonl", root / "data", recipe=recipe, workers=1)
  return root


def run_config(root: pathlib.Path, **changes) -> config.RunConfig:
  """A run with a rehearsal; `changes` are of the rehearsal's fields."""
  plain = tiny.run_dict()
  tokenizer = corpus.write_tokenizer(WORLD, root / "tokenizer.model")
  vocab = Vocab.small(tokenizer.size, codes=160)
  fields = {
    "every": EVERY,
    "songs": f"{root}/train/songs.jsonl",
    "tokenizer": f"{root}/tokenizer.model",
    "count": SONGS,
    "world": f"{root}/world.json",
    "sound": True,
    "settings": {
      "min_frames": 1,
      "max_frames": 6,
      "first_guidance": 1.0,
      "later_guidance": 1.0,
    },
  }
  return config.from_config_dict(
    plain
    | {
      "vocab": vocab.to_json(),
      "model": plain["model"]
      | {
        "vocab_size": vocab.padded_size(128),
        "max_positions": 128,
        "layers": 1,
      },
      "phases": [tiny.phase_dict(f"{root}/data", context=64, samples=4)],
      "train": {"log_every": 1, "checkpoint_every": 2, "last_step": STEPS},
      "rehearsal": fields | changes,
    }
  )


def opened(cfg: config.RunConfig, run_dir: pathlib.Path, *, sings=True):
  evaluators = [Rehearsal(cfg, run_dir)] if sings else []
  return loop.Run(
    cfg, run_dir, devices=jax.devices()[:1], evaluators=evaluators
  )


def train(cfg: config.RunConfig, run_dir: pathlib.Path, **options):
  """Trains to the end; returns what was measured, without the clock."""
  opened(cfg, run_dir, **options).train()
  return [
    {k: v for k, v in record.items() if k not in CLOCK}
    for record in read_metrics(run_dir / "metrics.jsonl")
  ]


def contents(run_dir: pathlib.Path) -> dict[str, bytes]:
  songs = run_dir / "songs"
  files = (path for path in songs.rglob("*") if path.is_file())
  return {str(p.relative_to(songs)): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def sung(root, tmp_path_factory):
  """A run that was not disturbed, and what it measured."""
  run_dir = tmp_path_factory.mktemp("run")
  return run_dir, train(run_config(root), run_dir)


def test_songs_are_there_at_every_so_many_steps(sung):
  run_dir, records = sung
  songs = [r for r in records if r["kind"] == "songs"]
  assert [r["step"] for r in songs] == [2, 4]
  for record in songs:
    assert {"loss/vocal", "loss/backing", "loss/mark"} <= record.keys()
    assert 0 < record["min_seconds"] <= record["seconds"]
    assert record["seconds"] <= record["max_seconds"] <= 2 * 6 / 50
    assert 0 <= record["unended"] <= 1
    names = [f"train-{number:06}" for number in range(SONGS)]
    step = folder.step_folder(run_dir, record["step"])
    assert sorted(path.name for path in step.iterdir()) == names
    assert all((step / name / "song.wav").read_bytes() for name in names)


def test_figures_are_those_of_the_songs_on_disk(root, sung):
  """Words are read back from the files, and durations added up."""
  run_dir, records = sung
  last = records[-1]
  edits = words = 0
  seconds = []
  for path in folder.step_folder(run_dir, STEPS).iterdir():
    described = json.loads((path / "song.json").read_text())
    vocal, backing = (
      np.load(path / "stage1" / name) for name in ("vtrack.npy", "itrack.npy")
    )
    assert vocal.shape == backing.shape == (1, described["frames"])
    seconds.append(vocal.shape[1] / 50)
    assert described["sections"][-1]["end"] == vocal.shape[1]
    for section in described["sections"]:
      _, true = manifest.parse_section(WORLD, section["text"])
      codes = vocal[0, section["start"] : section["end"]]
      (reading,) = lyrics.read(WORLD, [codes])
      edits += lyrics.edits(true.tolist(), reading.words)
      words += len(true)
      read = " ".join(WORLD.words[word] for word in reading.words)
      assert section["words"] == read
  assert last["lyric_error_rate"] == pytest.approx(edits / words)
  assert last["seconds"] == pytest.approx(np.mean(seconds))
  assert last["max_seconds"] == max(seconds)


def test_rehearsals_change_nothing_of_the_run(root, sung, tmp_path):
  """Every loss and gradient norm is that of a run that never sings."""
  silent = train(run_config(root), tmp_path, sings=False)
  assert [r for r in sung[1] if r["kind"] != "songs"] == silent


def test_a_killed_rehearsal_is_repeated(root, sung, tmp_path, monkeypatch):
  """Killed in the second song of step 4, before that step is saved."""
  cfg = run_config(root)
  write, written = folder.write_song, []

  def killed(path, *arguments, **options):
    if path.parent.name.endswith("4") and written:
      (path / "stage1").mkdir(parents=True)
      (path / "stage1/vtrack.npy").write_bytes(b"half")
      raise KeyboardInterrupt
    write(path, *arguments, **options)
    if path.parent.name.endswith("4"):
      written.append(path)

  with monkeypatch.context() as patch:
    patch.setattr(folder, "write_song", killed)
    run = opened(cfg, tmp_path)
    with pytest.raises(KeyboardInterrupt):
      run.train()
    run._checkpointer.close()  # a real kill would have ended its threads
  assert contents(tmp_path) != contents(sung[0])
  assert train(cfg, tmp_path) == sung[1]
  assert contents(tmp_path) == contents(sung[0])


def test_settings_are_changes_of_the_released_ones():
  assert track_settings({}) == TrackSettings()
  assert track_settings({"top_k": 3.0, "max_frames": 60.0}) == TrackSettings(
    sampling=Sampling(top_k=3), max_frames=60
  )
  with pytest.raises(ValueError, match=r"unknown names \['topk'\]"):
    track_settings({"topk": 3})
  with pytest.raises(ValueError, match=r"max_frames=60\.5 must be an integer"):
    track_settings({"max_frames": 60.5})


@pytest.mark.parametrize(
  ("changes", "error", "message"),
  [
    ({"count": 9}, ValueError, "has 8 songs, 9 are asked for"),
    ({"songs": "nowhere.jsonl"}, OSError, "nowhere.jsonl"),
    ({"settings": {"max_frames": 99}}, ValueError, "max_frames=99"),
    ({"settings": {"speed": 2}}, ValueError, "unknown names"),
    ({"world": "nowhere.json"}, OSError, "nowhere.json"),
  ],
)
def test_what_would_fail_later_is_refused_before_the_first_step(
  root, tmp_path, changes, error, message
):
  cfg = run_config(root, **changes)
  with pytest.raises(error, match=message):
    opened(cfg, tmp_path)
  assert not (tmp_path / "checkpoints").exists()


def test_another_tokenizer_is_refused(root, tmp_path):
  other = World(WorldConfig(words=6, sections=2, words_per_section=2, seed=1))
  corpus.write_tokenizer(other, tmp_path / "other.model")
  cfg = run_config(root, tokenizer=f"{tmp_path}/other.model")
  with pytest.raises(ValueError, match=r"other.model|pieces"):
    opened(cfg, tmp_path)


def test_models_that_do_not_sing_are_refused(root):
  cfg = run_config(root)
  tree = config.to_json(cfg)
  tree["phases"][0]["mixture"]["songs"]["kind"] = "window"
  with pytest.raises(ValueError, match="sings no lyrics"):
    rehearsal._check_sings(config.from_config_dict(tree))
  tree = config.to_json(cfg) | {"mesh": {"context": 2}}
  with pytest.raises(ValueError, match=r"mesh\.context=2"):
    rehearsal._check_sings(config.from_config_dict(tree))


def test_sound_needs_a_world(root):
  with pytest.raises(ValueError, match="sound=True but world is empty"):
    run_config(root, world="")
