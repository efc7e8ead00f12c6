"""Our decoding as a contender of benchmarks/generate.py, which starts it.

With --export it writes the weights as a Hugging Face folder instead.
"""

import argparse
from collections.abc import Callable
import functools
import pathlib
import time

import jax
import numpy as np

from benchmarks.generate_shapes import (
  CONTEXTS,
  PENALTY,
  PROMPT,
  RESIDUAL,
  ROWS,
  SONG,
  WORKS,
  Work,
)
from benchmarks.turns import serve
from yue_jax.config import MeshConfig
from yue_jax.exchange.folder import export_folder
from yue_jax.sampling.decode import decode
from yue_jax.sampling.layered import LayeredDecoder, unstack
from yue_jax.sampling.logits import GREEDY, Sampling
from yue_jax.sampling.queues import Rule, forced, join, sampled
from yue_jax.sampling.windows import window_row
from yue_jax.sharding import make_mesh
from yue_jax.train.state import init_params
from yue_jax.weights import Weights

PENALIZED = Sampling(temperature=0, repetition_penalty=PENALTY)
DRAWN = Sampling(repetition_penalty=PENALTY)


def main() -> None:
  args = _parser().parse_args()
  work = WORKS[args.work]
  one = make_mesh(MeshConfig(), jax.devices()[:1])
  if args.export:
    with jax.set_mesh(one):
      export(args.export, work, init(work))
    return
  # Rows of a song are cut over a device for each core.
  cores = make_mesh(MeshConfig(replica=jax.device_count()))
  calls = {
    "stage 2": on(one, windows, work, ROWS),
    "song": on(cores, windows, work, SONG),
    "stage 1": on(one, tracks, work, PENALIZED),
    "stage 1, drawn": on(one, tracks, work, DRAWN),
  }
  for context in CONTEXTS:
    calls[f"context {context}"] = on(one, at_context, work, context)
  serve(calls, first={})


def init(work: Work) -> dict:
  return jax.jit(lambda: init_params(work.model, seed=0))()


@functools.cache
def decoder_on(mesh: jax.sharding.Mesh, work: Work) -> LayeredDecoder:
  """One for all calls on a mesh."""
  return unstack(init(work), work.model)


def on(
  mesh: jax.sharding.Mesh, call: Callable[..., dict], work: Work, amount
) -> Callable[[], dict]:
  """The call, given the model on a mesh."""

  def on_mesh() -> dict:
    with jax.set_mesh(mesh):
      return call(decoder_on(mesh, work), work, amount)

  return on_mesh


def windows(decoder: LayeredDecoder, work: Work, count: int) -> dict[str, list]:
  """Greedily, with the ids that the released inference allows."""
  rows = [
    window_row(codes, work.vocab, window=work.window)
    for codes in work.codes()[:count]
  ]
  rule = Rule(cycle=(work.residual,), maximum=RESIDUAL)
  decoded = decode(
    decoder, rows, [rule], sampling=GREEDY, seeds=np.zeros((count, 1))
  )
  return {"ids": [row.tokens.tolist() for row in decoded]}


def tracks(
  decoder: LayeredDecoder, work: Work, sampling: Sampling
) -> dict[str, list]:
  rule = Rule(cycle=(work.vocab.codebook(0),), maximum=work.drawn)
  rows = [join([forced(ids), sampled(0)]) for ids in work.prompts(PROMPT)]
  decoded = decode(
    decoder, rows, [rule], sampling=sampling, seeds=np.arange(ROWS)[:, None]
  )
  return {"ids": [row.tokens.tolist() for row in decoded]}


def at_context(
  decoder: LayeredDecoder, work: Work, context: int
) -> dict[str, float]:
  """Seconds of a token of one row when the context is nearly full."""
  ids = work.prompts(context - 384)[:1]
  rule = Rule(cycle=(work.vocab.codebook(0),), maximum=384)
  turns = []
  decode(
    decoder,
    [join([forced(ids[0]), sampled(0)])],
    [rule],
    sampling=DRAWN,
    seeds=np.zeros((1, 1)),
    watch=lambda decoded: turns.append(
      (time.perf_counter(), time.process_time(), len(decoded[0].tokens))
    ),
  )
  # From the end of the turn before the last one: the prompt is read by then,
  # and the program, which both turns share, is compiled.
  (began, cpu, before), (ended, cpu_ended, after) = turns[-2:]
  return {
    "token_seconds": (ended - began) / (after - before),
    "token_cpu_seconds": (cpu_ended - cpu) / (after - before),
  }


def export(folder: pathlib.Path, work: Work, params: dict) -> None:
  export_folder(
    folder,
    Weights(work.model, work.vocab, 0, jax.tree.map(np.asarray, params)),
    dtype="float32",
    shard_bytes=2**32,
    tokenizer_model=None,
  )


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--work", choices=WORKS, required=True)
  parser.add_argument("--export", type=pathlib.Path)
  return parser


if __name__ == "__main__":
  main()
