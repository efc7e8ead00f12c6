"""Embeddings by a tiny CLAP with random weights."""

import json
import sys
import wave

import numpy as np
import pytest

from tests.conftest import ROOT
from yue_jax.evaluation.alignment import alignment
from yue_jax.evaluation.embeddings import read_embeddings

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
transformers = pytest.importorskip("transformers")

sys.path.insert(0, str(ROOT / "tools"))
import embed  # noqa: E402 - ends without them

RATE = 8000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  folder = tmp_path_factory.mktemp("clap")
  text = {
    "vocab_size": 300,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 60,
  }
  audio = {
    "hidden_size": 16,
    "patch_embeds_hidden_size": 8,
    "depths": [1, 1],
    "num_attention_heads": [2, 2],
    "num_hidden_layers": 2,
    "spec_size": 64,
    "num_mel_bins": 16,
    "window_size": 4,
    "num_classes": 3,
  }
  torch.manual_seed(0)
  config = transformers.ClapConfig(
    text_config=text, audio_config=audio, projection_dim=8
  )
  transformers.ClapModel(config).save_pretrained(folder)
  features = transformers.ClapFeatureExtractor(
    feature_size=16,
    sampling_rate=RATE,
    hop_length=80,
    max_length_s=2,
    fft_window_size=512,
    truncation="rand_trunc",
    padding="repeatpad",
  )
  marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
  letters = [*marks, *"abcdefghijklmnopqrstuvwxyz"]
  tokenizer = transformers.RobertaTokenizerFast(
    vocab={letter: k for k, letter in enumerate(letters)}, merges=[]
  )
  transformers.ClapProcessor(features, tokenizer).save_pretrained(folder)
  return folder


def _write(path, samples) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  with wave.open(str(path), "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(RATE)
    file.writeframes((samples * 32767).astype("<i2").tobytes())


def test_songs_and_texts_are_embedded(model, tmp_path, capsys):
  rows = []
  for number, song in enumerate("abc"):
    tone = 0.5 * np.sin(np.arange(5 * RATE) / (3 + number))
    _write(tmp_path / f"wav/{song}/mix.wav", tone)
    rows.append({"id": song, "sections": [{"text": song * 9}]})
  _write(tmp_path / "wav/silent.wav", np.zeros(2 * RATE))
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (tmp_path / "lyrics.jsonl").write_text(text)
  embed.main([str(tmp_path), f"--audio={tmp_path}/wav", f"--model={model}"])
  assert "rejected silent" in capsys.readouterr().out
  songs = read_embeddings(tmp_path / "embeddings/clap")
  texts = read_embeddings(tmp_path / "texts/clap")
  assert songs.ids == texts.ids == ("a", "b", "c")
  assert songs.rows.shape == (6, 8)  # windows of two seconds
  assert np.abs(songs.rows[0] - songs.rows[2]).max() > 1e-4
  assert -1 <= alignment(songs, texts).own.value <= 1


def test_no_sound_is_an_error(model, tmp_path):
  with pytest.raises(SystemExit, match="neither"):
    embed.main([str(tmp_path), f"--audio={tmp_path}", f"--model={model}"])
