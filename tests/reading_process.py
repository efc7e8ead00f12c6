"""One of several processes that read batches, and write down what they got.

  python -m tests.reading_process PORT PROCESS PROCESSES DATA OUT FIRST LAST

Twelve devices in all lie on a mesh of 3 rows by 4 stretches of tokens, so
that the tokens of a row lie on several processes. For every step it writes
OUT/<step>-<process>.npz with the shards its own devices hold, and their
places in the batch. It has as many threads as there are processes, and keeps
its plans in OUT/../plans.
"""

import os
import pathlib
import sys

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import numpy as np

from yue_jax.data.course import Course
from yue_jax.data.dataset import open_dataset
from yue_jax.data.pipeline import train_batches
from yue_jax.phases import DataConfig, PhaseConfig, RateConfig, SourceConfig

STEPS = 24
SHAPE = (2, 3, 64)  # microbatches, rows, tokens


def read(data: str, plans: pathlib.Path, threads: int, steps: range):
  """Batches of a mixture of two kinds of documents."""
  phase = PhaseConfig(
    name="a",
    tokens=STEPS * 6 * 64,
    context=64,
    samples=6,
    microbatches=2,
    rate=RateConfig(peak=1.0),
    mixture={
      "cot": SourceConfig(data=data, kind="cot", weight=2.0),
      "icl": SourceConfig(data=data, kind="icl", weight=1.0),
    },
  )
  course = Course(
    [phase],
    DataConfig(heldout=0.1),
    vocab=open_dataset(data).vocab,
    cache=plans,
  )
  mesh = jax.make_mesh(
    (3, 4), ("rows", "tokens"), axis_types=(AxisType.Explicit,) * 2
  )
  return train_batches(
    course.phases[0].mixture,
    samples_per_step=phase.samples,
    microbatches=phase.microbatches,
    sharding=NamedSharding(mesh, PartitionSpec(None, "rows", "tokens")),
    first_step=steps.start,
    last_step=steps.stop,
    threads=threads,
  )


def main() -> None:
  port, process, processes, data, out, first, last = sys.argv[1:]
  if int(processes) > 1:
    jax.distributed.initialize(
      f"localhost:{port}", int(processes), int(process)
    )
  assert jax.device_count() == 12
  steps, plans = (
    range(int(first), int(last)),
    pathlib.Path(out).parent / "plans",
  )
  batches = read(data, plans, int(processes), steps)
  for step, batch in zip(steps, batches, strict=True):
    arrays = {}
    for name, values in batch.items():
      for number, shard in enumerate(values.addressable_shards):
        place = [
          s.indices(n)[:2] for s, n in zip(shard.index, SHAPE, strict=True)
        ]
        arrays[f"{name}/{number}"] = shard.data
        arrays[f"{name}/{number}/place"] = place
    path = pathlib.Path(out) / f"{step}-{process}.npz"
    with open(path.with_suffix(".tmp"), "wb") as file:
      np.savez(file, **arrays)
    os.replace(path.with_suffix(".tmp"), path)


if __name__ == "__main__":
  main()
