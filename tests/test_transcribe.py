"""Transcripts by a command, and by the world's codes."""

import json
import pathlib
import sys
import wave

import numpy as np
import pytest

from tests.conftest import ROOT
from yue_jax.evaluation import transcription
from yue_jax.evaluation.lyric_errors import word_errors
from yue_jax.evaluation.transcripts import read_heard
from yue_jax.world import corpus
from yue_jax.world.config import WorldConfig
from yue_jax.world.generator import World
from yue_jax.world.results import Sung, write_results

sys.path.insert(0, str(ROOT / "tools"))
import transcribe

RATE = 16_000
# Stands for a recogniser: says how long its file is, and in which language.
ASR = (
  f'{sys.executable} -c "import sys, wave;'
  " print(sys.argv[2], wave.open(sys.argv[1]).getnframes())"
  '" {audio} {language}'
)


def _folder(root: pathlib.Path, songs=("a", "b")) -> pathlib.Path:
  sections = [
    {"label": "verse", "text": "en 8000", "start": 0.0, "end": 0.5},
    {"label": "chorus", "text": "en 16000", "start": 0.5, "end": 1.5},
  ]
  rows = [{"id": s, "language": "en", "sections": sections} for s in songs]
  root.mkdir()
  (root / "lyrics.jsonl").write_text(
    "".join(json.dumps(r) + "\n" for r in rows)
  )
  tone = np.sin(np.arange(2 * RATE) / 10) * 0.5
  for song in songs:
    _write_wav(root / f"wav/{song}/vocal.wav", tone)
  return root


def _write_wav(path: pathlib.Path, samples: np.ndarray) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  with wave.open(str(path), "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(RATE)
    file.writeframes((samples * 32767).astype("<i2").tobytes())


def _run(folder, *arguments) -> None:
  transcribe.main([str(folder), *map(str, arguments)])


def test_a_command_hears_every_section(tmp_path):
  folder = _folder(tmp_path / "x")
  _run(folder, f"--audio={folder}/wav", f"--command={ASR}")
  songs = read_heard(folder / "lyrics.jsonl", folder / "transcripts.jsonl")
  assert [s.heard for s in songs] == [("en 8000", "en 16000")] * 2
  assert word_errors(songs).all.value == 0


def test_songs_are_heard_once(tmp_path):
  folder = _folder(tmp_path / "x")
  _write_wav(folder / "wav/b/vocal.wav", np.zeros(0))
  with pytest.raises(SystemExit, match=r"b/vocal\.wav"):
    _run(folder, f"--audio={folder}/wav", f"--command={ASR}")
  _write_wav(folder / "wav/b/vocal.wav", np.zeros(2 * RATE))
  _run(folder, f"--audio={folder}/wav", "--command=false {audio}")
  lines = (folder / "transcripts.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row["id"] for row in rows] == ["a", "b"]
  assert [s["text"] for s in rows[1]["sections"]] == ["", ""]  # silent


def test_the_worlds_words_are_read_from_codes(tmp_path):
  world = World(WorldConfig(vocal_noise=0.0))
  (tmp_path / "world").mkdir()
  corpus.write_world(world, tmp_path / "world/world.json")
  songs = world.draw(np.random.default_rng(0), songs=3)
  sung = [
    Sung(
      str(number),
      song.labels.tolist(),
      song.words.tolist(),
      np.diff(song.bounds).tolist(),
      song.vocal[0],
      song.backing[0],
    )
    for number, song in enumerate(songs)
  ]
  write_results(world, sung, tmp_path / "x")
  (tmp_path / "x/transcripts.jsonl").unlink()
  _run(tmp_path / "x", f"--world={tmp_path}/world")
  heard = read_heard(
    tmp_path / "x/lyrics.jsonl", tmp_path / "x/transcripts.jsonl"
  )
  assert word_errors(heard).all.value == 0


def test_lyrics_are_made_of_generated_songs(tmp_path):
  folder = tmp_path / "x"
  (folder / "songs/s").mkdir(parents=True)
  sections = [{"text": "[verse]\nen 8000\n\n", "start": 0, "end": 25}]
  (folder / "songs/s/song.json").write_text(json.dumps({"sections": sections}))
  _write_wav(folder / "wav/s.wav", np.sin(np.arange(RATE) / 9) * 0.5)
  with pytest.raises(SystemExit, match="--language"):
    _run(folder, f"--audio={folder}/wav", f"--command={ASR}")
  _run(folder, f"--audio={folder}/wav", f"--command={ASR}", "--language=en")
  (song,) = read_heard(folder / "lyrics.jsonl", folder / "transcripts.jsonl")
  assert song.sections[0].label == "verse" and song.heard == ("en 8000",)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--command=asr"], "where {audio} goes"),
    ([f"--command={sys.executable} -c 'exit(3)' {{audio}}"], "ended with 3"),
    (["--command=missing-asr {audio}"], "missing-asr"),
  ],
)
def test_commands_that_fail_are_errors(tmp_path, arguments, message):
  folder = _folder(tmp_path / "x")
  with pytest.raises(SystemExit, match=message):
    _run(folder, f"--audio={folder}/wav", *arguments)


def test_songs_without_sound_or_times_are_errors(tmp_path):
  folder = _folder(tmp_path / "x")
  with pytest.raises(SystemExit, match="--audio"):
    _run(folder, f"--command={ASR}")
  with pytest.raises(SystemExit, match=r"no a/vocal\.wav"):
    _run(folder, f"--audio={tmp_path}", f"--command={ASR}")
  row = {"id": "a", "language": "en", "sections": [{"label": "verse"}]}
  with pytest.raises(ValueError, match="has no times"):
    transcription.transcribe(row, folder / "wav/a/vocal.wav", lambda *_: "")


def test_a_model_of_transformers_hears_sections(tmp_path):
  torch = pytest.importorskip("torch", reason="PyTorch is not installed")
  transformers = pytest.importorskip("transformers")
  torch.manual_seed(0)
  config = transformers.Wav2Vec2Config(
    vocab_size=8,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    conv_dim=(8, 8),
    conv_stride=(20, 16),
    conv_kernel=(20, 16),
    num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2,
  )
  model = tmp_path / "model"
  transformers.Wav2Vec2ForCTC(config).save_pretrained(model)
  transformers.Wav2Vec2FeatureExtractor().save_pretrained(model)
  marks = ["<pad>", "<s>", "</s>", "<unk>", "|", "a", "b", "c"]
  vocabulary = tmp_path / "vocab.json"
  vocabulary.write_text(json.dumps({m: k for k, m in enumerate(marks)}))
  transformers.Wav2Vec2CTCTokenizer(vocabulary).save_pretrained(model)
  folder = _folder(tmp_path / "x", songs=("a",))
  _run(folder, f"--audio={folder}/wav", f"--model={model}")
  (song,) = read_heard(folder / "lyrics.jsonl", folder / "transcripts.jsonl")
  assert len(song.heard) == 2
  hear = transcription.model_recogniser(str(model))
  noise = np.random.default_rng(0).normal(size=RATE).astype(np.float32)
  inputs = transformers.AutoFeatureExtractor.from_pretrained(model)(
    noise, sampling_rate=RATE, return_tensors="pt"
  )
  with torch.no_grad():
    logits = transformers.AutoModelForCTC.from_pretrained(model)(
      **inputs
    ).logits
  tokenizer = transformers.AutoTokenizer.from_pretrained(model)
  expected = tokenizer.decode(logits[0].argmax(dim=-1))
  assert hear(noise, "en") == expected.strip() != ""
