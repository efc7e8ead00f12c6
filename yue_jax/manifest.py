"""Manifests: one JSON object on each line."""

from collections.abc import Iterator
import json
import os
from typing import Any

from yue_jax.songs import SongError


def read_manifest(
  path: str | os.PathLike[str],
) -> Iterator[tuple[int, dict[str, Any] | SongError]]:
  """Yields (line number from 1, row), or a SongError in place of the row.

  Blank lines are no rows. Lines are read one at a time and none is kept.
  """
  with open(path, "rb") as file:
    for number, line in enumerate(file, start=1):
      if line.strip():
        yield number, _parse(line)


def _parse(line: bytes) -> dict[str, Any] | SongError:
  try:
    row = json.loads(line)
  except (ValueError, RecursionError) as error:
    return SongError("bad_json", f"not a line of JSON: {error}")
  if not isinstance(row, dict):
    return SongError("bad_json", f"expected an object, got {row!r:.60}")
  return row
