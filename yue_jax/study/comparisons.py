"""Which clips are compared, under names that say nothing, and their key."""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import itertools
import json
import pathlib
import random
from typing import Any

FORMAT = "yue_jax study key 1"


@dataclasses.dataclass(frozen=True)
class Clip:
  """What a clip is: known to the analyst alone."""

  system: str
  song: str


@dataclasses.dataclass(frozen=True)
class Key:
  """A study as the analyst knows it.

  Attributes:
    study: its identity, in every result; of everything below.
    content: fingerprint of what is heard and read.
    systems: in the order of all tables.
    aspects: names of what is asked.
    clips: by the id that the page knows.
    comparisons: ids of the two clips, by id of the comparison; both of one
      song. Any stretch as long as there are pairs of systems has each pair
      once, hence a rater who hears a stretch hears all systems equally often.
  """

  study: str
  content: str
  systems: tuple[str, ...]
  aspects: tuple[str, ...]
  clips: dict[str, Clip]
  comparisons: dict[str, tuple[str, str]]


def plan_comparisons(
  systems: Sequence[str],
  songs: Sequence[str],
  aspects: Sequence[str],
  *,
  content: str,
  seed: int,
) -> Key:
  """Compares every two systems by every song.

  Example: 3 systems and 4 songs make 12 clips and 4 rounds of 3 comparisons.
  """
  draw = random.Random(seed)
  clips = {
    _name(draw, "clip"): Clip(system, song)
    for system in systems
    for song in songs
  }
  pairs = list(itertools.combinations(systems, 2))
  order = list(songs)
  draw.shuffle(pairs)
  draw.shuffle(order)
  comparisons = {}
  ids = {clip: name for name, clip in clips.items()}
  for turn in range(len(order)):
    for place, pair in enumerate(pairs):
      # Songs go round, so that neighbours are of different ones.
      song = order[(turn + place) % len(order)]
      two = [ids[Clip(system, song)] for system in pair]
      draw.shuffle(two)
      comparisons[_name(draw, "pair")] = (two[0], two[1])
  # In order of their ids; as they were made, they are sorted by system.
  clips = dict(sorted(clips.items()))
  key = Key(
    study="",
    content=content,
    systems=tuple(systems),
    aspects=tuple(aspects),
    clips=clips,
    comparisons=comparisons,
  )
  return dataclasses.replace(key, study=_identity(key))


def write_key(key: Key, path: pathlib.Path, notes: Mapping[str, Any]) -> None:
  """Writes a key as JSON, with `notes` for whoever reads the file."""
  described = {"format": FORMAT, **dataclasses.asdict(key), "notes": notes}
  path.write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")


def read_key(path: pathlib.Path) -> Key:
  """Reads a key.

  Raises:
    ValueError: the file is not a key, or was changed since it was written.
  """
  try:
    read = json.loads(path.read_text(encoding="utf-8"))
    if read["format"] != FORMAT:
      raise ValueError(f"of format {read['format']!r}")
    key = Key(
      study=read["study"],
      content=read["content"],
      systems=tuple(read["systems"]),
      aspects=tuple(read["aspects"]),
      clips={name: Clip(**clip) for name, clip in read["clips"].items()},
      comparisons={
        name: (first, second)
        for name, (first, second) in read["comparisons"].items()
      },
    )
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f"{path} is not the key of a study ({error!r}); expected key.json as"
      " tools/make_study.py writes it"
    ) from None
  if _identity(key) != key.study:
    raise ValueError(
      f"{path} was changed: it calls itself study {key.study}, and its contents"
      f" are study {_identity(key)}"
    )
  return key


def _name(draw: random.Random, kind: str) -> str:
  return f"{kind}-{draw.getrandbits(48):012x}"


def _identity(key: Key) -> str:
  whole = json.dumps(dataclasses.asdict(dataclasses.replace(key, study="")))
  return hashlib.sha256(whole.encode()).hexdigest()[:16]
