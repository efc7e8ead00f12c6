"""Compares the logits of a checkpoint with those of its export in PyTorch.

  python tools/compare_torch.py runs/stage1 exports/stage1 --tokens 200

Both sides compute in float32 on the same random tokens. Prints JSON with the
largest absolute difference, the largest logit and the mean KL divergence.
"""

import argparse
import json
import pathlib
import sys

import jax
import numpy as np
import torch
import transformers

from yue_jax import config, sharding
from yue_jax.train.state import decoder_of
from yue_jax.weights import load_weights


def main() -> None:
  args = _parser().parse_args()
  try:
    result = compare(args.checkpoint, args.folder, args.tokens)
  except (ValueError, OSError) as error:
    sys.exit(f"compare_torch: {error}")
  print(json.dumps(result))


def compare(path, folder, tokens: int) -> dict[str, float]:
  mesh = sharding.make_mesh(config.MeshConfig(), jax.devices()[:1])
  weights = load_weights(path, mesh)
  rng = np.random.default_rng(0)
  ids = rng.integers(0, weights.vocab.size, (4, tokens))
  ours, theirs = _logits(weights, mesh, ids), _torch_logits(folder, ids)
  return {
    "max_abs_difference": float(np.abs(ours - theirs).max()),
    "max_abs_logit": float(np.abs(theirs).max()),
    "kl_divergence": float(_kl(theirs, ours).mean()),
  }


def _logits(weights, mesh, ids: np.ndarray) -> np.ndarray:
  ids = ids.astype(np.int32)
  positions = np.broadcast_to(
    np.arange(ids.shape[1], dtype=np.int32), ids.shape
  )
  with jax.set_mesh(mesh):
    decoder = decoder_of(weights.params, weights.model)
    rows = [
      jax.device_put(x, jax.NamedSharding(mesh, sharding.SPECS.row_bt))
      for x in (ids, np.ones_like(ids), positions)
    ]
    return np.asarray(jax.jit(lambda d, *rows: d(*rows))(decoder, *rows))


def _torch_logits(folder, ids: np.ndarray) -> np.ndarray:
  model = transformers.AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.float32, local_files_only=True
  )
  with torch.no_grad():
    return model(torch.from_numpy(ids)).logits.numpy()


def _kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
  """KL(p || q) over the last axis of logits, in float64."""
  log_p, log_q = (
    x - np.logaddexp.reduce(x, axis=-1, keepdims=True)
    for x in (p.astype(np.float64), q.astype(np.float64))
  )
  return np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("checkpoint", help="run directory or checkpoint")
  parser.add_argument("folder", type=pathlib.Path, help="by export_hf.py")
  parser.add_argument("--tokens", type=int, default=200, help="[200]")
  return parser


if __name__ == "__main__":
  main()
