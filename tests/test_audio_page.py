"""The README's way from WAV files to a run and back, as it is written there.

Every command of its two sections is run in its order; songs, codec, windows and
models are small, the vocabulary too.
"""

import pathlib
import shlex

import jax
import numpy as np
import pytest
import soundfile

from tests import songs_on_disk, tiny
from tests.conftest import ROOT
from tests.test_encode_audio import write_song
import tools.decode_audio
import tools.encode_audio
import tools.fit_codec
import tools.generate
import tools.prepare_songs
from yue_jax import config
from yue_jax.data.dataset import open_dataset
from yue_jax.metrics import read_metrics
from yue_jax.train import loop
from yue_jax.vocab import Vocab
from yue_jax.world import corpus
from yue_jax.world.config import WorldConfig
from yue_jax.world.generator import World

SECTIONS = ("From WAV files to a training run", "From a checkpoint to a WAV")
# What makes a command of the page small.
SMALLER = {
  "fit_codec": ["--mels=20", "--codebook-size=16"],
  "encode_audio": [],
  "prepare_songs": [
    *("--small-vocab", "--codes=16", "--window=10", "--windows-per-record=1"),
    "--workers=1",
  ],
  "generate": ["--max-frames=20", "--min-frames=20", "--window=10"],
  "decode_audio": [],
}
PLACES = {"runs/own": (512, "cot"), "runs/own2": (128, "window")}


def commands() -> list[list[str]]:
  """The words of all commands in code blocks of the sections."""
  page = (ROOT / "README.md").read_text()
  found = []
  for title in SECTIONS:
    section = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
    for block in section.split("```")[1::2]:
      lines = block.replace("\\\n", " ").splitlines()
      found += [shlex.split(x) for x in lines if x.startswith("python ")]
  return found


def train(flags: list[str]) -> None:
  """Two steps of what `python -m yue_jax.main` was told to train."""
  options = dict(flag.removeprefix("--").split("=") for flag in flags)
  context, kind = PLACES[options["run_dir"]]
  path, _, argument = options["config"].partition(":")
  tree = tiny.load_experiment(ROOT / path, argument).to_dict()
  (phase,) = tree["phases"]
  source = phase["mixture"]["songs"]
  assert source["kind"] == kind
  vocab = open_dataset(source["data"]).vocab
  tree |= {"vocab": vocab.to_json(), "data": {}}
  tree["model"] |= {
    "vocab_size": vocab.padded_size(128),
    "layers": 1,
    "max_positions": context,
  }
  phase |= {"context": context, "tokens": 2 * 2 * context}
  phase["rate"] |= {"warmup_tokens": context, "decay_tokens": context}
  tree["train"] |= {"log_every": 1, "eval_every": 0}
  cfg = config.from_config_dict(tree)
  run_dir = pathlib.Path(options["run_dir"])
  loop.Run(cfg, run_dir, devices=jax.devices()[:1]).train()


@pytest.fixture
def place(tmp_path, monkeypatch):
  """A newcomer's folder: four songs, lyrics and a tokenizer."""
  monkeypatch.chdir(tmp_path)
  for number in range(4):
    write_song(
      tmp_path / f"songs/{number}",
      seed=number,
      lyrics__txt="[verse]\nmo ra li\n",
      tags__txt="sen du",
    )
  songs_on_disk.small_tokenizer(tmp_path / "tokenizer.model")
  (tmp_path / "lyrics.txt").write_text("[verse]\nra mo\n\n[chorus]\nka\n")
  return tmp_path


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_songs_of_the_world_have_the_vocabulary_of_their_experiment(
  tmp_path, stage
):
  tokenizer = corpus.write_tokenizer(
    World(WorldConfig()), tmp_path / "tokenizer.model"
  )
  path = ROOT / "experiments/own_songs.py"
  tree = tiny.load_experiment(path, f"{stage},world")
  cfg = config.from_config_dict(tree)
  assert cfg.vocab == Vocab.small(tokenizer.size, codes=1024, codebooks=8)


def test_the_page(place):
  run = []
  for python, program, *words in commands():
    assert python == "python"
    if program == "-m":
      assert words[0] == "yue_jax.main"
      train(words[1:])
    else:
      name = pathlib.Path(program).stem
      getattr(tools, name).main([*words, *SMALLER[name]])
      run.append(name)
  assert run == list(SMALLER)

  assert open_dataset(place / "data/songs").info["songs"] == 4
  for run_dir in PLACES:
    assert read_metrics(place / run_dir / "metrics.jsonl")[-1]["step"] == 2
  waves = {}
  for name in ("vocal", "backing", "mix"):
    waves[name], rate = soundfile.read(place / f"made/1/{name}.wav")
    assert rate == 16_000
    assert len(waves[name]) == 2 * 20 * 320  # two sections of 20 frames
    assert 0.01 < np.abs(waves[name]).max() <= 10 ** (-1 / 20) + 1e-4
  np.testing.assert_allclose(
    waves["vocal"] + waves["backing"], waves["mix"], atol=1e-4
  )
