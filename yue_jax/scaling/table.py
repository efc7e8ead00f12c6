"""Rows of a table of results, as runs.

A row is what `tools/sweep.py` gathers of a run: `status`, `axes` (a mapping,
or columns axes.NAME of a CSV), `parameters`, `parameters_without_embedding`,
`tokens`, `flops` and `loss`. Whatever else it holds is left alone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
import csv
import itertools
import json
import pathlib
from typing import Any

import numpy as np

from yue_jax.scaling import refusals
from yue_jax.scaling.runs import Runs

Row = dict[str, Any]
SEED = "seed"  # the axis along which runs of one setting are repeated
_SAME_TOKENS = 1.05  # padding makes a little difference between seeds


def read(
  path: pathlib.Path, columns: Mapping[str, str] | None = None
) -> list[Row]:
  """The rows of a .jsonl or .csv.

  Args:
    path: of the table.
    columns: what a field is called there, for tables of others:
      {"parameters": "Model Size"}.

  Raises:
    ValueError: no rows; a line that is no record; a column is missing.
  """
  rows = _read_csv(path) if path.suffix == ".csv" else _read_lines(path)
  if not rows:
    raise ValueError(f"{path} has no rows, expected one for every run")
  for field, name in (columns or {}).items():
    for row in rows:
      if name not in row:
        raise ValueError(f"{path} has no column {name!r}, but {list(row)}")
      row[field] = row.pop(name)
  return rows


def finished(rows: Iterable[Row]) -> tuple[list[Row], Counter]:
  """The rows with status "done", and how many of each other status.

  A table in which no row has a status is one of finished runs.
  """
  rows = list(rows)
  if not any("status" in row for row in rows):
    return rows, Counter()
  done = [row for row in rows if row.get("status") == "done"]
  if not done:
    raise refusals.TooFewRuns(
      f"none of {len(rows)} runs has the status done, expected some; run the"
      " sweep again to continue it"
    )
  return done, Counter(
    str(row.get("status")) for row in rows if row.get("status") != "done"
  )


def where(rows: Iterable[Row], axis: str, value: str) -> list[Row]:
  """The rows with one value, as it is written, on an axis."""
  rows = list(rows)
  chosen = [row for row in rows if str(_value(row, axis)) == value]
  if not chosen:
    known = sorted({str(_value(row, axis)) for row in rows})
    raise ValueError(f"no run has {axis}={value}; known: {', '.join(known)}")
  return chosen


def tuned(
  rows: Sequence[Row], axes: Sequence[str]
) -> tuple[list[Row], Counter]:
  """The best run over some axes, for every setting of all others.

  Args:
    rows: of finished runs.
    axes: over which the loss is minimised, such as rate and seed.

  Returns:
    The best rows; and by axis, in how many of them its value is the smallest
    or the largest that was run beside it (of numbers only): there the best may
    lie beyond.
  """
  for row, axis in itertools.product(rows, axes):
    _value(row, axis)
  best, ends = [], Counter()
  for group in _groups(rows, axes).values():
    row = min(group, key=lambda row: row["loss"])
    best.append(row)
    for axis in axes:
      values = [_value(other, axis) for other in group]
      if axis == SEED or not all(isinstance(v, int | float) for v in values):
        continue
      if _value(row, axis) in (min(values), max(values)):
        ends[axis] += 1
  return best, ends


def runs_of(
  rows: Sequence[Row], *, embeddings: bool = True, six_nd: bool = False
) -> Runs:
  """The columns of a law.

  Args:
    rows: of finished runs that differ in size, tokens and seed alone.
    embeddings: whether N counts both embedding tables.
    six_nd: where the table lacks tokens or FLOPs, takes FLOPs = 6 N D.

  Raises:
    ValueError: a column is missing; or runs of one size and number of tokens
      differ in something else.
  """
  size = "parameters" if embeddings else "parameters_without_embedding"
  _check_alike(rows, size)
  columns = {name: _column(rows, name) for name in (size, "loss")}
  given = [name for name in ("tokens", "flops") if name in rows[0]]
  if len(given) == 1 and six_nd:
    columns[given[0]] = _column(rows, given[0])
    if given == ["tokens"]:
      columns["flops"] = 6 * columns[size] * columns["tokens"]
    else:
      columns["tokens"] = columns["flops"] / (6 * columns[size])
  elif len(given) < 2:
    raise ValueError(
      f"of tokens and flops the table has {given or 'neither'}, expected both;"
      " where it has one, 6 N D (--six_nd) gives the other"
    )
  else:
    columns |= {name: _column(rows, name) for name in given}
  return Runs(
    columns[size], columns["tokens"], columns["flops"], columns["loss"]
  )


def cells_of(
  rows: Sequence[Row], setting: str, *, embeddings: bool = True
) -> dict[tuple[float, float], tuple[np.ndarray, np.ndarray]]:
  """What `tuning.fit` wants: by (N, D), values of a setting and losses.

  Cells with one value of the setting are left out. Tokens are the mean over a
  cell.
  """
  size = "parameters" if embeddings else "parameters_without_embedding"
  cells = {}
  for group in _groups(rows, (setting, SEED)).values():
    values = np.array([_value(row, setting) for row in group], float)
    if len(np.unique(values)) < 2:
      continue
    cell = (
      float(_column(group, size).mean()),
      float(_column(group, "tokens").mean()),
    )
    if cell in cells:
      raise ValueError(
        f"two groups of runs with {cell[0]:.4g} parameters and {cell[1]:.4g}"
        f" tokens differ in an axis other than {setting} and {SEED}; choose"
        " one by --where, or minimise over it by --tuned"
      )
    cells[cell] = values, _column(group, "loss")
  return cells


def _groups(rows: Iterable[Row], axes: Sequence[str]) -> dict[tuple, list[Row]]:
  """Rows that differ along some axes only, by the values of all others."""
  groups: dict[tuple, list[Row]] = {}
  for row in rows:
    others = sorted(
      (name, value)
      for name, value in row.get("axes", {}).items()
      if name not in axes
    )
    groups.setdefault(tuple(others), []).append(row)
  return groups


def _check_alike(rows: Sequence[Row], size: str) -> None:
  """Runs that should have one loss differ in their seed at most."""
  ordered = sorted(rows, key=lambda r: (r.get(size, 0), r.get("tokens", 0)))
  for one, other in itertools.pairwise(ordered):
    if one.get(size) != other.get(size) or "tokens" not in one:
      continue
    if other["tokens"] > _SAME_TOKENS * one["tokens"]:
      continue
    ours, theirs = one.get("axes", {}), other.get("axes", {})
    differ = {a for a in ours if ours[a] != theirs.get(a)} - {SEED}
    if differ:
      raise ValueError(
        f"runs of {one[size]} parameters and {one['tokens']} tokens differ in"
        f" {', '.join(sorted(differ))}; choose a value by --where, or minimise"
        " over it by --tuned"
      )


def _value(row: Row, axis: str) -> Any:
  axes = row.get("axes", {})
  if axis not in axes:
    raise ValueError(f"no axis {axis!r} in the table; known: {sorted(axes)}")
  return axes[axis]


def _column(rows: Iterable[Row], name: str) -> np.ndarray:
  values = [row.get(name) for row in rows]
  for number, value in enumerate(values):
    if not isinstance(value, int | float):
      raise ValueError(f"run {number} has {name}={value!r}, expected a number")
  return np.array(values, float)


def _read_lines(path: pathlib.Path) -> list[Row]:
  """All lines: of a table, unlike of a run's records, none may be cut off."""
  rows = []
  for number, line in enumerate(path.read_text().splitlines(), start=1):
    try:
      row = json.loads(line)
    except json.JSONDecodeError as error:
      raise ValueError(f"{path}, line {number} is no JSON: {error}") from None
    if not isinstance(row, dict):
      raise ValueError(f"{path}, line {number} is {row!r}, expected an object")
    rows.append(row)
  return rows


def _read_csv(path: pathlib.Path) -> list[Row]:
  rows = []
  with path.open(newline="") as file:
    for flat in csv.DictReader(file):
      row: Row = {"axes": {}}
      for name, text in flat.items():
        holder = row["axes"] if name.startswith("axes.") else row
        holder[name.removeprefix("axes.")] = _parsed(text)
      rows.append(row)
  return rows


def _parsed(text: str) -> int | float | str | None:
  """A cell of a CSV: a number where it is one, None where it is empty."""
  if not text:
    return None
  for kind in (int, float):
    try:
      return kind(text)
    except ValueError:
      continue
  return text
