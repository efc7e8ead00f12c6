"""The TPU compiler's output for a lowered step, kept on disk.

A full-size step takes minutes, so what the compiler says is kept under a key
made of everything it depends on: the lowered program, the topology, flags from
the environment and versions. Changed code lowers to another program, hence to
another key. What is kept is the compiler's own text: counting may improve
without compiling again.
"""

from collections.abc import Callable
import dataclasses
import gzip
import hashlib
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import tempfile
import time

import jax

from yue_jax.planner.topology import Topology
from yue_jax.whole_directory import whole_directory

# The pass after which the program is partitioned and simplified, and repeated
# collectives are merged, but none is rewritten for the hardware yet.
_PARTITIONED = "simplification-4"
_FILES = {
  "partitioned": f"*.after_{_PARTITIONED}.*.txt",
  "optimized": "*.after_optimizations.txt",
  "buffers": "*.after_optimizations-buffer-assignment.txt",
  "lifetimes": "*.after_optimizations-live-range.txt",
}
_BYTES = {"B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
  """What the compiler said about one step.

  Attributes:
    key: names it in the cache.
    seconds: that the compiler took.
    refused: its message, if the step does not fit; "" if it does.
    memory: fields of XLA's memory analysis in bytes; {} if refused.
    versions: of jax, jaxlib and libtpu.
    text: returns "partitioned" or "optimized" programs, the assignment of
      "buffers" and their "lifetimes"; "" for what the compiler of a refused
      step did not come to.
  """

  key: str
  seconds: float
  refused: str
  memory: dict[str, int]
  versions: dict[str, str]
  text: Callable[[str], str] = dataclasses.field(repr=False, compare=False)

  @property
  def needed(self) -> int | None:
    """Bytes of one device: arguments, results that replace none, temporaries.

    With the gaps between them. None if refused without a figure.
    """
    if said := self.memory:
      sizes = (said[f"{name}_size"] for name in ("argument", "output", "temp"))
      return sum(sizes) - said["alias_size"]
    found = re.search(
      r"\(([\d.]+)([BKMGT])\) exceeds available"
      r"|Used ([\d.]+)([BKMGT]) of [\d.]+[BKMGT] hbm",
      self.refused,
    )
    if not found:
      return None
    number, unit = (found[1], found[2]) if found[1] else (found[3], found[4])
    return round(float(number) * _BYTES[unit])


def compile_step(
  lowered: jax.stages.Lowered, topology: Topology, cache: pathlib.Path
) -> Compiled:
  """Compiles, or takes from `cache` what was compiled before.

  Raises:
    jax.errors.JaxRuntimeError: the compiler fails for another reason than
      memory.
  """
  key, versions = _key(lowered, topology)
  out = cache / key
  if not out.exists():
    with whole_directory(out) as partial:
      _compile(lowered, versions, partial)
  return load(out)


def load(path: pathlib.Path) -> Compiled:
  """Reads one entry of the cache."""

  def text(name: str) -> str:
    kept = path / f"{name}.txt.gz"
    if not kept.exists():
      return ""
    with gzip.open(kept, "rt") as file:
      return file.read()

  record = json.loads((path / "compiled.json").read_text())
  return Compiled(key=path.name, text=text, **record)


def _key(lowered, topology) -> tuple[str, dict[str, str]]:
  versions = {
    name: importlib.metadata.version(name)
    for name in ("jax", "jaxlib", "libtpu")
  }
  flags = os.environ.get("LIBTPU_INIT_ARGS", "")
  digest = hashlib.sha256(lowered.as_text().encode())
  settings = [str(topology), flags, versions, _PARTITIONED]
  digest.update(json.dumps(settings).encode())
  return digest.hexdigest()[:24], versions


def _compile(lowered, versions, out: pathlib.Path) -> None:
  began, refused, memory = time.monotonic(), "", {}
  with tempfile.TemporaryDirectory() as dump:
    try:
      compiled = lowered.compile(
        compiler_options={
          "xla_dump_to": dump,
          "xla_dump_hlo_pass_re": f"^{_PARTITIONED}$",
          "xla_dump_large_constants": True,  # the masks of attention kernels
        }
      )
      memory = _memory(compiled)
    except jax.errors.JaxRuntimeError as error:
      refused = str(error)
      if not _is_out_of_memory(refused):
        raise
    seconds = time.monotonic() - began
    for name, pattern in _FILES.items():
      found = list(pathlib.Path(dump).glob(pattern))
      if found:
        # The step is the largest of the modules that a dump may hold.
        _keep(max(found, key=lambda p: p.stat().st_size), out, name)
      elif not refused:
        raise FileNotFoundError(
          f"the compiler wrote no {pattern}; this version of libtpu names its"
          " passes differently, and planner.compiler must learn them"
        )
  record = {
    "seconds": round(seconds, 1),
    "refused": refused,
    "memory": memory,
    "versions": versions,
  }
  (out / "compiled.json").write_text(json.dumps(record, indent=2) + "\n")


def _memory(compiled: jax.stages.Compiled) -> dict[str, int]:
  analysis = compiled.memory_analysis()
  names = (n for n in dir(analysis) if n.endswith("_in_bytes"))
  return {n.removesuffix("_in_bytes"): getattr(analysis, n) for n in names}


def _is_out_of_memory(message: str) -> bool:
  return "RESOURCE_EXHAUSTED" in message or "CompileTimeHbmOom" in message


def _keep(dumped: pathlib.Path, out: pathlib.Path, name: str) -> None:
  with (
    dumped.open("rb") as source,
    gzip.open(out / f"{name}.txt.gz", "wb") as kept,
  ):
    shutil.copyfileobj(source, kept)
