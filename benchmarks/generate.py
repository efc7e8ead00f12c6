"""Measures generation beside transformers' generate on the same weights.

  song             all codebooks of the 32 windows of 96 seconds, greedily:
                   ours, all at once, and the released algorithm, four at a
                   time, which calls generate for every frame and reads all
                   before it anew; one such batch is run, and counts for all
  stage 2          the same of 4 windows: ours, and transformers with a static
                   cache
  stage 1          tokens of one codebook after 64 of text, repetitions
                   penalised; greedily, and drawn (top-k 50, top-p 0.93)
  context          ours alone: a token of one row at 1k to 16k tokens

of two models in float32: tiny (0.4 M parameters, 2,176 ids) and 100m (112 M,
the released vocabulary); windows have 300 frames, as released. Frame by frame,
the 100m completes every tenth frame alone, after random codes in place of its
own, and ten times that time counts: a batch would take a quarter of an hour.

Weights are ours, exported. The benchmark ends with an error unless all that is
greedy, every tenth frame aside, gives the same ids on both sides. Contenders
are processes of their own with all cores that take turns: torch has a thread on
each, ours a device on each, over which the rows of a song are cut (all else is
on one of them, whose larger products use all). A song is timed once, figures
of all else are medians; compilation is not counted. cpu_seconds are of all
threads: on a machine that is shared they say more than the clock.

Prints JSON, and a table to stderr.
"""

import argparse
from collections.abc import Mapping
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from benchmarks.generate_shapes import CONTEXTS, ROWS, SONG, WORKS
from benchmarks.report import report, table
from benchmarks.turns import Contender

ROOT = pathlib.Path(__file__).resolve().parent.parent
JAX, TORCH = "benchmarks.generate_jax", "benchmarks.generate_torch"
CORES = os.cpu_count()
DEVICES = {  # one for each core
  "XLA_FLAGS": f"--xla_force_host_platform_device_count={CORES}",
  # Threads of all of them: one that waits for another device holds its own.
  "PJRT_NPROC": f"{2 * CORES}",
}
BOTH = ("stage 2", "stage 1", "stage 1, drawn")
RELEASED = "frame by frame"


def main() -> None:
  args = _parser().parse_args()
  rows, contexts = [], []
  for name in args.work:
    with tempfile.TemporaryDirectory() as folder:
      made, curve = measure(name, pathlib.Path(folder) / "hf", args.rounds)
    rows += made
    contexts += curve
  print(table(contexts), file=sys.stderr)
  figures = {
    "rounds": args.rounds,
    "generation": rows,
    "ratios": ratios(rows),
    "contexts": contexts,
  }
  packages = ["jax", "jaxlib", "numpy", "torch", "transformers"]
  report(figures, rows, packages=packages)


def measure(
  name: str, folder: pathlib.Path, rounds: int
) -> tuple[list[dict], list[dict]]:
  """Lines of figures: of every kind of work, and of every context."""
  command = [sys.executable, "-m", JAX, f"--work={name}"]
  subprocess.run(
    [*command, f"--export={folder}"],
    cwd=ROOT,
    check=True,
    env=os.environ | DEVICES,
  )
  ours = Contender(command, cwd=ROOT, environment=DEVICES)
  theirs = Contender(
    [sys.executable, "-m", TORCH, f"--work={name}", f"--folder={folder}"],
    cwd=ROOT,
    # Threads that wait for each other leave the cores to others meanwhile.
    environment={"OMP_WAIT_POLICY": "PASSIVE"},
  )
  first = {what: ours.call(what) for what in ("song", *BOTH)}  # compiles
  released = theirs.call(RELEASED)
  every = WORKS[name].every
  if every == 1:
    agree(RELEASED, first["stage 2"], released)
    agree(RELEASED, {"ids": first["song"]["ids"][:ROWS]}, released)
  for unit in ("seconds", "cpu_seconds"):
    released[unit] *= every * SONG // ROWS
  taken = {
    ("transformers", "song"): [released],
    ("ours", "song"): [ours.call("song")],
  }
  for _ in range(rounds):
    for what in BOTH:
      pair = ours.call(what), theirs.call(what)
      if "drawn" not in what:
        agree(what, *pair)
      for who, answer in zip(("ours", "transformers"), pair, strict=True):
        taken.setdefault((who, what), []).append(answer)
  theirs.close()
  contexts = [at_context(name, ours, context) for context in CONTEXTS]
  ours.close()
  lines = [summarise(name, *key, calls) for key, calls in taken.items()]
  return lines, contexts


def summarise(name: str, who: str, what: str, calls: list[dict]) -> dict:
  work = WORKS[name]
  tokens = ROWS * (work.drawn if "stage 1" in what else 8 * work.window)
  if what == "song":
    tokens *= SONG // ROWS
  seconds = statistics.median(call["seconds"] for call in calls)
  cpu = statistics.median(call["cpu_seconds"] for call in calls)
  return {
    "model": name,
    "work": what,
    "who": who,
    "seconds": round(seconds, 3),
    "cpu_seconds": round(cpu, 3),
    "tokens_per_second": round(tokens / seconds, 1),
  }


def at_context(name: str, ours: Contender, context: int) -> dict[str, object]:
  answer = ours.call(f"context {context}")
  model = WORKS[name].model
  slot = 2 * model.layers * model.kv_heads * model.head_width * 4
  return {
    "model": name,
    "context": context,
    "cache_mib": round(context * slot / 2**20, 1),
    "token_ms": round(1e3 * answer["token_seconds"], 3),
    "token_cpu_ms": round(1e3 * answer["token_cpu_seconds"], 3),
    "tokens_per_second": round(1 / answer["token_seconds"], 1),
  }


def agree(what: str, ours: Mapping, theirs: Mapping) -> None:
  """Raises AssertionError unless both gave the same ids."""
  if ours["ids"] != theirs["ids"]:
    raise AssertionError(f"{what}: both sides gave other ids")


def ratios(rows: list[dict]) -> dict[str, dict[str, float]]:
  """How many times as fast as transformers ours is, by work and model."""
  by = {(row["model"], row["work"], row["who"]): row for row in rows}
  found = {}
  for row in rows:
    if row["who"] == "transformers":
      its = by[row["model"], row["work"], "ours"]
      for unit in ("seconds", "cpu_seconds"):
        ratio = round(row[unit] / its[unit], 1)
        found.setdefault(f"{row['work']}, {unit}", {})[row["model"]] = ratio
  return found


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--work", nargs="+", choices=WORKS, default=list(WORKS))
  add("--rounds", type=int, default=3, help="[3]")
  return parser


if __name__ == "__main__":
  main()
