"""Sounds of every format are read, and bad ones are refused with a reason."""

import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr

from yue_jax.audio import reading
from yue_jax.audio.reading import Limits, read_audio
from yue_jax.errors import SongError

LIMITS = Limits(min_seconds=0.5, max_seconds=3.0)


def tone(seconds=2.0, rate=44_100, hertz=440.0, channels=2):
  time = np.arange(int(seconds * rate)) / rate
  wave = 0.5 * np.sin(2 * np.pi * hertz * time)
  return np.tile(wave[:, None], (1, channels)).astype(np.float32)


def write(path, samples, rate=44_100, **options):
  soundfile.write(path, samples, rate, **options)
  return path


def reason(path, limits=LIMITS):
  with pytest.raises(SongError) as caught:
    read_audio(path, limits)
  assert str(path) in str(caught.value)
  return caught.value.reason


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_every_format_and_rate(tmp_path, suffix, rate):
  path = write(tmp_path / f"a.{suffix}", tone(rate=rate), rate)
  samples = read_audio(path, LIMITS).samples
  assert samples.dtype == np.float32
  assert abs(len(samples) - 32_000) < 16 + 4000 * (suffix == "mp3")
  middle = samples[8_000:24_000]
  spectrum = np.abs(np.fft.rfft(middle)) / len(middle)
  assert np.argmax(spectrum) == 440  # Hz: the middle is a second
  assert 2 * spectrum.max() == pytest.approx(0.5, abs=0.01)


def test_blocks_are_the_whole_resampled_at_once(tmp_path, monkeypatch):
  rng = np.random.default_rng(0)
  noise = rng.uniform(-0.5, 0.5, (70_001, 2)).astype(np.float32)
  path = write(tmp_path / "a.wav", noise, subtype="FLOAT")
  whole = soxr.resample(noise.mean(1), 44_100, 16_000)
  monkeypatch.setattr(reading, "_BLOCK", 10_000)
  blocks = list(reading.read_blocks(path))
  assert len(blocks) > 10
  np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-5)


def test_channels_are_averaged(tmp_path):
  left = tone(channels=1, rate=16_000)
  path = write(tmp_path / "a.wav", np.hstack([left, -left / 2]), 16_000)
  samples = read_audio(path, LIMITS).samples
  np.testing.assert_allclose(samples, left[:, 0] / 4, atol=1e-4)


def test_bad_sounds_have_reasons(tmp_path):
  bad = tone()
  bad[50_000, 1] = np.nan
  infinite = tone()
  infinite[-1] = np.inf
  as_float = {"subtype": "FLOAT"}
  assert reason(write(tmp_path / "nan.wav", bad, **as_float)) == "not_finite"
  path = write(tmp_path / "inf.wav", infinite, **as_float)
  assert reason(path) == "not_finite"
  assert reason(write(tmp_path / "quiet.flac", tone() * 1e-3)) == "silent"
  assert reason(write(tmp_path / "one.wav", tone()[:1])) == "too_short"
  assert reason(write(tmp_path / "none.wav", tone()[:0])) == "too_short"
  assert reason(write(tmp_path / "long.ogg", tone(3.1))) == "too_long"
  assert reason(write(tmp_path / "loud.wav", 3 * tone())) == "clipped"
  assert reason(tmp_path / "missing.wav") == "missing_file"
  (tmp_path / "text.wav").write_text("la la la")
  assert reason(tmp_path / "text.wav") == "undecodable"
  (tmp_path / "empty.mp3").write_bytes(b"")
  assert reason(tmp_path / "empty.mp3") == "undecodable"
  (tmp_path / "song.txt").write_text("la la la")
  assert reason(tmp_path / "song.txt") == "wrong_extension"
  write(tmp_path / "a.flac", tone()).rename(tmp_path / "renamed.wav")
  assert reason(tmp_path / "renamed.wav") == "wrong_extension"


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("left", [0.5, 0.9])
def test_files_that_break_off(tmp_path, suffix, left):
  rng = np.random.default_rng(0)
  path = write(tmp_path / f"a.{suffix}", rng.normal(0, 0.1, 100_000))
  content = path.read_bytes()
  path.write_bytes(content[: int(left * len(content))])
  assert reason(path) == "truncated"


def without_count(path, samples, **options):
  """An MP3 whose first frame, which holds the count, is missing."""
  content = write(path, samples, **options).read_bytes()
  second = content.index(b"\xff\xfb", 4)  # frames begin with a sync word
  path.write_bytes(content[second:])
  assert not reading._counts_frames(path)
  tag = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)
  tagged = path.with_name("tagged.mp3")
  tagged.write_bytes(tag + content)
  assert reading._counts_frames(tagged)
  return path


def test_mp3_without_a_count_of_frames(tmp_path):
  constant = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}
  path = without_count(tmp_path / "a.mp3", tone(), **constant)
  assert len(read_audio(path, LIMITS).samples) > 31_000
  # A loud start makes libsndfile guess that all frames are as large.
  noise = np.random.default_rng(0).normal(0, 0.2, 120_000)
  noise *= np.arange(120_000) < 30_000
  variable = {"bitrate_mode": "VARIABLE", "compression_level": 0.0}
  path = without_count(tmp_path / "b.mp3", noise, **variable)
  assert reason(path) == "undecodable"


def test_clipped_samples_are_counted(tmp_path, monkeypatch):
  samples = np.zeros((10_000, 2), np.float32)
  samples[:, :] = 0.1
  samples[2_000:2_002] = 1.0  # two are a peak
  samples[3_000:3_005, 0] = -1.0
  samples[4_998:5_001, 1] = 1.0
  path = write(tmp_path / "a.wav", samples, 16_000)
  monkeypatch.setattr(reading, "_BLOCK", 2 * 4_999)  # cuts the last run
  assert read_audio(path, LIMITS).clipped == 8 / 20_000


def test_eight_hours_are_refused_in_little_memory(tmp_path, monkeypatch):
  path = tmp_path / "night.wav"
  hours = 8 * 3600 * 1_000
  with soundfile.SoundFile(path, "w", 1_000, 1, "PCM_U8") as file:
    for _ in range(100):
      file.write(np.full(hours // 100, 0.5, np.float32))
  tracemalloc.start()
  assert reason(path, Limits()) == "too_long"
  # As if the header had lied: found out while it is decoded.
  monkeypatch.setattr(reading, "_expect_at_most", lambda *_: None)
  with reading._opened(path) as file:
    assert file.frames == hours
  total = sum(len(block) for block in reading.read_blocks(path, rate=1_000))
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert total == hours
  assert peak < 2**25


def test_a_header_that_lies_is_not_believed(tmp_path, monkeypatch):
  path = write(tmp_path / "a.wav", tone(3.1))
  seen = []

  def check(path, seconds, limits):
    seen.append(seconds)
    if len(seen) > 1 and seconds > limits.max_seconds:
      raise SongError("too_long", str(path))

  monkeypatch.setattr(reading, "_expect_at_most", check)
  assert reason(path) == "too_long"
