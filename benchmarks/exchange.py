"""Measures export and import: memory, and speed beside copying the bytes.

  export          tools/export_hf.py: a checkpoint in float32 -> a folder in
                  --dtype
  import          tools/import_hf.py: that folder -> a checkpoint in float32
  cp checkpoint   of what export reads and import writes, with `sync` of its
                  files: export and import end with everything on the disk too
  cp folder       of what export writes and import reads

All are run as commands, in turns; what a command reads is dropped from the
page cache before (posix_fadvise, DONTNEED). Time is that of the whole command,
start and imports included. In float32 checkpoint and folder have the same
bytes. In bfloat16 the folder has half as many: cp of the checkpoint moves more
than export and import do, of the folder less, and both ratios are given.
Memory is the highest that was seen of the process: all that is resident, and of
it what is anonymous, not a file's (RssAnon, asked for a hundred times a
second).

Weights are random numbers of the shape of --model, written chunk by chunk.
What comes out is compared with what went in, for a tensor of every kind.
Needs 8 bytes of disk for every parameter: 4 GB for stage1_0b5, 50 GB for
stage1_7b.

Prints JSON, and a table to stderr. No accelerator is used.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.report import report
from yue_jax import accounting, presets
from yue_jax.checkpoint_chunks import ArrayWriter, boxes, whole
from yue_jax.config import ModelConfig
from yue_jax.exchange import shards, table
from yue_jax.exchange.workers import for_each
from yue_jax.progress import Progress
from yue_jax.vocab import RELEASED
from yue_jax.weights import Weights, open_weights, save_staged

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPY = 'cp -r "$0" "$1" && find "$1" -type f -exec sync {} +'
COMMANDS = ("export", "import", "cp checkpoint", "cp folder")


@dataclasses.dataclass(frozen=True)
class Spent:
  """What a command took; memory in bytes."""

  seconds: float
  cpu_seconds: float
  anonymous: int
  resident: int


def main() -> None:
  args = _parser().parse_args()
  cfg = getattr(presets, args.model)()
  with tempfile.TemporaryDirectory(dir=args.folder) as name:
    root = pathlib.Path(name)
    run, folder, copy, back = (root / n for n in ("run", "hf", "copy", "back"))
    write_random_checkpoint(run, cfg)
    spent = {name: [] for name in COMMANDS}
    for _ in range(args.rounds):
      shutil.rmtree(folder, ignore_errors=True)
      spent["cp checkpoint"].append(measure_copy(run, copy))
      spent["export"].append(
        convert("export_hf", run, folder, args, f"--dtype={args.dtype}")
      )
    compare(run, folder, cfg, args.dtype)
    shutil.rmtree(run)
    for _ in range(args.rounds):
      shutil.rmtree(back, ignore_errors=True)
      spent["cp folder"].append(measure_copy(folder, copy))
      spent["import"].append(convert("import_hf", folder, back, args))
    compare(back, folder, cfg, args.dtype)
    sizes = {"export": size_of(folder), "import": size_of(back)}
  sizes["cp checkpoint"], sizes["cp folder"] = sizes["import"], sizes["export"]
  rows = [summarise(what, spent[what], sizes[what]) for what in spent]
  by = {row["command"]: row for row in rows}
  figures = {
    "model": args.model,
    "parameters": accounting.parameter_count(cfg),
    "dtype": args.dtype,
    "workers": args.workers,
    "rounds": args.rounds,
    "bytes_written": sizes,
    "medians": rows,
    "speed_over_cp": {
      what: {
        name: round(by[f"cp {name}"]["seconds"] / by[what]["seconds"], 2)
        for name in ("checkpoint", "folder")
      }
      for what in ("export", "import")
    },
  }
  report(
    figures,
    rows,
    packages=("numpy", "tensorstore", "orbax-checkpoint", "safetensors"),
  )


def write_random_checkpoint(run: pathlib.Path, cfg: ModelConfig) -> None:
  """A checkpoint of random weights, of which a few chunks are in memory."""
  shapes = {row.ours: table.our_shape(row, cfg) for row in table.TABLE}
  run.mkdir()
  writer = ArrayWriter(run / "arrays", shapes)
  chunks = [
    (name, box)
    for name, shape in shapes.items()
    for box in boxes(whole(shape), writer.chunk(name))
  ]

  def write(number: int) -> None:
    name, box = chunks[number]
    shape = [s.stop - s.start for s in box]
    rng = np.random.default_rng(number)
    numbers = cfg.init_std * rng.standard_normal(shape, np.float32)
    writer.write(name, box, numbers)()

  with Progress(len(chunks), "chunks", "random weights") as progress:
    for_each(range(len(chunks)), write, workers=2, progress=progress)
  save_staged(run, Weights(cfg, RELEASED, 0, {}), writer)


def convert(
  tool: str,
  reads: pathlib.Path,
  writes: pathlib.Path,
  args: argparse.Namespace,
  *flags: str,
) -> Spent:
  command = [sys.executable, f"tools/{tool}.py", str(reads), str(writes)]
  return measure([*command, f"--workers={args.workers}", *flags], reads=reads)


def measure_copy(folder: pathlib.Path, copy: pathlib.Path) -> Spent:
  spent = measure(["sh", "-c", COPY, str(folder), str(copy)], reads=folder)
  shutil.rmtree(copy)
  return spent


def measure(command: Sequence[str], *, reads: pathlib.Path) -> Spent:
  """Runs a command that finds nothing of what it reads in memory."""
  forget(reads)
  began = time.perf_counter()
  process = subprocess.Popen(
    command, cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ
  )
  anonymous = resident = 0
  while True:
    ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    if ended:
      break
    anonymous = max(anonymous, memory_of(process.pid, "RssAnon"))
    resident = max(resident, memory_of(process.pid, "VmHWM"))
    time.sleep(0.01)
  seconds = time.perf_counter() - began
  process.returncode = os.waitstatus_to_exitcode(status)
  if process.returncode:
    raise subprocess.CalledProcessError(process.returncode, command)
  return Spent(seconds, usage.ru_utime + usage.ru_stime, anonymous, resident)


def memory_of(pid: int, what: str) -> int:
  """Bytes by the kernel's account; 0 of a process that has just ended."""
  lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
  found = [line.split()[1] for line in lines if line.startswith(what)]
  return int(found[0]) * 1024 if found else 0


def forget(folder: pathlib.Path) -> None:
  """Asks the kernel to drop the files of a folder from its page cache."""
  os.sync()
  for path in folder.rglob("*"):
    if path.is_file():
      handle = os.open(path, os.O_RDONLY)
      os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
      os.close(handle)


def compare(
  run: pathlib.Path, folder: pathlib.Path, cfg: ModelConfig, dtype: str
) -> None:
  """The folder has the weights of the run, rounded to `dtype`."""
  params = open_weights(run).params
  leaves = table.checked_leaves(params, cfg)
  stored = shards.open_folder(folder)
  tensors = [t for t in table.tensors(cfg) if t.layer in (None, cfg.layers - 1)]
  for tensor in tensors:
    rows = min(tensor.shape[0], 4096) if tensor.is_table else tensor.shape[0]
    theirs = stored[tensor.name].read(0, rows)
    if tensor.is_table:
      ours = leaves[tensor.row.ours][slice(0, rows), slice(0, cfg.width)]
    else:
      leaf = leaves[tensor.row.ours]
      box = whole(leaf.shape)
      if tensor.layer is not None:
        box = (slice(tensor.layer, tensor.layer + 1), *box[1:])
      ours = leaf[box].reshape(leaf.shape[tensor.row.stacked :])
      theirs = table.to_ours(tensor.row, theirs, cfg)
    assert theirs.dtype == shards.DTYPES[dtype]
    np.testing.assert_array_equal(ours.astype(theirs.dtype), theirs)


def size_of(folder: pathlib.Path) -> int:
  return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def summarise(what: str, runs: Sequence[Spent], size: int) -> dict[str, object]:
  seconds = statistics.median(run.seconds for run in runs)
  cpu_seconds = statistics.median(run.cpu_seconds for run in runs)
  return {
    "command": what,
    "seconds": round(seconds, 1),
    "cpu_seconds": round(cpu_seconds, 1),
    "mb_per_second": round(size / 1e6 / seconds, 1),
    "anonymous_mib": round(max(run.anonymous for run in runs) / 2**20),
    "resident_mib": round(max(run.resident for run in runs) / 2**20),
  }


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  names = ("stage1_0b5", "stage1_2b", "stage1_7b", "stage2_1b")
  add("--model", choices=names, default=names[0], help="[%(default)s]")
  add(
    "--dtype",
    choices=sorted(shards.DTYPES),
    default="bfloat16",
    help="[%(default)s]",
  )
  add("--rounds", type=int, default=3, help="[3]")
  add("--workers", type=int, default=2, help="of export and import [2]")
  add("--folder", type=pathlib.Path, help="for the files [temporary files]")
  return parser


if __name__ == "__main__":
  main()
