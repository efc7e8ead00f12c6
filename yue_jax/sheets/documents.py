"""JSON of lyrics and of structure.

Lyrics with labels, times where they are known ("lines" may also be strings):

  {"sections": [{"label": "verse", "start": 12.0, "end": 30.5,
                 "lines": [{"text": "batoki", "start": 12.5, "end": 14.0}]}]}

Lyrics of a recogniser of speech, without labels, as Whisper writes them:

  {"segments": [{"start": 12.5, "end": 14.0, "text": "batoki"}]}

Structure, as all-in-one writes it; other entries are not read:

  {"segments": [{"start": 0.0, "end": 12.0, "label": "intro"}]}
"""

from collections.abc import Mapping
import json
import math
import reprlib
from typing import Any

from yue_jax.errors import SongError
from yue_jax.sheets.labels import canonical
from yue_jax.sheets.sheet import Line, Part, Segment


def parts_of_json(text: str) -> tuple[Part, ...]:
  """The parts of lyrics in JSON; SongError bad_lyrics if it has none."""
  try:
    document = _object(_parse(text), "the file")
    if "segments" in document:
      lines = [_line(e) for e in _objects(document, "segments")]
      return (Part("", tuple(line for line in lines if line.text)),)
    sections = _objects(document, "sections")
    return tuple(_part(section) for section in sections)
  except _BadDocument as error:
    raise SongError("bad_lyrics", str(error)) from None


def segments_of_json(text: str) -> tuple[Segment, ...]:
  """The segments of a structure; SongError bad_structure if it has none."""
  try:
    entries = _objects(_object(_parse(text), "the file"), "segments")
    return tuple(
      Segment(
        canonical(_text(entry, "label")),
        _seconds(entry, "start"),
        _seconds(entry, "end"),
      )
      for entry in entries
    )
  except _BadDocument as error:
    raise SongError("bad_structure", str(error)) from None


class _BadDocument(ValueError):
  pass


def _parse(text: str) -> Any:
  try:
    return json.loads(text)
  except (ValueError, RecursionError) as error:
    raise _BadDocument(f"not JSON: {error}") from None


def _part(section: Mapping[str, Any]) -> Part:
  _known(section, ("label", "lines", "start", "end"))
  lines = section.get("lines", [])
  if not isinstance(lines, list):
    raise _BadDocument(f"lines: expected a list, got {reprlib.repr(lines)}")
  read = [
    Line(line.strip()) if isinstance(line, str) else _given_line(line)
    for line in lines
  ]
  return Part(
    canonical(_text(section, "label")),
    tuple(line for line in read if line.text),
    _seconds(section, "start", optional=True),
    _seconds(section, "end", optional=True),
  )


def _given_line(line: Any) -> Line:
  _known(_object(line, "lines"), ("text", "start", "end"))
  return _line(line)


def _line(entry: Mapping[str, Any]) -> Line:
  start = _seconds(entry, "start", optional=True)
  end = _seconds(entry, "end", optional=True)
  return Line(" ".join(_text(entry, "text").split()), start, end)


def _object(value: Any, name: str) -> Mapping[str, Any]:
  if not isinstance(value, dict):
    raise _BadDocument(f"{name}: {reprlib.repr(value)} is no JSON object")
  return value


def _objects(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
  entries = document.get(key)
  if not isinstance(entries, list) or not entries:
    raise _BadDocument(
      f"{key}: expected a list with at least one object, got"
      f" {reprlib.repr(entries)}"
    )
  return [_object(entry, key) for entry in entries]


def _known(entry: Mapping[str, Any], names: tuple[str, ...]) -> None:
  if unknown := sorted(entry.keys() - set(names)):
    raise _BadDocument(f"unknown entries {unknown}; known here: {names}")


def _text(entry: Mapping[str, Any], key: str) -> str:
  if not isinstance(entry.get(key), str):
    value = reprlib.repr(entry.get(key))
    raise _BadDocument(f"{key}: expected a string, got {value}")
  return entry[key]


def _seconds(
  entry: Mapping[str, Any], key: str, *, optional: bool = False
) -> float | None:
  value = entry.get(key)
  if value is None and optional:
    return None
  if type(value) not in (int, float) or not 0 <= value < math.inf:
    raise _BadDocument(
      f"{key}: expected seconds from 0 on, got {reprlib.repr(value)}"
    )
  return float(value)
