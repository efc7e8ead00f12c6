"""config.json: the released fields, both directions, and what is refused."""

import pytest

from yue_jax import presets
from yue_jax.exchange import config


def test_released_shape_gives_the_released_config_fields():
  hf = config.to_hf(presets.stage1_7b(), "bfloat16")
  released = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11_008,
    "max_position_embeddings": 16_384,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-5,
    "rope_scaling": None,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 83_968,
  }
  assert {key: hf[key] for key in released} == released
  stage2 = config.to_hf(presets.stage2_1b(), "bfloat16")
  assert stage2["vocab_size"] == 83_840
  assert stage2["max_position_embeddings"] == 8192
  assert stage2["num_key_value_heads"] == 16


@pytest.mark.parametrize(
  "cfg",
  [presets.stage1_7b(), presets.stage2_1b(), presets.stage1_0b5()],
  ids=lambda cfg: str(cfg.width),
)
def test_config_comes_back(cfg):
  assert config.from_hf(config.to_hf(cfg, "float32")) == cfg


def test_rope_parameters_of_later_transformers_are_read():
  hf = config.to_hf(presets.tiny(100), "float32")
  del hf["rope_theta"], hf["rope_scaling"]
  hf["rope_parameters"] = {"rope_type": "default", "rope_theta": 500.0}
  assert config.from_hf(hf).rope_base == 500.0


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"architectures": ["MistralForCausalLM"]}, "architectures"),
    ({"architectures": None}, "architectures"),
    ({"hidden_act": "gelu"}, "hidden_act='gelu'"),
    ({"attention_bias": True}, "attention_bias=True"),
    ({"mlp_bias": True}, "mlp_bias=True"),
    ({"tie_word_embeddings": True}, "tie_word_embeddings=True"),
    ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
    ({"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters"),
    ({"head_dim": 32}, "head_dim=32"),
    ({"sliding_window": 4096}, "sliding_window"),
    ({"hidden_size": "64"}, "hidden_size='64', expected an integer"),
    ({"hidden_size": None}, "hidden_size=None, expected an integer"),
    ({"num_key_value_heads": 3}, "kv_heads=3"),
  ],
  ids=str,
)
def test_config_that_the_decoder_cannot_be_is_refused(change, message):
  hf = config.to_hf(presets.tiny(100), "float32") | change
  with pytest.raises(ValueError, match=message):
    config.from_hf(hf)


def test_config_without_a_size_is_refused():
  hf = config.to_hf(presets.tiny(100), "float32")
  del hf["rms_norm_eps"]
  with pytest.raises(ValueError, match=r"lacks.*rms_norm_eps"):
    config.from_hf(hf)
