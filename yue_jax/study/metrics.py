"""Automatic metrics of the systems of a study, from JSON.

  evaluation.json of tools/evaluate.py, or
  {"SYSTEM": {"METRIC": 1.5}}, or
  {"SYSTEM": {"METRIC": {"SONG": 1.5}}}

Systems and songs are called as in the study; there may be others.
"""

from collections.abc import Mapping
import dataclasses
import json
import math
import pathlib
from typing import Any

from yue_jax.study.comparisons import Key


@dataclasses.dataclass(frozen=True)
class Metric:
  """A metric of every system.

  Attributes:
    by_system: one value of each.
    by_song: values by system and song, for songs of the study; empty unless
      all of these have one.
  """

  by_system: dict[str, float]
  by_song: dict[str, dict[str, float]]


def read_metrics(path: pathlib.Path, key: Key) -> dict[str, Metric]:
  """Metrics that all systems of a study have, by name.

  Raises:
    ValueError: a system is missing, systems have no metric in common, or a
      value is no finite number.
  """
  try:
    read = json.loads(path.read_text(encoding="utf-8"))
    systems = {
      n: _values(found) for n, found in read.get("systems", read).items()
    }
  except (ValueError, AttributeError, KeyError, TypeError) as error:
    raise ValueError(
      f"{path} has no metrics ({error}); expected evaluation.json, or"
      ' {"SYSTEM": {"METRIC": 1.5}}, or {"SYSTEM": {"METRIC": {"SONG": 1.5}}}'
    ) from None
  if missing := [name for name in key.systems if name not in systems]:
    raise ValueError(
      f"{path} has no metrics of {', '.join(missing)}; it has systems"
      f" {', '.join(systems)}, which must be called as in the study"
    )
  shared = set.intersection(*(set(systems[name]) for name in key.systems))
  if not shared:
    raise ValueError(f"{path}: no metric that all systems have")
  first = systems[key.systems[0]]
  return {
    name: _metric({s: systems[s][name] for s in key.systems}, key)
    for name in first
    if name in shared
  }


def _values(found: Mapping[str, Any]) -> dict[str, tuple[float, dict]]:
  """Of one system: metric -> its value, and values by song."""
  if "measures" in found:  # as tools/evaluate.py writes it
    songs = found["samples"]
    return {
      name: (
        _number(its["value"], name),
        _numbers(songs.get(name.removesuffix("/mean"), {}), name),
      )
      for name, its in found["measures"].items()
    }
  values = {}
  for name, its in found.items():
    songs = _numbers(its, name) if isinstance(its, dict) else {}
    if isinstance(its, dict):
      if not songs:
        raise ValueError(f"{name} has no songs")
      its = sum(songs.values()) / len(songs)
    values[name] = (_number(its, name), songs)
  return values


def _numbers(values: Mapping[str, Any], name: str) -> dict[str, float]:
  return {song: _number(v, f"{name} of {song}") for song, v in values.items()}


def _number(value: Any, name: str) -> float:
  if not isinstance(value, int | float) or not math.isfinite(value):
    raise ValueError(f"{name} is {value!r}, not a finite number")
  return float(value)


def _metric(values: dict[str, tuple[float, dict]], key: Key) -> Metric:
  wanted = {(clip.system, clip.song) for clip in key.clips.values()}
  by_song = {system: songs for system, (_, songs) in values.items()}
  return Metric(
    by_system={system: value for system, (value, _) in values.items()},
    by_song=(by_song if all(song in by_song[s] for s, song in wanted) else {}),
  )
