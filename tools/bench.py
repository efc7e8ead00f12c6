"""Measures the parts of a run side by side, on this machine: make bench.

  loader      samples read, built and packed, in tokens per second, on one
              thread, beside the training step that eats them
  step        the small world's training step on one device and on two (made
              of this machine's cores), in turns
  remat       the same step with everything recomputed, and its temporaries

Prints JSON: machine, versions, command, medians and ratios. Single figures of
a shared machine mean little; ratios of one run mean more.
"""

import argparse
import dataclasses
import importlib.metadata
import itertools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
os.environ["PJRT_NPROC"] = "8"  # see tools/demo.py

import jax

from yue_jax import config, presets, sharding
from yue_jax.data import pipeline
from yue_jax.data.samples import PlannedSamples
from yue_jax.data.sources.make import open_source
from yue_jax.optimizer import make_optimizer
from yue_jax.train.state import init_params, init_state
from yue_jax.train.step import make_train_step
from yue_jax.vocab import Vocab

ROOT = pathlib.Path(__file__).resolve().parent.parent
VOCAB = Vocab.small(338, codes=160)
CONTEXT, ROWS = 200, 8
LOSS = config.LossConfig(weights={"vocal": 1.0, "backing": 1.0})


def main() -> None:
  argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  ).parse_args()
  with tempfile.TemporaryDirectory() as folder:
    result = {
      "machine": {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
      },
      "versions": {
        name: importlib.metadata.version(name)
        for name in ("jax", "jaxlib", "flax", "grain", "numpy")
      },
      "command": "python tools/bench.py",
      **measure(_samples(pathlib.Path(folder))),
    }
  print(json.dumps(result, indent=2))


def measure(samples: PlannedSamples) -> dict:
  """Tokens per second of every contender, and the ratios that matter."""
  tokens = ROWS * CONTEXT
  numbers = itertools.count()
  loader = _median(lambda: [samples.sample(next(numbers)) for _ in range(ROWS)])
  small = presets.small(VOCAB.padded_size(128))
  full = dataclasses.replace(small, remat="full")
  steps = {
    "one_device": _Step(small, 1, samples),
    "two_devices": _Step(small, 2, samples),
    "one_device_remat_full": _Step(full, 1, samples),
  }
  seconds = {name: [] for name in steps}
  for _ in range(20):  # in turns, so that all see the same machine
    for name, step in steps.items():
      seconds[name].append(_seconds(step))
  median = {name: statistics.median(s) for name, s in seconds.items()}
  return {
    "tokens_per_second": {
      "loader": round(tokens / loader),
      **{name: round(tokens / s) for name, s in median.items()},
    },
    "ratios": {
      "loader_over_two_devices": round(median["two_devices"] / loader, 2),
      "two_devices_over_one": round(
        median["one_device"] / median["two_devices"], 2
      ),
      "remat_full_over_none": round(
        median["one_device"] / median["one_device_remat_full"], 2
      ),
    },
    "temporary_mib": {
      name: round(step.temporary_bytes / 2**20, 1)
      for name, step in steps.items()
    },
  }


class _Step:
  """A compiled training step; calling it takes one, to its end."""

  def __init__(self, model, devices: int, samples):
    cfg = config.MeshConfig(fsdp=devices)
    self._mesh = sharding.make_mesh(cfg, jax.devices()[:devices])
    tx = make_optimizer(config.OptimizerConfig(), lambda _: 1e-3)
    layout = jax.NamedSharding(self._mesh, sharding.SPECS.batch_abt)
    batches = pipeline.train_batches(
      samples,
      samples_per_step=ROWS,
      microbatches=1,
      sharding=layout,
      first_step=0,
      last_step=1,
    )
    with jax.set_mesh(self._mesh):
      params = jax.jit(lambda: init_params(model, 0))()
      self._state = jax.jit(lambda p: init_state(p, tx))(params)
      self._batch = next(batches)
      step = make_train_step(model, LOSS, tx)
      self._step = step.lower(self._state, self._batch).compile()
    memory = self._step.memory_analysis()
    self.temporary_bytes = memory.temp_size_in_bytes
    self()

  def __call__(self) -> None:
    self._state, result = self._step(self._state, self._batch)
    jax.block_until_ready((self._state, result))


def _samples(folder: pathlib.Path) -> PlannedSamples:
  """A thousand songs of the small world, prepared."""

  def tool(name: str, *arguments) -> None:
    command = [sys.executable, f"tools/{name}.py", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)

  world, data = folder / "world", folder / "data"
  tool("make_world", world, "--train-songs=1000", "--heldout-songs=1")
  tool(
    "prepare_songs",
    world / "train/songs.jsonl",
    f"--tokenizer={world}/tokenizer.model",
    f"--out={data}",
    "--small-vocab",
    "--codes=160",
    "--window=25",
    "--min-section-seconds=0.1",
  )
  source = open_source(data, "cot", seed=0, vocab=VOCAB)
  return PlannedSamples(source, context=CONTEXT, seed=0)


def _median(call) -> float:
  return statistics.median(_seconds(call) for _ in range(50))


def _seconds(call) -> float:
  began = time.perf_counter()
  call()
  return time.perf_counter() - began


if __name__ == "__main__":
  main()
