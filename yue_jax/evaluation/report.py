"""Evaluations as JSON and as a table."""

from collections.abc import Sequence
import json
import pathlib

from yue_jax.evaluation.estimates import LEVEL
from yue_jax.evaluation.measures import HIGHER, LOWER, Evaluation

_FORMAT = 1


def write_json(found: Sequence[Evaluation], path: pathlib.Path) -> None:
  """Everything, song by song; NaN is not JSON and does not occur."""
  described = {
    "format": _FORMAT,
    "level": LEVEL,
    "systems": {e.name: e.to_json() for e in found},
  }
  text = json.dumps(described, indent=1, allow_nan=False, ensure_ascii=False)
  path.write_text(text + "\n")


def table(found: Sequence[Evaluation]) -> list[str]:
  """One line a measure, one column a system; arrows say what is better."""
  paths = dict.fromkeys(path for e in found for path in e.measures)
  cells = {
    path: [str(e.measures.get(path, "")) for e in found] for path in paths
  }
  first = max(map(len, [*paths, "measure"])) + 2
  widths = [
    max(len(row[k]) for row in [*cells.values(), [e.name for e in found]])
    for k in range(len(found))
  ]
  lines = [_line("measure", [e.name for e in found], first, widths)]
  lines += [
    _line(f"{path} {_arrow(path)}", row, first, widths)
    for path, row in cells.items()
  ]
  for e in found:
    lines += [f"{e.name}: no {r['metric']}: {r['reason']}" for r in e.refused]
    if e.rejected:
      lines.append(
        f"{e.name}: {len(e.rejected)} songs rejected, such as"
        f" {e.rejected[0]['song']} ({e.rejected[0]['reason']})"
      )
  return lines


def _line(name: str, row: list[str], first: int, widths: list[int]) -> str:
  cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
  return "  ".join([name.ljust(first), *cells]).rstrip()


def _arrow(path: str) -> str:
  if path.startswith(LOWER):
    return "↓"
  return "↑" if path.startswith(HIGHER) else ""
