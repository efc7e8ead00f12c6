"""The work folder of a data set that is being prepared: OUT.parts.

  OUT.parts/
    settings.json     manifests, recipe, sizes; the same in every run
    part-00000042/    a finished part (see `parts`)
    .part-...         a part that somebody is writing, or was when killed
    joined/           what becomes OUT at the end

Machines that share the folder need no other connection. It is removed when
OUT is there; until then it may be removed to start from nothing.
"""

from collections.abc import Sequence
import hashlib
import json
import os
import pathlib
from typing import Any

from yue_jax.data.preparing.chunks import Chunk
from yue_jax.data.preparing.parts import Part


class WorkFolder:
  """Where the parts of the data set `out` are written."""

  def __init__(self, out: pathlib.Path):
    self.path = out.with_name(f"{out.name}.parts")
    self.joined = self.path / "joined"

  def open(self, settings: dict[str, Any]) -> None:
    """Makes the folder, or continues with it.

    Raises ValueError when it was made for other settings.
    """
    self.path.mkdir(parents=True, exist_ok=True)
    path = self.path / "settings.json"
    if not path.exists():
      text = json.dumps(settings, indent=2) + "\n"
      partial = path.with_name(f".settings-{os.urandom(4).hex()}")
      partial.write_text(text)
      partial.replace(path)
    found = json.loads(path.read_bytes())
    ours = json.loads(json.dumps(settings))  # lists for tuples, and so on
    if found != ours:
      raise ValueError(
        f"{self.path} was begun with other settings:"
        f" {'; '.join(_differences(found, ours))}; start with the same"
        f" settings to continue it, remove {self.path} to start anew, or"
        " choose another --out"
      )

  def settings_sha256(self) -> str:
    content = (self.path / "settings.json").read_bytes()
    return hashlib.sha256(content).hexdigest()

  def directory(self, chunk: Chunk) -> pathlib.Path:
    """Of the part of a chunk, whether it is there or not."""
    return self.path / f"part-{chunk.number:08}"

  def finished(self, chunks: Sequence[Chunk]) -> dict[int, Part]:
    """The parts that are there, by number.

    Raises ValueError when one is damaged or of rows that have changed.
    """
    found = {}
    for chunk in chunks:
      directory = self.directory(chunk)
      if directory.is_dir():
        part = found[chunk.number] = Part.read(directory)
        if part.settings != self.settings_sha256():
          raise ValueError(
            f"{directory} was written with other settings; remove {self.path}"
            " to start anew"
          )
        if part.lines != chunk.sha256:
          raise ValueError(
            f"{chunk.describe()} has changed since {directory} was written;"
            f" restore the manifests, or remove {self.path} to start anew"
          )
    return found


def _differences(found: Any, ours: Any, name: str = "") -> list[str]:
  """What differs, as "name: was this, is that"."""
  if not isinstance(found, dict) or not isinstance(ours, dict):
    return [] if found == ours else [f"{name} was {found}, is {ours}"]
  return [
    difference
    for key in found.keys() | ours.keys()
    for difference in _differences(
      found.get(key), ours.get(key), f"{name}.{key}" if name else key
    )
  ]
