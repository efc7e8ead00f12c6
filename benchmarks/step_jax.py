"""Our training step as a contender of benchmarks/step.py, which starts it.

With --export it writes the initial weights as a Hugging Face folder instead.
"""

import argparse
import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.step_shapes import (
  CONTEXT,
  MATMUL,
  OPTIMIZER,
  RATE,
  ROWS,
  batch,
  model,
)
from benchmarks.turns import serve
from yue_jax.config import LossConfig, MeshConfig
from yue_jax.optimizer import make_optimizer
from yue_jax.sharding import SPECS, make_mesh
from yue_jax.train.state import init_params, init_state
from yue_jax.train.step import make_train_step
from yue_jax.vocab import Stream

LOSS = LossConfig(weights={"text": 1.0})


def main() -> None:
  args = _parser().parse_args()
  mesh = make_mesh(MeshConfig(fsdp=args.fsdp, tensor=args.tensor))
  cfg = dataclasses.replace(model(args.vocab), remat=args.remat)
  with jax.set_mesh(mesh):
    params = jax.jit(lambda: init_params(cfg, seed=0))()
    if args.export:
      export(args.export, cfg, params)
      return
    tx = make_optimizer(OPTIMIZER, lambda _: RATE)
    state = jax.jit(lambda p: init_state(p, tx))(params)
    tokens = on_mesh(batch(args.vocab), mesh)
    step = make_train_step(cfg, LOSS, tx).lower(state, tokens).compile()

    def take() -> dict[str, float]:
      nonlocal state
      state, metrics = step(state, tokens)
      jax.block_until_ready(state)
      return {"loss": float(metrics["loss"])}

    temporary = step.memory_analysis().temp_size_in_bytes
    first = take() | {"temporary_bytes": temporary}
    serve({"step": take, "matmul": make_matmul()}, first=first)


def on_mesh(pair: tuple[np.ndarray, np.ndarray], mesh) -> dict[str, jax.Array]:
  inputs, targets = pair
  shape = (ROWS, CONTEXT)
  fields = {
    "inputs": inputs,
    "targets": targets,
    "streams": np.full(shape, Stream.TEXT, np.uint8),
    "segments": np.ones(shape, np.int32),
    "positions": np.broadcast_to(np.arange(CONTEXT, dtype=np.int32), shape),
  }
  layout = jax.NamedSharding(mesh, SPECS.batch_abt)
  return {n: jax.device_put(x[None], layout) for n, x in fields.items()}


def make_matmul():
  one = jax.make_mesh((1,), ("all",), devices=jax.devices()[:1])
  with jax.set_mesh(one):
    x = jnp.ones((MATMUL, MATMUL))
    product = jax.jit(lambda x: x @ x).lower(x).compile()

  def matmul() -> dict[str, float]:
    jax.block_until_ready(product(x))
    return {}

  return matmul


def export(folder: pathlib.Path, cfg, params) -> None:
  from yue_jax.exchange.folder import export_folder
  from yue_jax.vocab import WRAPPER_IDS, Vocab
  from yue_jax.weights import Weights

  vocab = Vocab.small(cfg.vocab_size - 22 - 8 - WRAPPER_IDS, codes=1)
  weights = Weights(cfg, vocab, 0, params)
  export_folder(
    folder, weights, dtype="float32", shard_bytes=2**32, tokenizer_model=None
  )


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(description=__doc__)
  add = parser.add_argument
  add("--vocab", type=int, required=True)
  add("--fsdp", type=int, default=1)
  add("--tensor", type=int, default=1)
  add("--remat", default="none")
  add("--export", type=pathlib.Path)
  return parser


if __name__ == "__main__":
  main()
