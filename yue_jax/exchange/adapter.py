"""Adapters as a folder that PEFT loads beside a LlamaForCausalLM.

PEFT keeps two matrices for each weight of each layer, lora_A of (R, inputs)
and lora_B of (outputs, R), named after the weight. Ours are (*inputs, R) and
(R, *outputs), so that merging axes and turning them is all there is to do.
"""

import os
import pathlib
from typing import Any

from flax import traverse_util
import numpy as np
import safetensors.numpy

from yue_jax.exchange import table
from yue_jax.exchange.config import write_json
from yue_jax.weights import Adapters
from yue_jax.whole_directory import whole_directory

_PREFIX = "base_model.model."


def export_adapter(
  out: str | os.PathLike[str],
  adapters: Adapters,
  *,
  base_model: str | None = None,
) -> None:
  """Writes adapter_config.json and adapter_model.safetensors, in float32.

  Args:
    out: folder to make; must not exist.
    adapters: as `weights.load_adapters` gives them.
    base_model: name or folder of the model they belong to, for those who load
      them by `AutoPeftModel`.

  Raises:
    ValueError: a number is not finite.
    FileExistsError: `out` exists.
  """
  tensors, targets = {}, []
  for row, adapter in _rows(adapters):
    targets.append(_module(row).rsplit(".", 1)[1])
    for layer in range(adapters.model.layers):
      name = _PREFIX + _module(row).format(layer=layer)
      a, b = (np.asarray(x[layer]) for x in (adapter.a, adapter.b))
      rank = adapters.lora.rank
      tensors[f"{name}.lora_A.weight"] = a.reshape(-1, rank).T
      tensors[f"{name}.lora_B.weight"] = b.reshape(rank, -1).T
  for name, tensor in tensors.items():
    if not np.isfinite(tensor).all():
      raise ValueError(f"{name} is not finite; export an older checkpoint")
    tensors[name] = np.ascontiguousarray(tensor)
  with whole_directory(pathlib.Path(out)) as folder:
    write_json(
      folder / "adapter_config.json",
      _config(adapters, sorted(targets), base_model),
    )
    safetensors.numpy.save_file(
      tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"}
    )


def _rows(adapters: Adapters):
  """Rows of the table whose weights have an adapter, with the adapters."""
  found = traverse_util.flatten_dict(adapters.params, sep="/")
  return [(row, found[row.ours]) for row in table.TABLE if row.ours in found]


def _module(row: table.Row) -> str:
  return row.theirs.removesuffix(".weight")


def _config(
  adapters: Adapters, targets: list[str], base_model: str | None
) -> dict[str, Any]:
  return {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": base_model,
    "r": adapters.lora.rank,
    "lora_alpha": adapters.lora.alpha,
    "target_modules": targets,
    "lora_dropout": 0.0,
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
  }
