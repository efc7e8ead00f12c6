"""X-Codec on a random model of a few thousand weights, as transformers' own."""

import json

import numpy as np
import pytest

from tests import sounds
from tools import encode_audio

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from yue_jax.audio import codecs, opening, xcodec  # noqa: E402

HOP = 320


def tiny_model(**changes):
  ratios = [8, 5, 4, 2]
  acoustic = {
    "model_type": "dac",
    "encoder_hidden_size": 4,
    "downsampling_ratios": ratios,
    "decoder_hidden_size": 16,
    "upsampling_ratios": ratios,
    "hidden_size": 8,
  }
  semantic = {
    "model_type": "hubert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
  }
  cfg = transformers.XcodecConfig(
    acoustic_model_config=acoustic,
    semantic_model_config=semantic,
    codebook_size=16,
    target_bandwidths=[1.6, 2.5],  # 8 and 12 codebooks of 4 bits
    **changes,
  )
  torch.manual_seed(0)
  model = transformers.XcodecModel(cfg).eval()
  for quantizer in model.quantizer.quantizers:  # all zeros at first
    quantizer.codebook.embed.normal_(0, 0.1)
  return model


@pytest.fixture(scope="module")
def model():
  return tiny_model()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
  path = tmp_path_factory.mktemp("xcodec")
  model.save_pretrained(path)
  return path


def theirs(model, wave):
  with torch.no_grad():
    return model.encode(torch.from_numpy(wave)[None, None]).audio_codes[0]


def test_codes_and_sound_are_those_of_transformers(model, folder):
  codec: codecs.Codec = opening.load_codec(str(folder))
  assert (codec.codebooks, codec.codebook_size) == (8, 16)
  waves = [sounds.voice(s, seed=i) for i, s in enumerate((1.0, 2.0, 1.0))]
  found = codec.encode(waves)
  for wave, codes in zip(waves, found, strict=True):
    expected = theirs(model, wave)
    assert expected.shape == (12, len(wave) // HOP)
    np.testing.assert_array_equal(codes, expected[:8])
    assert codes.dtype == np.uint16
    assert len(np.unique(codes)) > 4
    with torch.no_grad():
      sound = model.decode(expected[None, :8]).audio_values[0, 0]
    np.testing.assert_allclose(codec.decode(codes), sound, atol=1e-6)


def test_a_last_frame_is_filled_with_silence(model):
  codec = xcodec.XCodec(model)
  wave = sounds.voice(1.0, seed=0)[:15_500]
  (codes,) = codec.encode([wave])
  np.testing.assert_array_equal(
    codes, theirs(model, np.pad(wave, (0, 180)))[:8]
  )


def test_long_sounds_in_windows(model, monkeypatch):
  codec = xcodec.XCodec(model)
  wave = sounds.voice(4.0, seed=0)
  (whole,) = codec.encode([wave])
  sound = codec.decode(whole)
  monkeypatch.setattr(xcodec, "_WINDOW", 80)
  monkeypatch.setattr(xcodec, "_CONTEXT", 20)
  codes, short = codec.encode([wave, wave[: 30 * HOP]])
  assert short.shape == (8, 30)
  assert codes.shape == (8, 200)
  for start, first, last in ((0, 0, 60), (80, 100, 140), (120, 140, 200)):
    window = theirs(model, wave[start * HOP : (start + 80) * HOP])
    np.testing.assert_array_equal(
      codes[:, first:last], window[:8, first - start : last - start]
    )
  # The decoder sees less than the context: windows change nothing.
  np.testing.assert_allclose(codec.decode(whole), sound, atol=1e-6)


def test_windows(monkeypatch):
  assert xcodec._windows(3_000) == [
    ((0, 1500), (0, 1450)),
    ((1400, 2900), (1450, 2850)),
    ((1500, 3000), (2850, 3000)),
  ]
  assert xcodec._windows(1500) == [((0, 1500), (0, 1500))]
  assert xcodec._windows(7) == [((0, 7), (0, 7))]
  monkeypatch.setattr(xcodec, "_WINDOW", 8)
  monkeypatch.setattr(xcodec, "_CONTEXT", 2)
  for frames in range(1, 60):
    windows = xcodec._windows(frames)
    kept = [
      frame for _, (first, last) in windows for frame in range(first, last)
    ]
    assert kept == list(range(frames))
    for (start, stop), (first, last) in windows:
      assert stop - start == min(frames, 8)
      assert first - start >= 2 or first == 0
      assert stop - last >= 2 or last == frames


def test_the_fingerprint_is_of_the_weights(model, folder):
  codec = xcodec.load(str(folder))
  assert codec.fingerprint() == xcodec.XCodec(model).fingerprint()
  other = xcodec.load(str(folder))
  with torch.no_grad():
    other._model.fc.bias[0] += 1
  assert other.fingerprint() != codec.fingerprint()


def test_other_models_are_refused(tmp_path, folder, model):
  (tmp_path / "config.json").write_text('{"model_type": "dac"}')
  with pytest.raises(ValueError, match="of the kind dac, expected xcodec"):
    opening.load_codec(str(tmp_path))
  model.save_pretrained(
    tmp_path / "part",
    state_dict={k: v for k, v in model.state_dict().items() if k != "fc.bias"},
  )
  with pytest.raises(ValueError, match=r"no weights for \['fc.bias'\]"):
    opening.load_codec(str(tmp_path / "part"))
  with pytest.raises(ValueError, match="of 24000 Hz and 75 frames"):
    xcodec.XCodec(tiny_model(sample_rate=24_000))


def test_a_folder_of_songs(folder, tmp_path):
  from tests.test_encode_audio import write_song  # the same songs

  write_song(tmp_path / "songs/a")
  encode_audio.main(
    [str(tmp_path / "songs"), f"--codec={folder}", f"--out={tmp_path / 'out'}"]
  )
  (line,) = (tmp_path / "out/songs.jsonl").read_text().splitlines()
  codes = np.load(tmp_path / "out" / json.loads(line)["vocals_codec"])
  assert codes.shape == (8, 150)
