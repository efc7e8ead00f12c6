"""Plans every shipped recipe, and writes them as one table.

  JAX_PLATFORMS=cpu python tools/plan_table.py

runs tools/plan_run.py for one row after the other, each in a process of its
own, and writes docs/plans.md and docs/plans.json after each. What is compiled
already is taken from --cache, so the same command continues after an
interruption, and rows whose code has changed are compiled again. --rows
chooses rows by a regular expression; others keep what --cache has of them.
Full-size models take minutes each, and about 2 GiB.
"""

import argparse
from collections.abc import Iterator, Mapping
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import time

from yue_jax.planner import report

ROOT = pathlib.Path(__file__).resolve().parent.parent
_STAGE1 = "experiments/stage1_pretrain.py"  # 8,192 tokens; phase 1: constant
_LONG = "experiments/yue_four_phases.py"  # phase 2: 16,384 tokens
_STAGE2 = "experiments/stage2_pretrain.py"


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of the table; `layout` are fields of the config."""

  title: str
  config: str
  topology: str
  phase: int
  layout: tuple[str, ...] = ()

  @property
  def name(self) -> str:
    """For a file."""
    return re.sub(r"\W+", "-", f"{self.title} {self.topology}")


def _mesh(fsdp: int, microbatches: int, phases: int, **axes: int):
  """A mesh of `fsdp` and other axes; microbatches of all phases."""
  return (
    f"mesh.fsdp={fsdp}",
    *(f"mesh.{axis}={size}" for axis, size in axes.items()),
    *(f"phases[{n}].microbatches={microbatches}" for n in range(phases)),
  )


def _seven_billion(title: str, config: str, phase: int, phases: int):
  """The 7B on 64, 256 and 1,024 chips; 768 samples are too few for a row each
  on the last."""
  config = f"{config}:7b"
  return (
    Row(title, config, "v5p:4x4x4", phase),
    Row(title, config, "v5p:4x8x8", phase, _mesh(256, 3, phases)),
    Row(title, config, "v5p:8x8x16", phase, _mesh(256, 3, phases, context=4)),
  )


def _beside(title: str, topology: str, fsdp: int, *fields: str, **axes: int):
  """LLaMA-2-7B, as many sequences as chips: for docs/beside_maxtext.md."""
  chips = fsdp * axes.get("tensor", 1)
  return Row(
    f"LLaMA-2-7B, {title}",
    f"{_STAGE1}:7b",
    topology,
    0,
    (
      "model.kv_heads=32",
      "model.vocab_size=83840",
      f"phases[0].samples={chips}",
      f"phases[1].samples={chips}",
      *_mesh(fsdp, 1, 2, **axes),
      *fields,
    ),
  )


ROWS = (
  Row("stage 1 0.5B, 8,192", f"{_STAGE1}:0b5", "v5e:8x8", 1),
  Row("stage 1 0.5B, 16,384", f"{_LONG}:0b5", "v5e:8x8", 2),
  Row("stage 1 2B, 8,192", f"{_STAGE1}:2b", "v6e:8x8", 1),
  Row("stage 1 2B, 16,384", f"{_LONG}:2b", "v6e:8x8", 2),
  Row("stage 2 1B, 8,192", _STAGE2, "v6e:8x8", 0),
  *_seven_billion("stage 1 7B, 8,192", _STAGE1, 1, 2),
  *(
    Row("stage 1 7B, 8,192", f"{_STAGE1}:7b", topology, 1, layout)
    for topology, layout in (
      ("v5p:2x2x4", _mesh(16, 48, 2)),
      ("v5p:8x16x16", _mesh(256, 3, 2, context=8)),
    )
  ),
  Row(
    "stage 1 7B, 8,192, all kept",
    f"{_STAGE1}:7b",
    "v5p:4x4x4",
    1,
    ("model.remat=none",),
  ),
  Row(
    "stage 1 7B, 8,192, all logits at once",
    f"{_STAGE1}:7b",
    "v5p:4x4x4",
    1,
    ("loss.chunk=8192",),
  ),
  _beside("8,192", "v5p:4x4x4", 64),
  _beside("8,192, chunks of 128", "v5p:4x4x4", 64, "loss.chunk=128"),
  _beside("8,192, qkv kept", "v5p:4x4x4", 64, "model.remat=qkv"),
  _beside(
    "16,384",
    "v5p:4x4x4",
    64,
    "phases[0].context=16384",
    "phases[1].context=16384",
  ),
  _beside("8,192", "v5e:16x16", 256),
  _beside("8,192, tensor 4", "v5e:16x16", 64, tensor=4),
  *_seven_billion("stage 1 7B, 16,384", _LONG, 2, 4),
)


_LEGEND = """\
Every step was compiled ahead of time, and none was run. Memory is that of one
device: *state* its parameters and optimiser, *peak* all that is alive at a
time, *needed* what XLA reports for arguments and temporaries. FLOPs are counted
in the compiled program, loops multiplied out, against the model's by the causal
convention; bytes gathered against what FSDP has to gather (where the compiler
gathers by permutes they are in plans.json instead, as `permuted`). *bound* is
the slowest resource at public peak rates (`yue_jax/chips.py`), were everything
overlapped; *sum* all of them, were nothing. Tokens, MFU, days and thousands of
dollars at list price are at the bound, for the whole phase."""


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs")
  parser.add_argument(
    "--cache", type=pathlib.Path, default=pathlib.Path("runs/plans")
  )
  parser.add_argument(
    "--rows", default="", help="as in stage-1-7B-8-192-v5p-4x4x4"
  )
  parser.add_argument("--cores", type=int, default=os.cpu_count())
  parser.add_argument(
    "--max_gib", type=float, default=16.0, help="a compiler may take so much"
  )
  options = parser.parse_args()
  chosen = [row for row in ROWS if re.search(options.rows, row.name)]
  if not chosen:
    sys.exit(f"plan_table: --rows={options.rows!r} chooses none of the rows")
  options.cache.mkdir(parents=True, exist_ok=True)
  for number, row in enumerate(chosen, 1):
    print(f"[{number}/{len(chosen)}] {row.title} on {row.topology}", flush=True)
    began = time.monotonic()
    outcome = plan(row, options)
    print(f"  {outcome} after {time.monotonic() - began:.0f} s", flush=True)
    write(options.out, {row: read(row, options.cache) for row in ROWS})


def plan(row: Row, options: argparse.Namespace) -> str:
  """Runs the planner for one row; says how it ended, and keeps that."""
  result, log = _files(row, options.cache)
  result.unlink(missing_ok=True)
  command = [
    sys.executable,
    str(ROOT / "tools/plan_run.py"),
    f"--config={ROOT / row.config}",
    f"--topology={row.topology}",
    f"--phase={row.phase}",
    f"--cache={options.cache}",
    f"--json={result}",
    *(f"--config.{field}" for field in row.layout),
  ]
  with log.open("w") as file:
    process = subprocess.Popen(
      command, stdout=file, stderr=subprocess.STDOUT, env=_environment()
    )
    os.setpriority(os.PRIO_PROCESS, process.pid, 10)
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(process.pid, available[: options.cores])
    stopped = _watch(process, options.max_gib)
  if stopped or process.returncode:
    last = log.read_text().strip().splitlines()[-1:] or ["no output"]
    result.write_text(json.dumps(f"not compiled: {stopped or last[0]}"))
  outcome = read(row, options.cache)
  return outcome if isinstance(outcome, str) else "compiled"


def read(row: Row, cache: pathlib.Path) -> Mapping | str:
  """What is known of a row: its plan, or why there is none."""
  result, _ = _files(row, cache)
  return json.loads(result.read_text()) if result.exists() else "not compiled"


def write(out: pathlib.Path, plans: Mapping[Row, Mapping | str]) -> None:
  """docs/plans.md and docs/plans.json."""
  out.mkdir(parents=True, exist_ok=True)
  by_title = {f"{row.title} ({row.topology})": p for row, p in plans.items()}
  text = json.dumps(by_title, indent=1)
  (out / "plans.json").write_text(text + "\n")
  (out / "plans.md").write_text("\n".join(_page(plans)) + "\n")


def _page(plans: Mapping[Row, Mapping | str]) -> Iterator[str]:
  compiled = [p for p in plans.values() if not isinstance(p, str)]
  versions = {" ".join(v) for p in compiled for v in p["versions"].items()}
  yield "# Plans of the shipped recipes"
  yield ""
  yield f"Made by `tools/plan_table.py` with {', '.join(sorted(versions))}."
  yield _LEGEND
  yield ""
  yield from report.table((row.title, its) for row, its in plans.items())


def _files(row: Row, cache: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
  return cache / f"{row.name}.json", cache / f"{row.name}.log"


def _environment() -> dict[str, str]:
  path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
  return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}


def _watch(process: subprocess.Popen, max_gib: float) -> str:
  """Waits; stops a compiler that takes too much, and then says so."""
  while process.poll() is None:
    time.sleep(0.5)
    status = pathlib.Path(f"/proc/{process.pid}/status")
    try:
      used = re.search(r"VmRSS:\s+(\d+) kB", status.read_text())
    except FileNotFoundError:  # it ended meanwhile
      continue
    if used and int(used[1]) > max_gib * 2**20:
      process.kill()
      process.wait()
      return f"the compiler took more than {max_gib:g} GiB"
  return ""


if __name__ == "__main__":
  main()
