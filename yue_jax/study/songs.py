"""Folders of songs by system: which songs can be compared, and their prompts.

  SYSTEM/NAME.wav
         NAME/mix.wav    or song.wav
              song.json  the prompt, of tools/generate.py

A folder of tools/generate.py is as it must be after tools/decode_audio.py.
"""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any

from yue_jax.audio.reading import FORMATS

_STEMS = ("mix", "song")  # of the file in a song's own folder
_SHOWN = 5  # names in an error


@dataclasses.dataclass(frozen=True)
class Prompt:
  """What a song was made from."""

  tags: str
  lyrics: str


def find_songs(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Audio files of a system by the name of the song, in order of names.

  Raises:
    ValueError: there are no songs, or two files are the same song.
  """
  if not folder.is_dir():
    raise ValueError(f"{folder} is not a folder of songs")
  found: dict[str, pathlib.Path] = {}
  files = [p for p in folder.iterdir() if p.is_file()]
  nested = [p for p in folder.glob("*/*.*") if p.stem in _STEMS]
  for path in sorted([*files, *nested]):
    if path.suffix.lower() not in FORMATS:
      continue
    name = path.stem if path.parent == folder else path.parent.name
    if name in found:
      raise ValueError(
        f"{found[name]} and {path} are both song {name}; leave one of them"
      )
    found[name] = path
  if not found:
    raise ValueError(
      f"no songs in {folder}; expected NAME.wav, NAME/mix.wav or NAME/song.wav"
      f" (of the kinds {', '.join(FORMATS)})"
    )
  return found


def shared_songs(
  systems: Mapping[str, pathlib.Path],
) -> dict[str, dict[str, pathlib.Path]]:
  """Audio files by song, then by system.

  Args:
    systems: folder of every system.

  Raises:
    ValueError: fewer than two systems, or a song that some of them lack.
  """
  if len(systems) < 2:
    raise ValueError(
      f"one system only ({', '.join(systems)}); a comparison needs two"
    )
  songs = {name: find_songs(folder) for name, folder in systems.items()}
  everything = sorted(set().union(*songs.values()))
  lacking = {
    system: [name for name in everything if name not in found]
    for system, found in songs.items()
  }
  if any(lacking.values()):
    raise ValueError(
      "songs that not all systems have: "
      + "; ".join(
        f"{system} lacks {_some(names)}" for system, names in lacking.items()
        if names
      )
      + "; songs of one prompt must have one name, and others be moved away"
    )  # fmt: skip
  return {
    name: {system: found[name] for system, found in songs.items()}
    for name in everything
  }


def find_prompts(
  songs: Mapping[str, Mapping[str, pathlib.Path]],
) -> dict[str, Prompt]:
  """Prompts of the songs that have a song.json beside them.

  Raises:
    ValueError: two systems made a song of this name from different prompts.
  """
  prompts: dict[str, Prompt] = {}
  for name, files in songs.items():
    for path in files.values():
      description = path.with_name("song.json")
      if path.stem not in _STEMS or not description.is_file():
        continue
      prompt = _described(_object(description), description)
      if prompts.setdefault(name, prompt) != prompt:
        raise ValueError(
          f"{description}: song {name} was made from another prompt than that"
          " of another system; they cannot be compared"
        )
  return prompts


def read_prompts(path: pathlib.Path) -> dict[str, Prompt]:
  """Prompts from a JSON file, {"NAME": {"tags": "...", "lyrics": "..."}}."""
  read = _object(path)
  fields = {"tags", "lyrics"}
  for name, prompt in read.items():
    texts = prompt.values() if isinstance(prompt, dict) else [None]
    if (
      not all(isinstance(text, str) for text in texts) or set(prompt) != fields
    ):
      raise ValueError(
        f"{path}: prompt of {name} is {str(prompt)[:80]}; expected"
        ' {"tags": "...", "lyrics": "..."}'
      )
  return {name: Prompt(**prompt) for name, prompt in read.items()}


def _object(path: pathlib.Path) -> dict[str, Any]:
  try:
    read = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(f"{path} is not JSON: {error}") from None
  if not isinstance(read, dict):
    raise ValueError(f"{path} is not a JSON object")
  return read


def _described(song: dict[str, Any], path: pathlib.Path) -> Prompt:
  try:
    texts = [section["text"].strip() for section in song["sections"]]
    return Prompt(song["tags"], "\n\n".join(texts))
  except (KeyError, TypeError, AttributeError):
    raise ValueError(
      f"{path} has no tags and sections as tools/generate.py writes them"
    ) from None


def _some(names: list[str]) -> str:
  more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
  return ", ".join(names[:_SHOWN]) + more
