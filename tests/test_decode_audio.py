"""Codes become sound that is as loud as asked for and nowhere clipped."""

import json

import numpy as np
import pytest
import soundfile

from tests import sounds
from tests.test_encode_audio import random_codec
from tools import decode_audio
from yue_jax.audio import decode, loudness, mel_codec
from yue_jax.audio.loudness import Level

RATE = sounds.RATE


def tone(amplitude, seconds=3.0, hertz=1_000.0, phase=0.0):
  time = np.arange(int(seconds * RATE)) / RATE
  wave = amplitude * np.sin(2 * np.pi * hertz * time + phase)
  return wave.astype(np.float32)


def test_loudness_is_that_of_the_standard():
  # BS.1770: a sine of 997 Hz and full scale in one channel has -3.01 LUFS.
  measured = loudness.loudness(tone(1.0, hertz=997.0), RATE)
  assert measured == pytest.approx(-3.01, abs=0.1)
  assert loudness.loudness(tone(1.0, seconds=0.3), RATE) is None
  assert loudness.loudness(np.zeros(RATE, np.float32), RATE) is None


def test_peaks_between_samples_are_seen():
  # Samples at the eighths of a period, away from its top.
  wave = tone(1.0, hertz=RATE / 4, phase=np.pi / 4)
  assert np.abs(wave).max() == pytest.approx(np.sqrt(0.5), abs=1e-3)
  assert loudness.true_peak(wave[:4_000], RATE) > 0.99


def test_one_gain_for_the_loudness_wanted():
  gain = loudness.gain_for(tone(0.1), {}, RATE, Level(lufs=-20, peak_db=-1))
  assert 20 * np.log10(0.1 * gain) - 3.01 == pytest.approx(-20, abs=0.1)


def test_peaks_come_first():
  level = Level(lufs=-1, peak_db=-6)
  most = 10 ** (-6 / 20)
  gain = loudness.gain_for(tone(0.1), {}, RATE, level)
  assert 0.1 * gain == pytest.approx(most, rel=0.01)
  gain = loudness.gain_for(tone(0.1), {"loud": tone(0.4)}, RATE, level)
  assert 0.4 * gain == pytest.approx(most, rel=0.01)
  gain = loudness.gain_for(tone(0.1, seconds=0.2), {}, RATE, level)
  assert 0.1 * gain == pytest.approx(most, rel=0.02)
  assert loudness.gain_for(np.zeros(RATE, np.float32), {}, RATE, level) == 1


def test_levels_that_would_clip_are_refused():
  with pytest.raises(ValueError, match="would clip"):
    Level(peak_db=1.0)
  with pytest.raises(ValueError, match="would clip"):
    Level(lufs=0.0)


@pytest.fixture
def root(tmp_path):
  mel_codec.save(random_codec(), tmp_path / "codec", {})
  return tmp_path


def write_song(folder, frames=75):
  folder.mkdir(parents=True)
  rng = np.random.default_rng(0)
  for name in ("vtrack.npy", "itrack.npy"):
    codes = rng.integers(0, 16, (2, frames)).astype(np.uint16)
    np.save(folder / name, codes)
  return folder


def run(root, *words):
  decode_audio.main([*map(str, words), f"--codec={root / 'codec'}"])


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_a_song(root, capsys, format):
  stage2 = write_song(root / "song/stage2")
  run(root, root / "song", f"--format={format}")
  waves = {}
  for name in ("vocal", "backing", "mix"):
    path = root / f"song/{name}.{format}"
    assert soundfile.info(path).subtype == "PCM_16"
    waves[name], rate = soundfile.read(path)
    assert rate == 16_000
    assert len(waves[name]) == 75 * 320
    assert np.abs(waves[name]).max() <= 10 ** (-1 / 20) + 1e-4
  np.testing.assert_allclose(
    waves["vocal"] + waves["backing"], waves["mix"], atol=1e-4
  )
  described = json.loads((root / "song/sound.json").read_text())
  gain = 10 ** (described["gain_db"] / 20)
  vocal = random_codec().decode(np.load(stage2 / "vtrack.npy"))
  np.testing.assert_allclose(waves["vocal"], gain * vocal, atol=1e-4)
  lufs = described["loudness_lufs"]
  peak = max(described["true_peak"].values())
  # As loud as asked for, or as the peaks allow.
  assert lufs == pytest.approx(-14, abs=0.1) or peak == pytest.approx(
    10 ** (-1 / 20), rel=1e-3
  )
  assert "1.50 s" in capsys.readouterr().out


def test_codes_alone_and_several_songs(root):
  write_song(root / "a")
  np.save(root / "b.npy", np.zeros((2, 30), np.int16))
  run(root, root / "a", root / "b.npy", f"--out={root / 'out'}")
  assert (root / "out/a/mix.wav").is_file()
  assert soundfile.info(root / "out/b/b.wav").frames == 30 * 320
  run(root, root / "b.npy")
  assert soundfile.info(root / "b.wav").frames == 30 * 320


def test_what_cannot_be_decoded(root):
  with pytest.raises(SystemExit, match=r"nothing has no stage2/vtrack.npy"):
    run(root, root / "nothing")
  (root / "begun").mkdir()
  (root / "begun/song.json.unfinished").write_text("{}")
  with pytest.raises(SystemExit, match="--resume finishes the song"):
    run(root, root / "begun")
  np.save(root / "one.npy", np.zeros((1, 30), np.int16))
  with pytest.raises(SystemExit, match=r"one.npy: codes of shape \(1, 30\)"):
    run(root, root / "one.npy")
  np.save(root / "high.npy", np.full((2, 30), 900))
  with pytest.raises(SystemExit, match=r"this codec has 0..15"):
    run(root, root / "high.npy")
  write_song(root / "uneven")
  np.save(root / "uneven/itrack.npy", np.zeros((2, 30), np.int16))
  with pytest.raises(SystemExit, match="do not go together"):
    run(root, root / "uneven")
  with pytest.raises(SystemExit, match="songs of one name"):
    run(root, root / "x/a", root / "y/a", f"--out={root / 'out'}")


def test_nothing_is_left_of_what_could_not_be_written(root, monkeypatch):
  write_song(root / "song")

  def full(path, *_, **__):
    path.write_bytes(b"part")
    raise soundfile.LibsndfileError(2)

  monkeypatch.setattr(decode.soundfile, "write", full)
  with pytest.raises(SystemExit, match="could not be written"):
    run(root, root / "song")
  assert {p.name for p in (root / "song").iterdir()} == {
    *("vtrack.npy", "itrack.npy")
  }
