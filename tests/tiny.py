"""Small things many tests are made of."""

import importlib.util
import json
import math
import pathlib
import socket

from flax import nnx
import jax
from jax.sharding import NamedSharding
import numpy as np

from yue_jax import config, sharding
from yue_jax.model import Decoder
from yue_jax.sampling.layered import LayeredDecoder, unstack
from yue_jax.vocab import Stream, Vocab

VOCAB = Vocab.small(40, codes=16, codebooks=8)
MODEL = config.ModelConfig(
  vocab_size=192,
  width=32,
  mlp_width=64,
  layers=3,
  heads=4,
  kv_heads=2,
  max_positions=64,
  dtype="float32",
  remat="none",
)
MESHES = {
  "one": config.MeshConfig(),
  "fsdp4": config.MeshConfig(fsdp=4),
  "fsdp2_tensor2": config.MeshConfig(fsdp=2, tensor=2),
  "context2": config.MeshConfig(context=2),
  "fsdp2_context4": config.MeshConfig(fsdp=2, context=4),
  "replica2_fsdp2_tensor2": config.MeshConfig(replica=2, fsdp=2, tensor=2),
  "fsdp2_context2_tensor2": config.MeshConfig(fsdp=2, context=2, tensor=2),
  "replica2_fsdp2_context2": config.MeshConfig(replica=2, fsdp=2, context=2),
}


def run_dict(**changes) -> dict:
  """A run's config as plain tables; `changes` replace whole tables."""
  return {
    "seed": 0,
    "vocab": VOCAB.to_json(),
    "model": {
      "vocab_size": 192,
      "width": 32,
      "mlp_width": 64,
      "layers": 2,
      "heads": 4,
      "kv_heads": 2,
      "max_positions": 64,
      "dtype": "float32",
      "remat": "none",
    },
    "mesh": {},
    "data": {},
    "phases": [phase_dict()],
    "optimizer": {},
    "loss": {"weights": {"vocal": 1.0, "text": 0.5}},
    "train": {},
    **changes,
  }


def phase_dict(data: str = "", *, steps: int = 10, **changes) -> dict:
  """A phase of so many steps, two of warm-up and four of decay."""
  context, samples = changes.get("context", 16), changes.get("samples", 8)
  step = context * samples
  return {
    "name": "only",
    "tokens": steps * step,
    "context": context,
    "samples": samples,
    "rate": {
      "peak": 1e-2,
      "final": 1e-3,
      "warmup_tokens": 2 * step,
      "decay_tokens": 4 * step,
    },
    "mixture": {"songs": {"data": data, "kind": "cot", "weight": 1.0}},
    **changes,
  }


def mesh(cfg: config.MeshConfig) -> jax.sharding.Mesh:
  return sharding.make_mesh(cfg, jax.devices()[: math.prod(cfg.shape)])


def layered(decoder: Decoder) -> LayeredDecoder:
  """The same weights as decoding takes them."""
  params = nnx.to_pure_dict(nnx.state(decoder, nnx.Param))
  return unstack(params, decoder.cfg)


def host_batch(rows=8, tokens=16, microbatches=1, seed=0) -> dict:
  """Random tokens in two segments a row, with padding at the end."""
  rng = np.random.default_rng(seed)
  shape = (microbatches, rows // microbatches, tokens)
  ids = rng.integers(0, MODEL.vocab_size, (*shape[:2], tokens + 1))
  segments = np.ones(shape, np.int32)
  segments[..., tokens // 2 :] = 2
  segments[..., -2:] = 0
  positions = np.arange(tokens) % (tokens // 2) * np.ones(shape, np.int32)
  streams = rng.choice([Stream.TEXT, Stream.VOCAL, Stream.BACKING], size=shape)
  return {
    "inputs": ids[..., :-1].astype(np.int32),
    "targets": ids[..., 1:].astype(np.int32),
    "streams": np.where(segments == 0, Stream.PAD, streams).astype(np.uint8),
    "segments": segments,
    "positions": positions.astype(np.int32),
  }


def on(mesh_, batch: dict) -> dict:
  """The batch laid out as the pipeline does it."""
  layout = NamedSharding(mesh_, sharding.SPECS.batch_abt)
  tokens = batch["inputs"].shape[-1]
  order = sharding.zigzag(tokens, mesh_.shape["context"])
  return jax.tree.map(lambda x: jax.device_put(x[..., order], layout), batch)


def write_experiment(path: pathlib.Path, tree: dict) -> pathlib.Path:
  """An experiment file whose config is `tree`; returns its path."""
  path.write_text(
    "import json, ml_collections\n"
    "def get_config():\n"
    f"  tree = json.loads({json.dumps(tree)!r})\n"
    "  return ml_collections.ConfigDict(tree)\n"
  )
  return path


def free_port() -> int:
  """A port of this machine that nobody listens to, for processes to meet."""
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return probe.getsockname()[1]


def load_experiment(path, argument: str | None = None):
  """The ConfigDict of an experiment file, as the command line reads it."""
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(argument) if argument else module.get_config()
