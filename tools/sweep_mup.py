"""Where the best learning rate lies at four widths, with muP and without.

Purpose  To see that a rate found at width 32 is the best one at width 256 if
         updates are scaled (`yue_jax/mup.py`), and not if they are not.
Data     Tokens of a random chain: the logits of the next one are a sum of a
         row for the last token and one for that before, so that attention and
         MLP have something to find. No batch comes twice, and the loss is that
         of the last tenth of the steps, in which the rate is nearly 0.
Expected Best rates: the same at all widths with muP; without, lower the wider
         the model, by a factor of three (docs/mup.md).
Cost     Six minutes on one core. Interrupted, the same command goes on.
Command  python tools/sweep_mup.py --out=docs/mup.jsonl
         python tools/plot_mup.py docs/mup.jsonl --out=docs/mup.png

All runs of a width are one compiled program, which takes the rate as an
argument: a process for each would spend its time on compiling.
"""

import argparse
from collections.abc import Callable, Iterator
import functools
import itertools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np

from yue_jax import mup, optimizer, phases
from yue_jax.config import (
  LossConfig,
  MeshConfig,
  ModelConfig,
  MupConfig,
  OptimizerConfig,
)
from yue_jax.json_lines import JsonLines, read_lines
from yue_jax.progress import track
from yue_jax.sharding import SPECS, make_mesh
from yue_jax.train.state import init_params, init_state
from yue_jax.train.step import make_train_step
from yue_jax.vocab import Stream

WIDTHS = (32, 64, 128, 256)
RATES = tuple(2.0**-k for k in range(4, 11))
SEEDS = (0, 1)
BASE = MupConfig(base_width=32, base_mlp_width=64, head_width=16)
VOCABULARY, STEPS, ROWS, TOKENS = 64, 100, 8, 32


class Run(NamedTuple):
  """One of the sweep, and a record in its file."""

  mup: bool
  width: int
  rate: float
  seed: int


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--out", type=pathlib.Path, required=True, help="file of results (.jsonl)"
  )
  out = parser.parse_args().out
  done = {Run(*(r[f] for f in Run._fields)) for r in read_lines(out)}
  missing = [run for run in runs() if run not in done]
  file = JsonLines(out, keep=lambda _: True)
  for run in track(missing, len(missing), "runs", "sweeping"):
    file.write(run._asdict() | losses(run))
  file.close()


def runs() -> Iterator[Run]:
  """All of them; at the base width, muP is what is done without it."""
  for scaled, width in itertools.product((False, True), WIDTHS):
    if width > BASE.base_width or not scaled:
      for rate, seed in itertools.product(RATES, SEEDS):
        yield Run(scaled, width, rate, seed)


def losses(run: Run) -> dict[str, Any]:
  """Loss at the end of a run; null if it diverged. And its lower bound."""
  batches, floor = chain(run.seed)
  mesh = make_mesh(MeshConfig(), jax.devices()[:1])
  layout = NamedSharding(mesh, P(None, *SPECS.batch_abt))
  with jax.set_mesh(mesh):
    batches = jax.device_put(batches, layout)
    params = _initial(run.width, run.seed)
    train = _trainer(run.mup, run.width)
    curve = np.asarray(train(run.rate, params, batches))
  loss = float(curve[-STEPS // 10 :].mean())
  return {"loss": loss if np.isfinite(loss) else None, "floor": floor}


@functools.cache
def chain(seed: int) -> tuple[dict[str, np.ndarray], float]:
  """Batches of all steps, (S, 1, B, T), and the mean entropy of their targets.

  The chain is the same for all seeds, which draw from it.
  """
  tables = 2.0 * np.random.default_rng(0).normal(
    size=(2, VOCABULARY, VOCABULARY)
  )
  rng = np.random.default_rng([1, seed])
  tokens = rng.integers(VOCABULARY, size=(TOKENS + 1, STEPS * ROWS))
  entropies = []
  for t in range(2, TOKENS + 1):
    logits = tables[0, tokens[t - 1]] + tables[1, tokens[t - 2]]
    tokens[t] = np.argmax(logits + rng.gumbel(size=logits.shape), axis=-1)
    log_p = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    entropies.append(-np.sum(np.exp(log_p) * log_p, axis=-1))
  tokens = tokens.T.reshape(STEPS, 1, ROWS, TOKENS + 1).astype(np.int32)
  inputs = tokens[..., :-1]
  streams = np.full(inputs.shape, Stream.VOCAL, np.uint8)
  streams[..., 0] = Stream.PAD  # the second token is random
  batches = {
    "inputs": inputs,
    "targets": tokens[..., 1:],
    "streams": streams,
    "segments": np.ones_like(inputs),
    "positions": np.broadcast_to(
      np.arange(TOKENS, dtype=np.int32), inputs.shape
    ),
  }
  return batches, float(np.mean(entropies))


def _model(width: int) -> ModelConfig:
  return ModelConfig(
    vocab_size=VOCABULARY,
    width=width,
    mlp_width=2 * width,
    layers=2,
    heads=width // BASE.head_width,
    kv_heads=width // BASE.head_width,
    max_positions=TOKENS,
    init_std=0.5 / BASE.base_width**0.5,
    dtype="float32",
    remat="none",
  )


@functools.cache
def _initial(width: int, seed: int) -> dict:
  return jax.jit(lambda: init_params(_model(width), seed))()


@functools.cache
def _trainer(scaled: bool, width: int) -> Callable[..., jax.Array]:
  """Gives the loss of every step for a rate, standard weights and batches."""
  model = _model(width)
  loss = LossConfig(weights={"vocal": 1.0})
  shape = optimizer.learning_rate([_phase()])

  def scale(name):
    return mup.scales(name, model, BASE).updates

  @jax.jit
  def train(rate, params, batches):
    tx = optimizer.make_optimizer(
      OptimizerConfig(),
      lambda count: rate * shape(count),
      scale if scaled else None,
    )
    if scaled:
      params = mup.scale_weights(params, model, BASE)
    step = make_train_step(model, loss, tx)

    def body(state, batch):
      state, metrics = step(state, batch)
      return state, jnp.where(metrics["skipped"], jnp.nan, metrics["loss"])

    return jax.lax.scan(body, init_state(params, tx), batches)[1]

  return train


def _phase() -> phases.PhaseConfig:
  """The schedule: up over a tenth of the steps, down over the other half."""
  tokens = STEPS * ROWS * TOKENS
  return phases.PhaseConfig(
    name="chain",
    tokens=tokens,
    context=TOKENS,
    samples=ROWS,
    rate=phases.RateConfig(
      peak=1.0, warmup_tokens=tokens // 10, decay_tokens=tokens // 2
    ),
    mixture={"chain": phases.SourceConfig(data="", kind="cot", weight=1.0)},
  )


if __name__ == "__main__":
  main()
