"""SHA-256 of every tensor of a folder: checksums.json.

    {"sha256": {"lm_head.weight": "9f86...", ...}}

of the bytes of the tensors as they lie in their files, whichever these are.
"""

from collections.abc import Mapping
import os
import pathlib
import re

from yue_jax.exchange.config import read_json, write_json

NAME = "checksums.json"
_KEY = "sha256"


def write(folder: pathlib.Path, sums: Mapping[str, str]) -> None:
  """Replaces what the folder has, at once."""
  partial = folder / f".{NAME}"
  write_json(partial, {_KEY: dict(sorted(sums.items()))})
  os.replace(partial, folder / NAME)


def read(folder: pathlib.Path) -> dict[str, str]:
  """The sums by tensor; empty where the folder has none.

  Raises:
    ValueError: the file is not as `write` writes it.
  """
  path = folder / NAME
  if not path.is_file():
    return {}
  sums = read_json(path).get(_KEY)
  if not isinstance(sums, dict) or not all(map(_is_sum, sums.values())):
    raise ValueError(
      f"{path} has no table {_KEY!r} of checksums; fetch it again, or remove"
      " it to import without them"
    )
  return sums


def _is_sum(value: object) -> bool:
  return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))
