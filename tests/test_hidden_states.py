"""Pooled states of all layers against transformers, and against themselves."""

import dataclasses
import sys

import jax
import numpy as np
import pytest

from tests import tiny
from tests.conftest import ROOT
from yue_jax.config import MeshConfig
from yue_jax.exchange.folder import export_folder
from yue_jax.hidden_states import song_states
from yue_jax.train.state import decoder_of, init_params
from yue_jax.weights import Weights

sys.path.insert(0, str(ROOT / "tools"))
import probe

CFG = dataclasses.replace(tiny.MODEL, init_std=0.12, layers=2)
FRAMES = 12


@pytest.fixture(scope="module")
def weights():
  with jax.set_mesh(tiny.mesh(MeshConfig())):
    params = jax.jit(lambda: init_params(CFG, 0))()
  return Weights(model=CFG, vocab=tiny.VOCAB, step=0, params=params)


@pytest.fixture(scope="module")
def songs():
  rng = np.random.default_rng(0)
  return [rng.integers(16, size=n) for n in (12, 5, 20, 9)]


@pytest.fixture(scope="module")
def states(weights, songs):
  return _states(weights, songs, batch=3)


def _states(weights, songs, batch, frames=FRAMES):
  with jax.set_mesh(tiny.mesh(MeshConfig())):
    decoder = decoder_of(weights.params, CFG)
    return song_states(
      decoder, songs, vocab=tiny.VOCAB, frames=frames, batch=batch
    )


def test_equal_to_transformers(weights, songs, states, tmp_path):
  torch = pytest.importorskip("torch", reason="PyTorch is not installed")
  transformers = pytest.importorskip("transformers")
  host = dataclasses.replace(
    weights, params=jax.tree.map(np.asarray, weights.params)
  )
  export_folder(
    tmp_path / "hf",
    host,
    dtype="float32",
    shard_bytes=2**18,
    tokenizer_model=None,
  )
  model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
  for codes, found in zip(songs, states, strict=True):
    heard = codes[:FRAMES]
    start = tiny.VOCAB.codec().start
    ids = [tiny.VOCAB.soa, tiny.VOCAB.xcodec, *(start + heard)]
    with torch.no_grad():
      layers = model(
        torch.tensor([ids]), output_hidden_states=True
      ).hidden_states
    expected = np.stack([x[0, 2:].mean(dim=0).numpy() for x in layers])
    assert found.shape == (CFG.layers + 1, CFG.width)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_songs_do_not_depend_on_their_batch(weights, songs, states):
  alone = _states(weights, songs[1:2], batch=1)
  np.testing.assert_allclose(alone[0], states[1], atol=1e-5)
  assert np.abs(states[0] - states[1]).max() > 0.01


def test_what_does_not_fit_is_refused(weights, songs):
  with pytest.raises(ValueError, match="64 positions"):
    _states(weights, songs, batch=1, frames=63)
  with pytest.raises(ValueError, match="shape"):
    _states(weights, [np.zeros(0, int)], batch=1)
  with pytest.raises(ValueError, match="codes"):
    _states(weights, [np.array([16])], batch=1)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "no labels"),
    ('{"id": "a"}\n', "line 1"),
    ('{"id": "a", "label": 1}\n{"id": "b", "label": "x"}\n', "either"),
    ('{"id": "a", "label": 1}\n{"id": "a", "label": 2}\n', "two labels"),
  ],
)
def test_labels_that_are_none_are_refused(tmp_path, text, message):
  path = tmp_path / "labels.jsonl"
  path.write_text(text)
  with pytest.raises(ValueError, match=message):
    probe._labels(path)
