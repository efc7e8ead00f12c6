"""Measures the training step beside a transformers Llama with torch's AdamW.

  jax 1           our step on one device
  jax 1, full     the same with everything recomputed (remat)
  jax 8           on eight fake devices of this machine, fsdp 4 x tensor 2
  torch           LlamaForCausalLM, AdamW (fused)
  torch compiled  the same with torch.compile

Hidden size 256, 4 layers, 4 heads, MLP 704; 8 rows of 512 tokens, float32,
nothing recomputed unless said; AdamW with clipping by global norm, the same
numbers for all. Weights are ours, exported: the benchmark ends with an error
unless the first losses agree to 1e-4, the later ones to 1e-3.

Every contender is a process of its own with all cores, and they take steps in
turns; medians. Time to the first step is from launch, with imports,
compilation and weights. cpu_seconds of a step are of all its threads: on a
machine that is shared they say more than the clock. of_matrix_peak is how much
of the step's time its FLOPs (causal convention of yue_jax.accounting) would
take at the speed that the fastest of NumPy, jax and torch reaches in a float32
product of 2,048 x 2,048 in the same run, and of_cpu_peak the same of processor
time. peak_mib is the most memory of the process, temporary_mib what XLA sets
aside for the step.

Prints JSON, and a table to stderr. The machine that counts is the TPU; this
one shows that nothing is wasted on the way there.
"""

import argparse
from collections.abc import Mapping
import importlib.util
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.report import report
from benchmarks.step_shapes import CONTEXT, MATMUL, ROWS, model
from benchmarks.turns import Contender
from yue_jax.accounting import train_flops_per_token

ROOT = pathlib.Path(__file__).resolve().parent.parent
JAX, TORCH = "benchmarks.step_jax", "benchmarks.step_torch"
ONE = {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
# Devices that wait for each other hold threads: a larger pool.
EIGHT = {
  "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
  "PJRT_NPROC": "32",
}
CONTENDERS = {
  "jax 1": ([JAX], ONE),
  "jax 1, full": ([JAX, "--remat=full"], ONE),
  "jax 8": ([JAX, "--fsdp=4", "--tensor=2"], EIGHT),
  "torch": ([TORCH], {}),
  "torch compiled": ([TORCH, "--compile"], {}),
}


def main() -> None:
  args = _parser().parse_args()
  contenders = dict(CONTENDERS)
  if importlib.util.find_spec("torch") is None:
    print("no PyTorch here: ours alone is measured", file=sys.stderr)
    contenders = {n: c for n, c in contenders.items() if TORCH not in c[0]}
  rows = []
  for vocab in args.vocab:
    with tempfile.TemporaryDirectory() as folder:
      rows += measure(contenders, vocab, pathlib.Path(folder), args.rounds)
  packages = ["jax", "jaxlib", "numpy"]
  if len(contenders) == len(CONTENDERS):
    packages += ["torch", "transformers"]
  figures = {"rounds": args.rounds, "steps": rows, "ratios": ratios(rows)}
  report(figures, rows, packages=packages)


def measure(
  contenders: Mapping[str, tuple], vocab: int, folder: pathlib.Path, rounds: int
) -> list[dict]:
  """A line of figures for every contender."""
  weights = folder / "weights"
  subprocess.run(
    [sys.executable, "-m", JAX, f"--vocab={vocab}", f"--export={weights}"],
    cwd=ROOT,
    check=True,
    env=os.environ | ONE,
  )
  running = {}
  for name, (command, environment) in contenders.items():
    more = [f"--folder={weights}"] if TORCH in command else []
    running[name] = Contender(
      [sys.executable, "-m", *command, f"--vocab={vocab}", *more],
      cwd=ROOT,
      environment=environment,
    )
  agree({name: c.first["loss"] for name, c in running.items()}, 1e-4)
  steps, products = {name: [] for name in running}, []
  for _ in range(rounds):
    for name, contender in running.items():
      steps[name].append(contender.call("step"))
    agree({name: taken[-1]["loss"] for name, taken in steps.items()}, 1e-3)
    products += [numpy_matmul(), *(c.call("matmul") for c in running.values())]
  flops = ROWS * CONTEXT * train_flops_per_token(model(vocab), CONTEXT)
  # What the step would take at the speed of the fastest product.
  least = {
    what: flops / (2 * MATMUL**3) * min(product[what] for product in products)
    for what in ("seconds", "cpu_seconds")
  }
  return [
    summarise(name, vocab, contender, steps[name], least)
    for name, contender in running.items()
  ]


def summarise(
  name: str,
  vocab: int,
  contender: Contender,
  steps: list[dict[str, float]],
  least: dict[str, float],
) -> dict[str, object]:
  taken = {w: statistics.median(step[w] for step in steps) for w in least}
  temporary = contender.first.get("temporary_bytes", 0)
  return {
    "step": name,
    "vocab": vocab,
    "seconds": round(taken["seconds"], 2),
    "cpu_seconds": round(taken["cpu_seconds"], 2),
    "tokens_per_second": round(ROWS * CONTEXT / taken["seconds"]),
    "of_matrix_peak": round(least["seconds"] / taken["seconds"], 3),
    "of_cpu_peak": round(least["cpu_seconds"] / taken["cpu_seconds"], 3),
    "to_first_step": round(contender.seconds_to_first_step, 1),
    "peak_mib": round(contender.close() / 2**20),
    "temporary_mib": round(temporary / 2**20) or None,
    "loss": round(steps[-1]["loss"], 4),
  }


def agree(losses: dict[str, float], within: float) -> None:
  """Raises AssertionError unless all computed the same."""
  if max(losses.values()) - min(losses.values()) > within:
    raise AssertionError(f"losses differ by more than {within}: {losses}")


def numpy_matmul() -> dict[str, float]:
  x = np.ones((MATMUL, MATMUL), np.float32)
  began, cpu = time.perf_counter(), time.process_time()
  x @ x
  return {
    "seconds": time.perf_counter() - began,
    "cpu_seconds": time.process_time() - cpu,
  }


def ratios(rows: list[dict]) -> dict[str, dict[str, float]]:
  """How many times as fast as torch our step is, by vocabulary."""
  by = {(row["vocab"], row["step"]): row for row in rows}
  vocabs = dict.fromkeys(row["vocab"] for row in rows)
  return {
    f"{name} over {other}, {what}": {
      str(vocab): round(by[vocab, other][what] / by[vocab, name][what], 2)
      for vocab in vocabs
    }
    for name in ("jax 1", "jax 8")
    for other in ("torch", "torch compiled")
    if (rows[0]["vocab"], other) in by
    for what in ("seconds", "cpu_seconds")
  }


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--vocab", type=int, nargs="+", default=[2_048, 83_840])
  add("--rounds", type=int, default=5, help="[5]")
  return parser


if __name__ == "__main__":
  main()
