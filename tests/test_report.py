"""A report shows what is there, says what is not, and needs nothing else."""

import base64
import io
import json
import re
import wave

import numpy as np
import pytest

from tests import tiny
from tests.browser import CHROMIUM, Browser
from tests.conftest import ROOT
from yue_jax import config
from yue_jax.rehearsal.folder import step_folder
from yue_jax.rehearsal.folder import write_song as write_rehearsed
from yue_jax.report import curves, page, png, songs
from yue_jax.report.curves import Level, Series
from yue_jax.report.runs import read_runs
from yue_jax.sampling import song_folder
from yue_jax.sampling.song import SongSection


def write_run(path, *, evaluations=True, goodput=True, steps=20):
  """What a run leaves behind whose vocal loss is 10 / step."""
  path.mkdir(parents=True)
  cfg = config.from_config_dict(
    tiny.run_dict(phases=[tiny.phase_dict(steps=20)])
  )
  (path / "config.json").write_text(json.dumps(config.to_json(cfg)))
  records = []
  for step in range(2, steps + 1, 2):
    loss = {"loss": 5 / step, "loss/vocal": 10 / step}
    train = {"grad_norm": 1.0, "learning_rate": 1e-3, "skipped": 0, "mfu": None}
    train["tokens_per_second"] = 100.0
    records.append({"step": step, "kind": "train", **loss, **train})
    if evaluations and step % 10 == 0:
      records.append({"step": step, "kind": "eval/heldout", **loss})
  write_lines(path / "metrics.jsonl", records)
  if goodput:
    spent = {"time": 9.0, "step": steps, "seconds": {"start": 1.0, "step": 3.0}}
    write_lines(path / "goodput.jsonl", [{**spent, "resumed_at": 0}])
  return path


def write_lines(path, records):
  path.write_text("".join(json.dumps(r) + "\n" for r in records))


def write_song(folder) -> bytes:
  """A song of tools/generate.py with a sound file, whose bytes it returns."""
  text, frames = "[verse]\nla <b>mi</b>\n\n", 6
  sections = [SongSection(np.arange(frames), np.arange(frames) + 9)]
  described = dict.fromkeys(song_folder._DECIDING, "") | {"tags": "pop & airy"}
  tracks = [np.tile(np.arange(frames), (8, 1))] * 2
  song_folder.write_sections(folder, described, [text], sections)
  song_folder.write_whole(folder, described, [text], sections, tracks)
  sound = io.BytesIO()
  with wave.open(sound, "wb") as file:
    file.setparams((1, 2, 16000, 0, "NONE", ""))
    file.writeframes(bytes(320))
  (folder / "mix.wav").write_bytes(sound.getvalue())
  return sound.getvalue()


def report(monkeypatch, *arguments) -> None:
  monkeypatch.syspath_prepend(ROOT / "tools")
  import report as tool

  tool.main([str(a) for a in arguments])


@pytest.fixture
def made(tmp_path, monkeypatch):
  """The page of two runs, one of which has everything, and one nearly none."""
  write_run(tmp_path / "runs/full")
  write_run(tmp_path / "runs/young", evaluations=False, goodput=False, steps=10)
  bounds = {"floor": {"vocal": 0.25}, "baseline": {"vocal": 1.5}}
  (tmp_path / "runs/scores.json").write_text(json.dumps({"full": bounds}))
  sound = write_song(tmp_path / "runs/song")
  out = tmp_path / "report.html"
  runs = tmp_path / "runs/full", tmp_path / "runs/young"
  report(monkeypatch, *runs, "--out", out)
  return out, sound


def test_a_page_has_all_of_the_runs_and_loads_nothing(made):
  text, sound = made[0].read_text(), made[1]
  assert "://" not in text
  for source in re.findall(r"(?:src|href)=['\"]?([^'\" >]+)", text):
    assert source.startswith("data:")
  assert "<td>20 of 20" in text and "<td>10 of 20" in text
  assert "<td>2.56k" in text  # tokens: 20 steps of 8 rows of 16
  assert "heldout 0.250" in text and "<td>75.0%" in text
  assert "young has no evaluations, no goodput.jsonl, no floors" in text
  assert "floor 0.25" in text
  assert "la &lt;b&gt;mi&lt;/b&gt;" in text and "pop &amp; airy" in text
  [embedded] = re.findall(r"data:audio/wav;base64,([^'\"]+)", text)
  assert base64.b64decode(embedded) == sound


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page in")
def test_a_keyboard_reads_the_curves_and_hides_runs(made):
  focus = "document.querySelectorAll('figure.chart')[1].focus()"
  read = "document.activeElement.querySelector('output').textContent"
  with Browser() as browser:
    browser.open(made[0])
    assert not [e for e in browser.events if e["method"] == "Log.entryAdded"]
    browser.run(focus)
    browser.press("ArrowLeft")
    browser.until(f"{read} === '18:full 0.55556full heldout 0.5young 1'")
    browser.run("document.getElementById('show1').focus()")
    browser.press(" ")
    shown = "getComputedStyle(document.querySelector('.run{}')).display"
    browser.until(f"{shown.format(1)} === 'none'")
    assert browser.run(shown.format(0)) != "none"
    browser.run(focus)
    browser.press("ArrowRight")
    browser.until(f"{read} === '20:full 0.5full heldout 0.5'")


def test_by_tokens_and_with_large_sounds_named(tmp_path, monkeypatch):
  run = write_run(tmp_path / "a")
  write_song(tmp_path / "song")
  out = tmp_path / "page.html"
  report(monkeypatch, run, "--out", out, "--by=tokens", "--sound-mib=0")
  text = out.read_text()
  assert "&quot;x&quot;:[256.0,512.0," in text
  assert "mix.wav (0 MiB) is too large" in text and "<audio" not in text


def empty(path):
  path.mkdir()


def no_steps(path):
  write_run(path, steps=0)


def cut_config(path):
  write_run(path)
  (path / "config.json").write_text('{"seed": 0')


def cut_within(path):
  metrics = write_run(path) / "metrics.jsonl"
  first, *rest = metrics.read_text().splitlines(keepends=True)
  metrics.write_text("".join([first, rest[0][:20], *rest[1:]]))


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda path: None, "is no directory on this machine"),
    (empty, "holds no config.json; expected the directory of a run"),
    (no_steps, "no step is in metrics.jsonl yet"),
    (cut_config, "config.json is damaged"),
    (cut_within, "metrics.jsonl, line 2 is damaged"),
  ],
)
def test_what_is_no_run_is_refused(tmp_path, monkeypatch, make, message):
  make(tmp_path / "x")
  with pytest.raises(SystemExit, match=f"report: .*{message}"):
    report(monkeypatch, tmp_path / "x", "--out", tmp_path / "page.html")
  assert not (tmp_path / "page.html").exists()


def test_a_run_without_a_step_is_shown_beside_others(tmp_path, monkeypatch):
  runs = [
    write_run(tmp_path / name, steps=s) for name, s in (("a", 0), ("b", 4))
  ]
  report(monkeypatch, *runs, "--out", tmp_path / "page.html")
  text = (tmp_path / "page.html").read_text()
  assert "<td>0 of 20<td>0<td>none yet<td>none" in text
  assert "a has no steps, no evaluations" in text
  assert "MFU" not in text  # of which nothing is known


def test_a_last_line_that_is_being_written_is_left_out(tmp_path):
  metrics = write_run(tmp_path / "x") / "metrics.jsonl"
  metrics.write_text(metrics.read_text()[:-30])
  [run] = read_runs([tmp_path / "x"])
  assert run.step == 20 and len(run.evaluations["heldout"]) == 1


def test_runs_of_one_name_are_told_apart(tmp_path):
  paths = [write_run(tmp_path / parent / "s1") for parent in "ab"]
  assert [run.name for run in read_runs(paths)] == ["a/s1", "b/s1"]
  with pytest.raises(ValueError, match="given twice"):
    read_runs([paths[0], paths[0]])


def test_songs_of_the_world_have_the_words_that_were_heard(tmp_path):
  folder = tmp_path / "songs/s1"
  folder.mkdir(parents=True)
  for name in song_folder.TRACKS:
    np.save(folder / name, np.arange(10).reshape(2, 5))
  song = {
    "tags": "jazz",
    "sections": ["[a]\nx y", "[b]\nz"],
    "frames": [3, 2],
    "words": [["x", "y"], ["q"]],
  }
  (folder / "song.json").write_text(json.dumps(song))
  assert songs.beside(tmp_path / "run") == [folder]
  (tmp_path / "wav").mkdir()
  for name in ("s1.wav", "s1.true.wav", "s2.wav"):
    (tmp_path / "wav" / name).write_bytes(b"RIFF")
  sample = songs.read_sample(folder)
  assert [p.name for p in sample.sounds] == ["s1.wav", "s1.true.wav"]
  one, two = sample.sections
  assert (one.heard, two.heard) == ("x y", "q")
  np.testing.assert_array_equal(two.codes[1], [[3, 4], [8, 9]])
  (folder / "song.json").write_text(json.dumps(song | {"frames": [3, 9]}))
  with pytest.raises(ValueError, match="codes of 5 frames, and describes 12"):
    songs.read_sample(folder)
  (folder / "song.json").write_text('{"words": ')
  with pytest.raises(ValueError, match=r"song\.json is damaged"):
    songs.read_sample(folder)


def test_songs_of_a_run_come_with_the_last_step_first(tmp_path):
  run = write_run(tmp_path / "a")
  with (run / "metrics.jsonl").open("a") as file:
    for step in (10, 20):
      record = {"step": step, "kind": "songs", "lyric_error_rate": 1 / step}
      file.write(json.dumps(record) + "\n")
  for step in (10, 20):
    described = {
      "tags": "pop",
      "step": step,
      "frames": 4,
      "sections": [{"text": "[a]\nx", "start": 1, "end": 4, "words": ["y"]}],
    }
    tracks = [np.arange(4), np.arange(4)]
    place = step_folder(run, step) / "s1"
    write_rehearsed(place, described, tracks, wav=b"RIFF")
  write_song(tmp_path / "songs/untrained/x")
  write_song(tmp_path / "songs/x")
  first, second, *others = map(songs.read_sample, songs.beside(run))
  assert [s.folder.parent.name for s in others] == ["songs", "untrained"]
  assert (first.step, second.step) == (20, 10)
  assert [s.heard for s in first.sections] == ["y"]
  assert [path.name for path in first.sounds] == ["song.wav"]
  np.testing.assert_array_equal(first.sections[0].codes[0], [[1, 2, 3]])
  text = page.page(read_runs([run]), [first, second], by="steps", sound_bytes=9)
  assert "lyric error rate" in text and "step 20" in text


def test_codes_are_pixels_of_their_own_colour():
  image = pytest.importorskip("PIL.Image", reason="no Pillow to read pictures")
  codes = np.array([[0, 1, 0], [7, png.BLANK, 1]])
  with image.open(io.BytesIO(png.picture(codes))) as file:
    pixels = np.asarray(file.convert("RGBA"))
  assert pixels.shape == (2, 3, 4)
  same = (pixels[:, :, None, None] == pixels).all(-1)
  np.testing.assert_array_equal(same, codes[:, :, None, None] == codes)
  np.testing.assert_array_equal(pixels[..., 3] == 0, codes == png.BLANK)


def test_curves_are_where_their_values_are():
  line = Series(
    run=0, name="a", x=np.array([0.0, 1, 10]), y=np.array([0.0, 0, 4])
  )
  level = Level(run=0, kind="floor", y=2.1)
  figure = curves.chart("loss", [line], [level], unit="nats")
  [points] = re.findall(r"points='([^']+)'", figure)
  left, _, right = (
    [float(v) for v in point.split(",")] for point in points.split()
  )
  [floor] = re.findall(r"r0 floor' x1=46 x2=452 y1=([\d.]+)", figure)
  assert (left, right[0]) == ([46.0, 188.0], 452.0)
  assert float(floor) == pytest.approx(
    left[1] + (right[1] - left[1]) * 2.1 / 4, abs=0.1
  )


def test_only_long_curves_are_cut_off_where_they_begin():
  def top(points: int) -> float:
    """How far below the upper edge a first value of 9 is, others being 1."""
    y = np.ones(points)
    y[0] = 9.0
    line = Series(run=0, name="a", x=np.arange(points), y=y)
    figure = curves.chart("loss", [line], unit="nats")
    [drawn] = re.findall(r"points='([^']+)'", figure)
    return float(drawn.split()[0].split(",")[1]) - curves._TOP

  assert top(4) > 0 > top(40)


def test_long_curves_are_thinned_to_means_or_peaks():
  x, y = np.arange(4000.0), np.zeros(4000)
  y[1234], y[0] = 10.0, np.nan
  places, means = curves.thin(x, y)
  assert len(places) == 400 and means.max() == pytest.approx(1.0)
  assert curves.thin(x, y, np.max)[1].max() == 10.0
  assert places[-1] == 3999


@pytest.mark.parametrize(
  ("value", "expected"),
  [(0, "0"), (1500, "1.5k"), (2e9, "2B"), (3e-4, "3e-4"), (0.476, "0.476")],
)
def test_numbers_are_short(value, expected):
  assert curves.short(value) == expected


def test_ticks_are_round_numbers():
  assert curves.ticks(0, 1.1, 4) == [0, 0.5, 1]
  assert curves.ticks(97, 203, 4) == [100, 150, 200]
