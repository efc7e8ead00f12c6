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
compilation and weights. Processor seconds of a step are of all its threads:
on a machine that is shared they say more than the clock. The share of the
matrix peak is that of the step's FLOPs (causal convention of
yue_jax.accounting) in what the fastest of NumPy, jax and torch makes of a
float32 product of 2,048 x 2,048 in the same run.

Prints JSON, and a table to stderr. The machine that counts is the TPU; this
one shows that nothing is wasted on the way there.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from bench_report import report
from bench_step_shapes import CONTEXT, MATMUL, ROWS, model
from bench_turns import Contender
import numpy as np

from yue_jax.accounting import train_flops_per_token

TOOLS = pathlib.Path(__file__).parent
JAX, TORCH = (TOOLS / f"bench_step_{name}.py" for name in ("jax", "torch"))
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
  rows = []
  for vocab in args.vocab:
    with tempfile.TemporaryDirectory() as folder:
      rows += measure(vocab, pathlib.Path(folder), args.rounds)
  figures = {"rounds": args.rounds, "steps": rows, "ratios": ratios(rows)}
  report(
    figures, rows, packages=("jax", "jaxlib", "torch", "transformers", "numpy")
  )


def measure(vocab: int, folder: pathlib.Path, rounds: int) -> list[dict]:
  """A line of figures for every contender."""
  weights = folder / "weights"
  subprocess.run(
    [sys.executable, JAX, f"--vocab={vocab}", f"--export={weights}"],
    check=True,
    env=os.environ | ONE,
  )
  running = {}
  for name, (command, environment) in CONTENDERS.items():
    more = [f"--folder={weights}"] if TORCH in command else []
    running[name] = Contender(
      [sys.executable, *map(str, command), f"--vocab={vocab}", *more],
      environment,
    )
  agree({name: c.first["loss"] for name, c in running.items()}, 1e-4)
  steps, peaks = {name: [] for name in running}, []
  for _ in range(rounds):
    for name, contender in running.items():
      steps[name].append(contender.call("step"))
    peaks += [numpy_matmul()]
    peaks += [c.call("matmul")["seconds"] for c in running.values()]
  for taken in zip(*steps.values(), strict=True):
    losses = [step["loss"] for step in taken]
    agree(dict(zip(steps, losses, strict=True)), 1e-3)
  peak = 2 * MATMUL**3 / min(peaks)
  flops = ROWS * CONTEXT * train_flops_per_token(model(vocab), CONTEXT)
  return [
    summarise(name, vocab, contender, steps[name], flops / peak)
    | {"matrix_peak_gflops": round(peak / 1e9, 1)}
    for name, contender in running.items()
  ]


def summarise(
  name: str,
  vocab: int,
  contender: Contender,
  steps: list[dict[str, float]],
  least_seconds: float,
) -> dict[str, object]:
  """`least_seconds` is what the step would take at the matrix peak."""
  seconds = statistics.median(step["seconds"] for step in steps)
  cpu = statistics.median(step["cpu_seconds"] for step in steps)
  temporary = contender.first.get("temporary_bytes")
  return {
    "step": name,
    "vocab": vocab,
    "tokens_per_second": round(ROWS * CONTEXT / seconds),
    "tokens_per_cpu_second": round(ROWS * CONTEXT / cpu),
    "share_of_matrix_peak": round(least_seconds / seconds, 3),
    "seconds_to_first_step": round(contender.seconds_to_first_step, 1),
    "peak_mib": round(contender.close() / 2**20),
    "temporary_mib": temporary and round(temporary / 2**20),
    "first_loss": round(contender.first["loss"], 5),
  }


def agree(losses: dict[str, float], within: float) -> None:
  """Raises AssertionError unless all computed the same."""
  if max(losses.values()) - min(losses.values()) > within:
    raise AssertionError(f"losses differ by more than {within}: {losses}")


def numpy_matmul() -> float:
  x = np.ones((MATMUL, MATMUL), np.float32)
  began = time.perf_counter()
  x @ x
  return time.perf_counter() - began


def ratios(rows: list[dict]) -> dict[str, dict[str, float]]:
  """Ours over torch's, by vocabulary."""
  by = {(row["vocab"], row["step"]): row for row in rows}
  return {
    f"{name} over {other}, {what}": {
      str(vocab): round(by[vocab, name][what] / by[vocab, other][what], 2)
      for vocab in dict.fromkeys(row["vocab"] for row in rows)
    }
    for name in ("jax 1", "jax 8")
    for other in ("torch", "torch compiled")
    for what in ("tokens_per_second", "tokens_per_cpu_second", "peak_mib")
  }


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--vocab", type=int, nargs="+", default=[2_048, 83_840])
  add("--rounds", type=int, default=7, help="[7]")
  return parser


if __name__ == "__main__":
  main()
