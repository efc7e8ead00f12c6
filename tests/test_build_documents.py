"""The tool lists what it drops, and says in one line what is wrong."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

from yue_jax.songs import TRACK_KEYS
from yue_jax.tokenizer import train_tokenizer
from yue_jax.vocab import Stream, Vocab

TOOL = pathlib.Path(__file__).parent.parent / "tools" / "build_documents.py"
KINDS = (
  "plain",
  "cot",
  "cot_mixture",
  "prefix",
  "icl_dual",
  "icl_mixture",
  "icl_vocal",
  "icl_inst",
  "tags_mixture",
  "tags_dual",
  "mixture",
  "vocal",
  "backing",
  "dual",
  "stage2",
  "stage2_teacher_forcing",
)


@pytest.fixture(scope="module")
def tool():
  spec = importlib.util.spec_from_file_location("build_documents", TOOL)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  path = tmp_path_factory.mktemp("tokenizer") / "small.model"
  return train_tokenizer(["[verse]\nla la\n"], path, size=300)


@pytest.fixture
def manifest(tmp_path):
  """Two good songs of 60 frames, and four rows that cannot be used."""
  rng = np.random.default_rng(0)
  np.save(tmp_path / "codes.npy", rng.integers(0, 16, (3, 60)))
  section = {
    "codec_frame_start": 0,
    "codec_frame_end": 60,
    "line_content": "[verse]\nla\n\n",
  }
  row = {
    "id": "a",
    "codec": "codes.npy",
    "vocals_codec": "codes.npy",
    "instrumental_codec": "codes.npy",
    "audio_length_in_sec": 1.2,
    "genres": "jazz",
    "splitted_lyrics": {"segmented_lyrics": [section]},
  }
  rows = [
    row,
    row | {"id": "b"} | dict.fromkeys(TRACK_KEYS.values(), "missing.npy"),
    row | {"id": None},
    row,
    row | {"id": "c"},
  ]
  path = tmp_path / "songs.jsonl"
  path.write_text("\n".join([*map(json.dumps, rows), "{"]))
  return path


def run(tool, manifest, tokenizer, *flags):
  out = manifest.parent / "documents.npz"
  small = ["--small-vocab", "--codes=16", "--codebooks=3", "--window=20"]
  paths = [str(manifest), f"--tokenizer={tokenizer.path}", f"--out={out}"]
  tool.main([*paths, *small, *flags])
  with np.load(out, allow_pickle=False) as arrays:
    return dict(arrays)


@pytest.mark.parametrize("kind", KINDS)
def test_good_songs_are_kept_and_bad_rows_listed(
  tool, manifest, tokenizer, kind, capsys
):
  arrays = run(tool, manifest, tokenizer, f"--kind={kind}")
  names = {f"{what}_{id}" for what in ("ids", "streams") for id in "abc"}
  assert set(arrays) == names
  vocab = Vocab.small(tokenizer.size, codes=16, codebooks=3)
  for id in "ac":
    ids, streams = arrays[f"ids_{id}"], arrays[f"streams_{id}"]
    assert ids.shape == streams.shape
    assert ids[-1] == vocab.eod
    assert ids.max() < vocab.size
    clip = 30 * (2 if kind == "icl_dual" else 1) if "icl" in kind else 0
    assert (streams == Stream.REFERENCE).sum() == clip  # half of 60 frames
  assert len(arrays["ids_b"]) == len(arrays["streams_b"]) == 0
  listed = capsys.readouterr().out
  for dropped in (
    "line 2, song b: missing_file",
    "line 3, song None: bad_field",
    "line 4, song a: duplicate_id",
    "line 6, song None: bad_json",
    "2 documents, 4 rows dropped",
  ):
    assert dropped in listed


def test_tags_and_instructions_are_drawn(tool, manifest, tokenizer):
  row = json.loads(manifest.read_text().splitlines()[0])
  row |= {"genres": "la mi do", "transcript": "la"}
  manifest.write_text(json.dumps(row))

  def drawn(kind):
    built = (
      run(tool, manifest, tokenizer, f"--kind={kind}", f"--seed={seed}")
      for seed in range(8)
    )
    return {tuple(arrays["ids_a"].tolist()) for arrays in built}

  tagged, speech = drawn("tags_dual"), drawn("speech")
  assert len(tagged) > 2
  assert len({tuple(sorted(ids)) for ids in tagged}) == 1
  assert len(speech) == len({len(ids) for ids in speech}) == 2
  vocab = Vocab.small(tokenizer.size, codes=16, codebooks=3)
  assert {ids[-1] for ids in speech} == {vocab.eoa}


def test_tags_are_missed(tool, manifest, tokenizer, capsys):
  row = json.loads(manifest.read_text().splitlines()[0])
  manifest.write_text(json.dumps(row | {"genres": ""}))
  run(tool, manifest, tokenizer, "--kind=tags_mixture")
  assert "no_tags" in capsys.readouterr().out


def test_windows_need_every_codebook(tool, manifest, tokenizer, capsys):
  np.save(manifest.parent / "codes.npy", np.zeros((1, 60), int))
  arrays = run(tool, manifest, tokenizer, "--kind=stage2")
  assert len(arrays["ids_a"]) == 0
  assert "too_few_codebooks: 1 codebooks" in capsys.readouterr().out


def test_songs_without_a_window_are_listed(tool, manifest, tokenizer, capsys):
  run(tool, manifest, tokenizer, "--kind=stage2", "--window=61")
  assert "no_windows" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["missing.jsonl", "--small-vocab"], r"missing\.jsonl"),
    (["songs.jsonl", "--tokenizer=missing.model"], r"missing\.model"),
    (["songs.jsonl", "--tokenizer=songs.jsonl"], "no SentencePiece model"),
    (["songs.jsonl", "--out=nowhere/a.npz"], "no folder nowhere"),
    (["songs.jsonl", "--codes=16"], "add --small-vocab"),
    (["songs.jsonl", "--codes=0"], "add --small-vocab"),
    (["songs.jsonl", "--small-vocab", "--codes=0"], "--codes=0, expected 1"),
    (["songs.jsonl"], r"has \d+ pieces, the vocabulary expects 32000"),
    (
      ["songs.jsonl", "--small-vocab", "--codebooks=3", "--window=0"],
      "window=0",
    ),
  ],
)
def test_one_clear_error(
  tool, manifest, tokenizer, monkeypatch, flags, message
):
  monkeypatch.chdir(manifest.parent)
  defaults = [f"--tokenizer={tokenizer.path}", "--out=a.npz", "--kind=stage2"]
  with pytest.raises(SystemExit, match=message):
    tool.main([*defaults, *flags])
  assert not (manifest.parent / "a.npz").exists()
