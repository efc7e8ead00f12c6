"""What benchmarks share: who measured where, and how it is shown.

A benchmark prints JSON to stdout (machine, versions, command, figures) and a
table for people to stderr, so that `> FILE` keeps the one and shows the other.
"""

from collections.abc import Mapping, Sequence
import importlib.metadata
import json
import os
import pathlib
import platform
import sys


def report(
  figures: Mapping[str, object],
  rows: Sequence[Mapping[str, object]],
  *,
  packages: Sequence[str],
) -> None:
  """Prints the figures with all that they depend on, and a table of rows."""
  described = {
    "command": " ".join(["python -m", _module(), *sys.argv[1:]]),
    "machine": machine(),
    "versions": {name: importlib.metadata.version(name) for name in packages},
  }
  print(table(rows), file=sys.stderr, flush=True)
  print(json.dumps(described | dict(figures), indent=2))


def machine() -> dict[str, object]:
  """Of this process: a benchmark may be given fewer cores than there are."""
  memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  return {
    "platform": platform.platform(),
    "processor": _processor(),
    "cores": len(os.sched_getaffinity(0)),
    "memory_gib": round(memory / 2**30, 1),
    "python": platform.python_version(),
    "load": round(os.getloadavg()[0], 2),
  }


def table(rows: Sequence[Mapping[str, object]]) -> str:
  """Rows as text: columns are the keys of the first, numbers to the right."""
  names = list(rows[0])
  cells = [names, *([_text(row[name]) for name in names] for row in rows)]
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  aligned = [isinstance(rows[0][name], str) for name in names]
  return "\n".join(
    "  ".join(
      cell.ljust(width) if left else cell.rjust(width)
      for cell, width, left in zip(line, widths, aligned, strict=True)
    )
    for line in cells
  )


def _module() -> str:
  return sys.modules["__main__"].__spec__.name


def _text(value: object) -> str:
  return f"{value:,}" if isinstance(value, int | float) else str(value)


def _processor() -> str:
  """Its name where Linux tells it, else the architecture."""
  path = pathlib.Path("/proc/cpuinfo")
  lines = path.read_text().splitlines() if path.is_file() else []
  names = [
    line.split(":")[1] for line in lines if line.startswith("model name")
  ]
  return names[0].strip() if names else platform.machine()
