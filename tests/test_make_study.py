"""Songs of systems become clips that only the key can tell apart."""

from collections import Counter
import io
import json
import re

import numpy as np
import pyloudnorm
import pytest
import soundfile

from tests import studies
from tests.conftest import ROOT
from yue_jax.study.aspects import ASPECTS, aspects_named
from yue_jax.study.clips import (
  RATE,
  Excerpt,
  Level,
  common_loudness,
  encode,
  measure,
  read_clip,
)
from yue_jax.study.comparisons import read_key
from yue_jax.study.songs import (
  Prompt,
  find_prompts,
  find_songs,
  read_prompts,
  shared_songs,
)


@pytest.fixture
def run(monkeypatch):
  """The tool, in this process."""
  monkeypatch.syspath_prepend(ROOT / "tools")
  import make_study

  return lambda *arguments: make_study.main([str(a) for a in arguments])


def noise(seconds: float, amplitude: float, seed: int = 0) -> np.ndarray:
  draw = np.random.default_rng(seed)
  return amplitude * draw.standard_normal((round(seconds * RATE), 2))


# ---- songs


def test_layouts_of_a_folder(tmp_path):
  studies.write_tone(tmp_path / "a.wav")
  studies.write_tone(tmp_path / "b" / "song.flac")
  (tmp_path / "notes.txt").write_text("not a song")
  found = find_songs(tmp_path)
  studies.write_tone(tmp_path / "c" / "mix.wav")
  studies.write_tone(tmp_path / "c" / "vocal.wav")
  (tmp_path / "c" / "song.json").write_text("{}")
  found = find_songs(tmp_path)
  assert list(found) == ["a", "b", "c"]
  assert found["c"].name == "mix.wav"
  studies.write_tone(tmp_path / "a" / "song.wav")
  with pytest.raises(ValueError, match="are both song a"):
    find_songs(tmp_path)


def test_systems_that_cannot_be_compared(tmp_path):
  folders = studies.write_songs(tmp_path, ("x", "y"), ("a", "b"))
  with pytest.raises(ValueError, match=r"one system only \(x\)"):
    shared_songs({"x": folders["x"]})
  (folders["y"] / "b.wav").rename(folders["y"] / "c.wav")
  with pytest.raises(ValueError, match="x lacks c; y lacks b"):
    shared_songs(folders)
  with pytest.raises(ValueError, match="is not a folder"):
    shared_songs({"x": folders["x"], "z": tmp_path / "z"})
  (tmp_path / "empty").mkdir()
  with pytest.raises(ValueError, match="no songs in"):
    shared_songs({"x": folders["x"], "z": tmp_path / "empty"})


def test_prompts_come_from_the_folders_of_songs(tmp_path):
  for system in ("x", "y"):
    song = tmp_path / system / "a"
    studies.write_tone(song / "song.wav")
    texts = ["[verse]\nla la\n", "[chorus]\noh"]
    described = {"tags": "pop", "sections": [{"text": t} for t in texts]}
    (song / "song.json").write_text(json.dumps(described))
  songs = shared_songs({s: tmp_path / s for s in ("x", "y")})
  expected = Prompt("pop", "[verse]\nla la\n\n[chorus]\noh")
  assert find_prompts(songs) == {"a": expected}
  described["tags"] = "rock"
  (tmp_path / "y" / "a" / "song.json").write_text(json.dumps(described))
  with pytest.raises(ValueError, match="made from another prompt"):
    find_prompts(songs)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("{", "is not JSON"),
    ("[]", "is not a JSON object"),
    ('{"a": "la"}', "prompt of a is la"),
    ('{"a": {"tags": "pop"}}', "prompt of a"),
    ('{"a": {"tags": "pop", "lyrics": 3}}', "prompt of a"),
  ],
)
def test_prompts_that_cannot_be_read(tmp_path, text, message):
  path = tmp_path / "prompts.json"
  path.write_text(text)
  with pytest.raises(ValueError, match=message):
    read_prompts(path)


# ---- clips


def test_a_gain_makes_clips_equally_loud(tmp_path):
  wanted = -20.0
  for amplitude in (0.02, 0.2):
    audio = noise(2, amplitude)
    level = measure(audio, tmp_path)
    flac = encode(audio, wanted - level.loudness)
    heard, rate = soundfile.read(io.BytesIO(flac))
    assert (rate, heard.shape) == (RATE, audio.shape)
    loudness = pyloudnorm.Meter(rate).integrated_loudness(heard)
    assert loudness == pytest.approx(wanted, abs=0.02)


def test_all_clips_get_softer_where_one_would_clip():
  flat, peaked = Level(-30.0, -25.0), Level(-30.0, -9.0)
  assert common_loudness([flat], -18.0) == -18.0
  # Gain of 8 dB brings the peak of the second to -1 dB.
  assert common_loudness([flat, peaked], -18.0) == -22.0


def test_loudness_of_a_sine_is_as_the_standard_says(tmp_path):
  # BS.1770: a 997 Hz sine at full scale in one channel is -3.01 LKFS.
  time = np.arange(2 * RATE) / RATE
  audio = np.zeros((2 * RATE, 2))
  audio[:, 0] = np.sin(2 * np.pi * 997 * time)
  assert measure(audio, tmp_path).loudness == pytest.approx(-3.01, abs=0.05)


def test_excerpts_are_cut_faded_and_resampled(tmp_path):
  path = studies.write_tone(tmp_path / "a.wav", seconds=5, amplitude=0.5)
  clip = read_clip(path, Excerpt(start=1, seconds=2))
  assert clip.shape == (2 * RATE, 2)
  assert np.array_equal(clip[:, 0], clip[:, 1])
  envelope = np.abs(clip).max(axis=1)
  assert max(envelope[:20].max(), envelope[-20:].max()) < 0.05
  assert envelope[4000:-4000].max() == pytest.approx(0.5, abs=0.01)
  whole = read_clip(path, Excerpt(seconds=float("inf")))
  assert whole.shape == (5 * RATE, 2)
  assert np.abs(whole[-2000:]).max() > 0.4  # not cut, hence not faded


@pytest.mark.parametrize(
  ("audio", "message"),
  [
    (np.zeros((32_000, 1)), "is silent"),
    (np.full((32_000, 1), np.nan), "not finite"),
    (np.ones((1, 1)), "a clip needs 1 s"),
    (noise(1, 0.1)[:, [0, 1, 0]], "has 3 channels"),
  ],
)
def test_audio_that_cannot_be_heard(tmp_path, audio, message):
  path = tmp_path / "a.wav"
  soundfile.write(path, audio, 16_000, subtype="FLOAT")
  with pytest.raises(ValueError, match=message):
    measure(read_clip(path, Excerpt()), path)


def test_files_that_are_no_audio(tmp_path):
  path = tmp_path / "a.wav"
  path.write_bytes(b"RIFF of nothing")
  with pytest.raises(ValueError, match=r"a\.wav"):
    read_clip(path, Excerpt())
  with pytest.raises(ValueError, match="seconds=0"):
    Excerpt(seconds=0)


# ---- comparisons


def test_any_stretch_compares_all_systems_equally_often():
  key = studies.plan(4, 5)
  clips = [
    [key.clips[clip] for clip in two] for two in key.comparisons.values()
  ]
  assert all(first.song == second.song for first, second in clips)
  pairs = [frozenset(clip.system for clip in two) for two in clips]
  assert len(set(zip(pairs, (two[0].song for two in clips), strict=True))) == 30
  turned = [*pairs, *pairs]
  for start in range(30):
    counts = Counter(turned[start : start + 12])
    assert set(counts.values()) == {2} and len(counts) == 6
  firsts = Counter(two[0].system for two in clips)
  assert min(firsts.values()) >= 3  # of 30; no system is always named first


def test_the_seed_decides_ids_and_order():
  first, again, other = (studies.plan(3, 4, seed=s) for s in (1, 1, 2))
  assert first == again
  assert not set(first.clips) & set(other.clips)
  assert first.study != other.study


def test_aspects_are_the_papers_twelve():
  assert len(ASPECTS) == 12
  assert aspects_named(["tempo", "melody"])[0].name == "melody"
  with pytest.raises(ValueError, match="unknown aspects: beauty"):
    aspects_named(["beauty"])


# ---- the study


def test_the_page_does_not_say_which_system_is_which(tmp_path):
  key = studies.make(tmp_path)
  page = (tmp_path / "study" / "page" / "study.html").read_text()
  audio = re.compile(
    r'(<script id="clip-[0-9a-f]{12}" type="text/plain">)\S+?<'
  )
  assert len(audio.findall(page)) == len(key.clips) == 6
  text = audio.sub("", page)
  for secret in (*key.systems, str(tmp_path), ".wav", "seed", key.content):
    assert secret not in text, secret
  read = json.loads(
    re.search(r'<script id="study".*?>(.*?)</script>', page, re.DOTALL)[1]
  )
  assert read["id"] == key.study
  assert {c["id"]: tuple(c["clips"]) for c in read["comparisons"]} == (
    key.comparisons
  )


def test_other_songs_are_another_study(tmp_path):
  first = studies.make(tmp_path / "1")
  again = studies.make(tmp_path / "2")
  assert first == again  # wherever its files are
  other = studies.make(tmp_path / "3", tone={"amplitude": 0.05})
  softer = studies.make(tmp_path / "4", loudness=-20.0)
  assert len({first.study, other.study, softer.study}) == 3


def test_a_key_that_was_changed_is_refused(tmp_path):
  key = studies.make(tmp_path)
  path = tmp_path / "study" / "key.json"
  assert read_key(path) == key
  text = path.read_text()
  path.write_text(text.replace("beta-system", "better-system"))
  with pytest.raises(ValueError, match="was changed"):
    read_key(path)
  path.write_text("{}")
  with pytest.raises(ValueError, match="is not the key of a study"):
    read_key(path)


def test_the_tool(tmp_path, run, capsys):
  folders = studies.write_songs(tmp_path, ("x", "y"), ("a", "b"))
  out = tmp_path / "out"
  with pytest.raises(SystemExit, match=r"no prompt for a, b \(2 of 2 songs\)"):
    run(*folders.values(), "--out", out)
  assert not out.exists()
  run(
    f"ours={folders['x']}",
    folders["y"],
    f"--out={out}",
    "--aspects=musicality",
    "--separate-clips",
  )
  said = capsys.readouterr().out
  assert "2 comparisons of 2 systems by 2 songs" in said
  assert len(list((out / "page" / "clips").glob("*.flac"))) == 4
  assert read_key(out / "key.json").systems == ("ours", "y")
  with pytest.raises(SystemExit, match="exists already"):
    run(*folders.values(), f"--out={out}", "--aspects=musicality")


def test_the_tool_wants_different_names(tmp_path, run):
  with pytest.raises(SystemExit, match="two systems are called x"):
    run(tmp_path / "1" / "x", tmp_path / "2" / "x", "--out", tmp_path)


@pytest.mark.parametrize("per_rater", [0, 7])
def test_more_comparisons_than_there_are(tmp_path, per_rater):
  with pytest.raises(ValueError, match="there are 3 comparisons"):
    studies.make(tmp_path, per_rater=per_rater)
  assert not (tmp_path / "study").exists()
