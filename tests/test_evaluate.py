"""The tool on folders of results: all metrics, and what it refuses."""

import json
import pathlib
import sys

import numpy as np
import pytest

from tests.conftest import ROOT
from yue_jax.evaluation.ngrams import build_index

sys.path.insert(0, str(ROOT / "tools"))
import evaluate

SONGS = 32
NGRAM = 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> pathlib.Path:
  """Real songs, a good system, a bad one that copies, and an index."""
  root = tmp_path_factory.mktemp("evaluation")
  rng = np.random.default_rng(7)
  training = [(f"train {i}", rng.integers(64, size=200)) for i in range(SONGS)]
  for track in ("vocal", "backing"):
    build_index(training, root / f"index/{track}", n=NGRAM)
  for number, (name, shift, wrong) in enumerate(
    [("real", 0.0, 0), ("good", 0.1, 1), ("bad", 2.0, 3)]
  ):
    _write(root / name, np.random.default_rng(number), shift, wrong, training)
  return root


def _write(folder, rng, shift: float, wrong: int, training) -> None:
  texts = np.random.default_rng(9).normal(size=(SONGS, 4))
  names = [f"{i:02}" for i in range(SONGS)]
  lyrics, transcripts = [], []
  for number, song in enumerate(names):
    codes = rng.integers(64, size=150 + 10 * (number % 5))
    if wrong == 3:
      codes[:100] = training[number][1][:100]
    _save(folder / f"songs/{song}/stage1/vtrack.npy", codes[None])
    _save(folder / f"songs/{song}/stage1/itrack.npy", codes[None])
    clip = np.random.default_rng(100 + number).integers(64, size=60)
    _save(folder / f"references/{song}/vtrack.npy", clip)
    own = shift + texts[number] + rng.normal(size=4) * 0.3
    _save(folder / f"embeddings/clap/{song}.npy", own)
    _save(folder / f"texts/clap/{song}.npy", texts[number])
    _save(folder / f"logits/tags/{song}.npy", own)
    note = rng.integers(50, 60)
    f0 = 440 * 2 ** ((np.repeat([note, note + 12], 50) - 69) / 12)
    _save(folder / f"f0/{song}.npy", f0)
    lines = ["a b c d", "e f g h"]
    heard = [" ".join(line.split()[: 4 - wrong]) for line in lines]
    rows = (lyrics, lines), (transcripts, heard)
    for rows_of, sung in rows:
      sections = [
        {"label": label, "text": text}
        for label, text in zip(("verse", "chorus"), sung, strict=True)
      ]
      rows_of.append({"id": song, "language": "en", "sections": sections})
    for k, section in enumerate(lyrics[-1]["sections"]):
      section |= {"start": 30.0 * k, "end": 30.0 * k + 30}
  for name, rows_of in (("lyrics", lyrics), ("transcripts", transcripts)):
    text = "".join(json.dumps(row) + "\n" for row in rows_of)
    (folder / f"{name}.jsonl").write_text(text)


def _save(path: pathlib.Path, array: np.ndarray) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  np.save(path, array)


def _run(root, out, *systems, index=True):
  arguments = [str(root / s) for s in systems]
  arguments += [f"--reference={root}/real", f"--out={out}", f"--ngram={NGRAM}"]
  evaluate.main([*arguments, *([f"--index={root}/index"] if index else [])])


@pytest.fixture(scope="module")
def finished(folders, tmp_path_factory) -> tuple[pathlib.Path, dict]:
  out = tmp_path_factory.mktemp("out")
  _run(folders, out, "good", "bad")
  return out, json.loads((out / "evaluation.json").read_text())["systems"]


def test_every_metric_is_there_with_an_interval(finished):
  measures = finished[1]["good"]["measures"]
  expected = {
    *("duration/seconds/mean", "vocal_range/semitones/median"),
    *("lyrics/word_error_rate", "lyrics/character_error_rate"),
    *(
      "lyrics/word_error_rate/label/chorus",
      "lyrics/word_error_rate/section/2",
    ),
    *("frechet/clap", "gaussian_kl/clap", "class_kl/tags"),
    *("alignment/clap", "alignment/clap/above_others"),
    *("references/vocal/copied", "references/vocal/copied/above_others"),
    *("memorisation/vocal/covered/mean", "memorisation/vocal/run/above_null"),
    "memorisation/backing/aligned/null/mean",
  }
  assert expected <= measures.keys()
  for path, estimate in measures.items():
    assert estimate["low"] <= estimate["high"], path
    assert estimate["songs"] >= 2


def test_values_are_those_of_the_material(finished):
  good, bad = (finished[1][name]["measures"] for name in ("good", "bad"))
  assert good["lyrics/word_error_rate"]["value"] == 1 / 4
  assert bad["lyrics/word_error_rate"]["value"] == 3 / 4
  assert good["vocal_range/semitones/median"]["value"] == 12
  assert good["duration/seconds/mean"]["value"] == pytest.approx(3.4, abs=0.1)
  assert [r["value"] for r in finished[1]["good"]["over_time"][1]] == [0.25] * 2
  path = "memorisation/vocal/covered/above_null"
  assert bad[path]["low"] > 0.9 and good[path]["low"] <= 0.05
  assert bad["frechet/clap"]["low"] > good["frechet/clap"]["high"]
  for path in ("gaussian_kl/clap", "class_kl/tags"):
    assert bad[path]["value"] > good[path]["value"]
  assert bad["alignment/clap"]["high"] < good["alignment/clap"]["low"]


def test_table_and_pictures_are_there(finished):
  out, _ = finished
  lines = (out / "table.txt").read_text().splitlines()
  assert lines[0].split() == ["measure", "good", "bad"]
  assert any(line.startswith("lyrics/word_error_rate ↓") for line in lines)
  for name in ("vocal_range", "duration", "lyrics", "frechet", "memorisation"):
    assert (out / f"{name}.png").stat().st_size > 5000


def test_refused_metrics_and_rejected_songs_are_listed(
  folders, tmp_path, capsys
):
  folder = tmp_path / "odd"
  _save(folder / "embeddings/clap/00.npy", np.ones(4))
  for song, f0 in (("a", 440.0), ("b", 220.0), ("c", 0.0)):
    _save(folder / f"f0/{song}.npy", np.full(50, f0))
  with pytest.raises(SystemExit, match="1 metrics were refused"):
    _run(folders, tmp_path / "out", folder, index=False)
  shown = capsys.readouterr().out
  assert "odd: no distributions/clap: samples of shape (1, 4)" in shown
  assert "odd: 1 songs rejected, such as c" in shown
  described = json.loads((tmp_path / "out/evaluation.json").read_text())
  odd = described["systems"]["odd"]
  assert [r["song"] for r in odd["rejected"]] == ["c"]
  assert odd["measures"]["vocal_range/semitones/mean"]["songs"] == 2


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda folder: None, "is no folder"),
    (lambda folder: folder.mkdir(), "nothing to evaluate"),
    (lambda folder: (folder / "songs").mkdir(parents=True), "nothing to eval"),
    (
      lambda folder: _save(folder / "songs/a/vtrack.npy", np.ones((2, 2, 2))),
      r"vtrack.npy: codes of shape",
    ),
    (
      lambda folder: _save(folder / "embeddings/x/a.npy", np.ones(3)),
      "nothing could be computed.*nothing by x",
    ),
    (
      lambda folder: _save(folder / "f0/a.npy", np.full(9, np.nan)),
      "nothing could be computed.*not finite",
    ),
  ],
)
def test_folders_of_nothing_are_refused(folders, tmp_path, make, message):
  make(tmp_path / "x")
  with pytest.raises(SystemExit, match=message):
    _run(folders, tmp_path / "out", tmp_path / "x", index=False)
  assert not (tmp_path / "out/evaluation.json").exists()


def test_transcripts_of_other_songs_are_refused(folders, tmp_path):
  folder = tmp_path / "x"
  folder.mkdir()
  for name in ("lyrics", "transcripts"):
    text = (folders / f"good/{name}.jsonl").read_text()
    lines = text.splitlines(keepends=True)
    kept = lines[1:] if name == "transcripts" else lines
    (folder / f"{name}.jsonl").write_text("".join(kept))
  with pytest.raises(SystemExit, match=r"1 without a partner \['00'\]"):
    _run(folders, tmp_path / "out", folder, index=False)


def test_a_null_of_training_songs_is_refused(folders, tmp_path):
  rng = np.random.default_rng(0)
  songs = [("00", rng.integers(64, size=200))]
  for track in ("vocal", "backing"):
    build_index(songs, tmp_path / f"index/{track}", n=NGRAM)
  with pytest.raises(SystemExit, match="songs that nobody was trained on"):
    evaluate.main(
      [
        *(str(folders / "good"), f"--reference={folders}/real"),
        *(f"--out={tmp_path}/out", f"--index={tmp_path}/index"),
        f"--ngram={NGRAM}",
      ]
    )
