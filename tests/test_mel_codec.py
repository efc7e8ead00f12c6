"""The embedded codec: spectra against scipy, quantisation, fitting, files."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.signal
import soundfile

from tests import sounds
from tools import fit_codec
from yue_jax.audio import fitting, mel_codec, opening, spectra
from yue_jax.audio.fitting import FitSettings
from yue_jax.audio.mel_codec import MelCodec

SETTINGS = FitSettings(codebooks=3, codebook_size=16, mels=20)


@pytest.fixture(scope="module")
def fitted():
  frames = mel_codec.log_mels(sounds.voice(12.0, seed=0), SETTINGS.mels)
  return fitting.fit(frames, SETTINGS)


def test_spectra_are_those_of_scipy():
  rng = np.random.default_rng(0)
  samples = rng.normal(size=12 * spectra.HOP).astype(np.float32)
  _, _, theirs = scipy.signal.stft(
    np.pad(samples, (spectra.WINDOW - spectra.HOP) // 2),
    window="hann",
    nperseg=spectra.WINDOW,
    noverlap=spectra.WINDOW - spectra.HOP,
    boundary=None,
    padded=False,
  )
  ours = spectra.stft(samples)
  assert ours.shape == (12, spectra.BINS)
  # Theirs are divided by the sum of the window.
  np.testing.assert_allclose(2 * ours / spectra.WINDOW, theirs.T, atol=1e-6)
  np.testing.assert_allclose(spectra.istft(ours), samples, atol=1e-5)


def test_a_sine_has_the_magnitude_of_its_amplitude():
  time = np.arange(50 * spectra.HOP) / 16_000
  samples = 0.25 * np.sin(2 * np.pi * 1_000 * time)  # bin 64 of 15.625 Hz
  magnitudes = np.abs(spectra.stft(samples)) * spectra.SCALE
  assert magnitudes[25].argmax() == 64
  assert magnitudes[25, 64] == pytest.approx(0.25, rel=1e-3)


def test_mel_filters():
  filters = spectra.mel_filters(40, 16_000)
  np.testing.assert_allclose(filters.sum(1), 1, rtol=1e-6)
  peaks = filters.argmax(1) * 16_000 / spectra.WINDOW
  # 1,000 Hz are 1,000 mels, and 40 centres divide 0..2,840 into 41 steps.
  mels = 2_840 * np.arange(1, 41) / 41
  np.testing.assert_allclose(
    peaks, 700 * (10 ** (mels / 2_595) - 1), atol=16_000 / spectra.WINDOW
  )
  with pytest.raises(ValueError, match="ask for fewer"):
    spectra.mel_filters(400, 16_000)


def test_magnitudes_have_the_mels_they_are_made_of():
  filters = spectra.mel_filters(40, 16_000)
  rng = np.random.default_rng(0)
  smooth = np.exp(rng.normal(size=(5, 40))) @ filters
  mels = smooth.astype(np.float32) @ filters.T
  found = spectra.magnitudes_of_mels(mels, filters, iterations=200)
  assert (found >= 0).all()
  np.testing.assert_allclose(found @ filters.T, mels, rtol=0.05)


def test_griffin_lim_finds_phases_that_agree():
  wave = sounds.voice(1.0, seed=0)
  magnitudes = np.abs(spectra.stft(wave))
  errors = []
  for iterations in (0, 16):
    rng = np.random.default_rng(0)
    found = spectra.griffin_lim(magnitudes, rng, iterations=iterations)
    error = np.abs(spectra.stft(found)) - magnitudes
    errors.append(np.linalg.norm(error) / np.linalg.norm(magnitudes))
  assert errors[0] > 0.3
  assert errors[1] < 0.2


def test_distance_in_db():
  wave = sounds.voice(1.0, seed=0) + sounds.voice(1.0, seed=1)
  assert spectra.log_spectral_distance(wave, wave) == 0
  tenth = spectra.log_spectral_distance(wave, wave / 10, floor=1e-9)
  assert tenth == pytest.approx(20, rel=1e-4)


def test_log_mels_do_not_depend_on_blocks(monkeypatch):
  wave = sounds.voice(1.01, seed=0)
  whole = mel_codec.log_mels(wave, 20)
  assert whole.shape == (51, 20)
  monkeypatch.setattr(mel_codec, "_BLOCK", 7)
  np.testing.assert_allclose(mel_codec.log_mels(wave, 20), whole, atol=1e-5)


def test_quantisation_is_greedy():
  rng = np.random.default_rng(0)
  centroids = rng.normal(size=(3, 8, 5)).astype(np.float32)
  vectors = rng.normal(size=(20, 5)).astype(np.float32)
  codes = mel_codec.quantise(vectors, centroids)
  for vector, column in zip(vectors, codes.T, strict=True):
    rest = vector
    for book, code in zip(centroids, column, strict=True):
      assert code == np.argmin([np.linalg.norm(rest - c) for c in book])
      rest = rest - book[code]
  np.testing.assert_allclose(
    mel_codec.dequantise(codes, centroids),
    sum(centroids[k][codes[k]] for k in range(3)),
  )


def test_every_codebook_brings_frames_nearer(fitted):
  codec, left = fitted
  assert left == sorted(left, reverse=True)
  assert left[0] < 0.4
  assert left[-1] < 0.2
  wave = sounds.voice(2.0, seed=0)
  (codes,) = codec.encode([wave])
  assert codes.shape == (3, 100)
  decoded = codec.decode(codes)
  assert decoded.shape == wave.shape
  noise = np.random.default_rng(0).normal(0, wave.std(), wave.shape)
  near = spectra.log_spectral_distance(wave, decoded)
  assert near < spectra.log_spectral_distance(wave, noise) / 2
  np.testing.assert_array_equal(codec.decode(codes), decoded)


def test_codes_that_are_not_used_have_a_sound():
  frames = mel_codec.log_mels(sounds.voice(1.0, seed=0), SETTINGS.mels)
  codec, _ = fitting.fit(frames, SETTINGS)
  assert codec.used == 45 // 8
  assert codec.codebook_size == 16
  (codes,) = codec.encode([sounds.voice(1.0, seed=0)])
  assert codes.max() == codec.used - 1
  fewer = dataclasses.replace(codec, used=2)
  assert fewer.encode([sounds.voice(1.0, seed=0)])[0].max() == 1
  np.testing.assert_array_equal(
    codec.decode(codes + codec.used), codec.decode(codes)
  )


def test_what_a_waveform_becomes_is_its_own_affair(fitted):
  codec, _ = fitted
  waves = [sounds.voice(seconds, seed=3) for seconds in (1.0, 0.505)]
  together = codec.encode(waves)
  assert [codes.shape[1] for codes in together] == [50, 26]
  for codes, wave in zip(together, waves, strict=True):
    np.testing.assert_array_equal(codec.encode([wave])[0], codes)


def test_the_same_seed_gives_the_same_codec(fitted):
  frames = mel_codec.log_mels(sounds.voice(12.0, seed=0), SETTINGS.mels)
  again, _ = fitting.fit(frames, SETTINGS)
  assert again.fingerprint() == fitted[0].fingerprint()


@pytest.mark.parametrize(
  ("codes", "message"),
  [
    (np.zeros((2, 5), int), r"shape \(2, 5\), expected \(3, frames\)"),
    (np.zeros((3, 0), int), "expected"),
    (np.zeros((3, 5)), "expected integers"),
    (np.full((3, 5), 16), r"span 16..16, this codec has 0..15"),
    (np.full((3, 5), -1), r"span -1..-1"),
  ],
)
def test_codes_that_the_codec_does_not_have(fitted, codes, message):
  with pytest.raises(ValueError, match=message):
    fitted[0].decode(codes)


def test_on_disk(fitted, tmp_path):
  codec, _ = fitted
  mel_codec.save(codec, tmp_path / "codec", {"seconds": 12.0})
  loaded = opening.load_codec(str(tmp_path / "codec"))
  assert isinstance(loaded, MelCodec)
  assert loaded.fingerprint() == codec.fingerprint()
  arrays = tmp_path / "codec/codebooks.safetensors"
  content = bytearray(arrays.read_bytes())
  content[-1] ^= 1
  arrays.write_bytes(content)
  with pytest.raises(ValueError, match="damaged codec: fingerprint"):
    mel_codec.load(tmp_path / "codec")
  arrays.write_bytes(content[:50])
  with pytest.raises(ValueError, match="damaged codec"):
    mel_codec.load(tmp_path / "codec")
  with pytest.raises(ValueError, match="holds no codec"):
    opening.load_codec(str(tmp_path))


def test_the_tool(tmp_path, capsys):
  folder = tmp_path / "songs/album"
  folder.mkdir(parents=True)
  soundfile.write(folder / "a.wav", sounds.voice(5.0, seed=0), 16_000)
  soundfile.write(folder / "b.flac", sounds.voice(5.0, seed=1), 16_000)
  (folder / "c.mp3").write_text("no sound")
  soundfile.write(folder / "0.wav", np.ones(1), 16_000)
  broken = np.append(sounds.voice(5.0, seed=2), np.nan)
  soundfile.write(folder / "nan.wav", broken, 16_000, subtype="FLOAT")
  out = tmp_path / "codec"
  flags = ["--codebooks=2", "--mels=20", f"--out={out}", "--frames=400"]
  fit_codec.main([str(tmp_path / "songs"), *flags])
  said = capsys.readouterr()
  for reason in ("undecodable", "too_short", "not_finite"):
    assert f"rejected: {reason}" in said.err
  description = json.loads((out / "codec.json").read_text())
  # Headers have 750 frames, of which 400 would be drawn; 500 are good.
  assert 200 <= description["fitted"]["frames"] <= 320
  # A tenth is held back, and a centroid wants eight.
  frames = description["fitted"]["frames"]
  assert description["used"] == (frames - -(-frames // 10)) // 8
  assert description["codebook_size"] == 1024
  assert "more sound would use more" in said.out
  assert description["fitted"]["files"] == 2
  assert description["fitted"]["seconds"] == 10
  rejected = [r["path"] for r in description["fitted"]["rejected"]]
  names = sorted(path.rpartition("/")[2] for path in rejected)
  assert names == ["0.wav", "c.mp3", "nan.wav"]
  with pytest.raises(SystemExit, match="exists; choose another"):
    fit_codec.main([str(tmp_path / "songs"), *flags])
  with pytest.raises(SystemExit, match="no sound in"):
    fit_codec.main([str(out), f"--out={tmp_path / 'other'}"])


def test_too_little_sound():
  with pytest.raises(ValueError, match="15 frames of sound are too few"):
    fitting.codes_for(15, SETTINGS)
