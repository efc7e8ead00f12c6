"""config.json of a LlamaForCausalLM <-> ModelConfig, and what lies beside it.

Reading is strict: what the decoder cannot do, and every key whose meaning is
not known here, is an error. A model that computes something slightly else
than its weights were trained for would still load and sing, only worse.
"""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

from yue_jax.config import ModelConfig
from yue_jax.vocab import Vocab

# Their name of each field; a file must have all of these ...
_REQUIRED = {
  "vocab_size": "vocab_size",
  "hidden_size": "width",
  "intermediate_size": "mlp_width",
  "num_hidden_layers": "layers",
  "num_attention_heads": "heads",
  "max_position_embeddings": "max_positions",
  "rms_norm_eps": "norm_eps",
}
# ... and may lack these, which older files do not have.
_OPTIONAL = {
  "num_key_value_heads": "kv_heads",
  "rope_theta": "rope_base",
  "initializer_range": "init_std",
}
_FIELDS = _REQUIRED | _OPTIONAL
# What a LLaMA could be and this decoder is not. Absent means the same.
_FIXED = {
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "hidden_act": "silu",
  "attention_bias": False,
  "mlp_bias": False,
  "attention_dropout": 0.0,
  "tie_word_embeddings": False,
  "rope_scaling": None,
  "pretraining_tp": 1,
}
# Written as in the released files; bos and eos are in no document.
_WRITTEN = {"bos_token_id": 1, "eos_token_id": 2, "use_cache": True}
_WITHOUT_EFFECT = {
  *_WRITTEN,
  "pad_token_id",
  "dtype",
  "torch_dtype",
  "transformers_version",
  "_name_or_path",
}
_MUST_BE_NAMED = ("architectures", "model_type")


def to_hf(cfg: ModelConfig, dtype: str) -> dict[str, Any]:
  """Contents of config.json for weights stored as `dtype`.

  The form is that of transformers 4, which later versions read too.
  """
  fields = {theirs: getattr(cfg, ours) for theirs, ours in _FIELDS.items()}
  stored = {"head_dim": cfg.head_width, "torch_dtype": dtype}
  return _FIXED | fields | stored | _WRITTEN


def from_hf(config: Mapping[str, Any]) -> ModelConfig:
  """The model that a config.json describes.

  Activation dtype and remat are not in the file and keep our defaults.

  Raises:
    ValueError: names the key, what it holds and what is supported.
  """
  config = _with_flat_rope(config)
  _check_fixed(config)
  missing = sorted(_REQUIRED.keys() - config.keys())
  if missing:
    raise ValueError(f"config.json lacks {missing}")
  fields = {
    ours: _number(theirs, config[theirs])
    for theirs, ours in _FIELDS.items()
    if theirs in _REQUIRED or config.get(theirs) is not None
  }
  fields.setdefault("kv_heads", fields["heads"])
  cfg = ModelConfig(**fields)
  if config.get("head_dim") not in (None, cfg.head_width):
    raise ValueError(
      f"config.json: head_dim={config['head_dim']}, but heads here are"
      f" hidden_size / num_attention_heads = {cfg.head_width} wide"
    )
  return cfg


def generation_config(vocab: Vocab) -> dict[str, Any]:
  """Contents of generation_config.json: a document ends with <EOD>."""
  return {
    "bos_token_id": None,
    "eos_token_id": vocab.eod,
    "pad_token_id": vocab.eod,
  }


def write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
  path.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """The table in a file; FileNotFoundError or ValueError naming the file."""
  if not path.is_file():
    raise FileNotFoundError(f"{path} is missing")
  try:
    content = json.loads(path.read_text())
  except ValueError as error:
    raise ValueError(f"{path} is not JSON: {error}") from error
  if not isinstance(content, dict):
    raise ValueError(f"{path} holds {type(content).__name__}, not a table")
  return content


def _with_flat_rope(config: Mapping[str, Any]) -> dict[str, Any]:
  """Brings `rope_parameters`, the form since transformers 5, to the older."""
  config = dict(config)
  rope = config.pop("rope_parameters", None)
  if rope is None:
    return config
  if set(rope) != {"rope_type", "rope_theta"} or rope["rope_type"] != "default":
    raise ValueError(
      f"config.json: rope_parameters={rope} is not supported; only"
      " rope_type 'default' with a rope_theta is"
    )
  return config | {"rope_theta": rope["rope_theta"]}


def _check_fixed(config: Mapping[str, Any]) -> None:
  for key, value in _FIXED.items():
    got = config.get(key, None if key in _MUST_BE_NAMED else value)
    if got != value:
      raise ValueError(
        f"config.json: {key}={got!r} is not supported; this decoder has"
        f" {key}={value!r}"
      )
  known = {*_FIELDS, *_FIXED, *_WITHOUT_EFFECT, "head_dim"}
  unknown = sorted(config.keys() - known)
  if unknown:
    raise ValueError(
      f"config.json has keys of unknown meaning: {unknown}; delete those that"
      " do not change what the model computes"
    )


def _number(key: str, value: Any) -> int | float:
  is_float = key in ("rms_norm_eps", "rope_theta", "initializer_range")
  if type(value) not in ((int, float) if is_float else (int,)):
    kind = "a number" if is_float else "an integer"
    raise ValueError(f"config.json: {key}={value!r}, expected {kind}")
  return float(value) if is_float else value
