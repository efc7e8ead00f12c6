"""Equality with LlamaForCausalLM of transformers, through exported folders.

Differences are given relative to the largest logit; both sides compute in
float32, in different orders of summation. Weights are drawn large (0.12), so
that attention is sharp and logits are far from uniform: with the usual 0.02
every wrong rotation or mask would drown in uniform softmaxes.
"""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from yue_jax import presets
from yue_jax.config import MeshConfig, ModelConfig
from yue_jax.exchange.folder import export_folder, import_folder
from yue_jax.model import Decoder
from yue_jax.tokenizer import Tokenizer
from yue_jax.train.state import decoder_of, init_params
from yue_jax.vocab import Vocab
from yue_jax.weights import Weights, load_weights

torch = pytest.importorskip(
  "torch", reason="parity needs PyTorch, which is not installed"
)
transformers = pytest.importorskip(
  "transformers", reason="parity needs transformers, which is not installed"
)

VOCAB = Vocab.small(100, codes=16, codebooks=8)
STD = 0.12
LOGITS_TOLERANCE = 1e-5  # of the largest logit
KL_TOLERANCE = 1e-9  # nats


@pytest.fixture(autouse=True)
def mesh():
  with jax.set_mesh(tiny.mesh(MeshConfig())):
    yield


def shape(kv_heads: int) -> ModelConfig:
  return dataclasses.replace(
    presets.tiny(VOCAB.padded_size(128)), kv_heads=kv_heads, init_std=STD
  )


def random_weights(cfg: ModelConfig) -> Weights:
  params = jax.jit(lambda: init_params(cfg, 0))()

  def shaken(path, leaf):  # scales start at 1, where a forgotten one hides
    noise = jax.random.normal(jax.random.key(len(path)), leaf.shape)
    return leaf + 0.3 * noise if path[-1].key == "scale" else leaf

  params = jax.tree_util.tree_map_with_path(shaken, params)
  return Weights(cfg, VOCAB, 0, jax.tree.map(np.asarray, params))


def random_ids(cfg: ModelConfig, *shape_: int) -> np.ndarray:
  return np.random.default_rng(3).integers(0, cfg.vocab_size, shape_)


def export(out, weights, dtype="float32", tokenizer_model=None):
  export_folder(
    out,
    weights,
    dtype=dtype,
    shard_bytes=2**18,
    tokenizer_model=tokenizer_model,
  )
  return out


def imported(folder) -> Weights:
  run = folder.with_name(f"{folder.name}-imported")
  import_folder(folder, run)
  return load_weights(run, tiny.mesh(MeshConfig()))


def torch_model(folder, dtype=torch.float32):
  return transformers.AutoModelForCausalLM.from_pretrained(
    folder, dtype=dtype
  ).eval()


def torch_logits(model, ids: np.ndarray, positions=None) -> np.ndarray:
  if positions is not None:
    positions = torch.from_numpy(positions)
  with torch.no_grad():
    output = model(torch.from_numpy(ids), position_ids=positions)
  return output.logits.numpy()


def our_logits(weights: Weights, ids, segments, positions) -> np.ndarray:
  cfg = dataclasses.replace(weights.model, dtype="float32", remat="none")
  decoder = decoder_of(weights.params, cfg)
  arrays = [jnp.asarray(x, jnp.int32) for x in (ids, segments, positions)]
  return np.asarray(jax.jit(Decoder.__call__)(decoder, *arrays))


def one_document(ids: np.ndarray):
  positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
  return ids, np.ones_like(ids), positions


def assert_equal_logits(what, ours, theirs, capsys) -> None:
  p, q = _log_softmax(theirs), _log_softmax(ours)
  kl = float(np.max(np.sum(np.exp(p) * (p - q), axis=-1)))
  difference = float(np.abs(ours - theirs).max())
  relative = difference / float(np.abs(theirs).max())
  with capsys.disabled():
    print(
      f"\n  {what}: max |difference| {difference:.2e} ({relative:.1e} of the"
      f" largest logit), max KL {kl:.1e} nats"
    )
  assert relative < LOGITS_TOLERANCE
  assert kl < KL_TOLERANCE


@pytest.mark.parametrize("kv_heads", [4, 2, 1], ids=["mha", "gqa2", "gqa1"])
def test_logits_equal_on_a_long_sequence(kv_heads, tmp_path, capsys):
  weights = random_weights(shape(kv_heads))
  ids = random_ids(weights.model, 2, 768)
  ours = our_logits(weights, *one_document(ids))
  theirs = torch_logits(torch_model(export(tmp_path / "out", weights)), ids)
  name = f"{kv_heads} of 4 kv heads, 2 x 768 tokens"
  assert_equal_logits(name, ours, theirs, capsys)


def test_logits_equal_up_to_the_last_released_position(tmp_path, capsys):
  """512 tokens spread over 16,384 positions.

  A rotary frequency that is off in its last bit would show here.
  """
  cfg = dataclasses.replace(shape(2), max_positions=16_384)
  weights = random_weights(cfg)
  ids = random_ids(cfg, 1, 512)
  positions = np.arange(31, 16_384, 32)[None]
  ours = our_logits(weights, ids, np.ones_like(ids), positions)
  model = torch_model(export(tmp_path / "out", weights))
  theirs = torch_logits(model, ids, positions)
  name = "positions 31, 63, ... 16,383"
  assert_equal_logits(name, ours, theirs, capsys)


def test_packed_documents_equal_separate_ones(tmp_path, capsys):
  weights = random_weights(shape(2))
  lengths, padding = (300, 212, 100), 28
  ids = random_ids(weights.model, 1, sum(lengths) + padding)
  segments = np.repeat([1, 2, 3, 0], [*lengths, padding])[None]
  positions = np.concatenate([np.arange(n) for n in (*lengths, padding)])[None]
  ours = our_logits(weights, ids, segments, positions)
  model = torch_model(export(tmp_path / "out", weights))
  ends = np.cumsum(lengths)
  theirs = np.concatenate(
    [
      torch_logits(model, ids[:, end - length : end])
      for end, length in zip(ends, lengths, strict=True)
    ],
    axis=1,
  )
  name = f"packed {lengths} against separate"
  assert_equal_logits(name, ours[:, : ends[-1]], theirs, capsys)


def test_round_trip_leaves_our_logits_bit_equal(tmp_path):
  weights = random_weights(shape(2))
  document = one_document(random_ids(weights.model, 1, 64))
  back = imported(export(tmp_path / "out", weights))
  np.testing.assert_array_equal(
    our_logits(back, *document), our_logits(weights, *document)
  )


@pytest.mark.parametrize("kv_heads", [4, 2], ids=["mha", "gqa"])
def test_torch_weights_come_in_and_go_out_again(kv_heads, tmp_path, capsys):
  cfg = shape(kv_heads)
  torch.manual_seed(0)
  original = transformers.LlamaForCausalLM(
    transformers.LlamaConfig(
      vocab_size=cfg.vocab_size,
      hidden_size=cfg.width,
      intermediate_size=cfg.mlp_width,
      num_hidden_layers=cfg.layers,
      num_attention_heads=cfg.heads,
      num_key_value_heads=kv_heads,
      max_position_embeddings=cfg.max_positions,
      initializer_range=STD,
      rms_norm_eps=1e-3,
      rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    )
  ).eval()
  original.save_pretrained(tmp_path / "torch", max_shard_size="200KB")
  vocabulary = json.dumps(VOCAB.to_json())
  (tmp_path / "torch" / "vocabulary.json").write_text(vocabulary)
  ids = random_ids(cfg, 1, 512)
  theirs = torch_logits(original, ids)

  weights = imported(tmp_path / "torch")
  ours = our_logits(weights, *one_document(ids))
  name = f"random torch weights, {kv_heads} of 4 kv heads, 512 tokens"
  assert_equal_logits(name, ours, theirs, capsys)

  again = torch_model(export(tmp_path / "out", weights))
  np.testing.assert_array_equal(torch_logits(again, ids), theirs)


def test_bfloat16_folder_holds_our_weights_rounded_once(tmp_path):
  weights = random_weights(shape(2))
  folder = export(tmp_path / "out", weights, dtype="bfloat16")
  model = torch_model(folder, dtype="auto")
  theirs = model.model.layers[1].mlp.down_proj.weight
  assert theirs.dtype == torch.bfloat16
  ours = torch.from_numpy(weights.params["blocks"]["mlp"]["down"][1].T.copy())
  assert torch.equal(theirs, ours.to(torch.bfloat16))


def test_card_loads_as_written(tmp_path):
  folder = export(tmp_path / "out", random_weights(shape(2)))
  card = (folder / "README.md").read_text()
  code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
  results = {}
  exec(code.replace("THIS_FOLDER", str(folder)), results)
  assert results["logits"].shape == (VOCAB.size,)


def test_generation_stops_at_the_end_of_a_document(tmp_path):
  """The output row of <EOD> is made to win against every other."""
  weights = random_weights(shape(2))
  weights.params["unembed"] = np.zeros_like(weights.params["unembed"])
  model = torch_model(export(tmp_path / "out", weights))
  with torch.no_grad():
    model.lm_head.weight[VOCAB.eod] = model.model.norm.weight
  prompt = torch.tensor([[VOCAB.soa, VOCAB.xcodec]])
  made = model.generate(prompt, max_new_tokens=50, do_sample=False)
  assert made.shape[1] < 52
  assert made[0, -1] == VOCAB.eod


def test_auto_tokenizer_gives_the_ids_of_training(reference, tmp_path):
  tokenizer_model = reference / "tokenizer.model"
  folder = export(
    tmp_path / "out",
    random_weights(shape(2)),
    tokenizer_model=tokenizer_model,
  )
  loaded = transformers.AutoTokenizer.from_pretrained(folder)
  ours = Tokenizer(tokenizer_model)
  for text in ("[verse]\nAll  the stars\n\n", " </s> <SOA>"):
    assert loaded(text)["input_ids"] == ours.encode(text)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
  """In float64: the KL of float32 rounding would swamp what is measured."""
  x = logits.astype(np.float64)
  x -= x.max(axis=-1, keepdims=True)
  return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
