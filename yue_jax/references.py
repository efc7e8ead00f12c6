"""References: which clip of a song an in-context document opens with.

Mode and length are a function of (seed, epoch, song number) and of the
frames the song's sections span, so that document lengths are known before
any codes are read; only the start may look at the codes. Numbers come from a
counter hash written out here, not from a random generator whose streams may
change between versions: the same arguments give the same clip for ever.

The other draws of documents are here too: the order of tags, and which speech
keeps its instruction.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import hashlib
import math
from typing import Protocol

import numpy as np

from yue_jax.codec import FRAME_RATE

LONGEST_CLIP = 40 * FRAME_RATE  # frames
MODES = ("dual", "mixture", "vocal", "backing")
MODE_TRACKS = {
  "dual": ("vocal", "backing"),
  "mixture": ("mixture",),
  "vocal": ("vocal",),
  "backing": ("backing",),
}


@dataclasses.dataclass(frozen=True)
class Reference:
  """Frames `start` to `start + length` of the tracks that `mode` names."""

  mode: str
  start: int
  length: int

  def __post_init__(self):
    if self.mode not in MODES:
      raise ValueError(f"mode={self.mode!r}, expected one of {MODES}")


class Spanned(Protocol):
  """A section as far as references care: half-open frames, and its kind."""

  start: int
  end: int
  chorus: bool


def draw_modes(
  seed: int, epoch: int, *, songs: np.ndarray, modes: Sequence[str] = MODES
) -> np.ndarray:
  """Modes of numbered songs, uniform over `modes`: indices into it."""
  number = uniform(seed, epoch, songs, purpose="mode") * len(modes)
  return number.astype(np.int64)


def draw_lengths(
  seed: int, epoch: int, *, songs: np.ndarray, spans: np.ndarray
) -> np.ndarray:
  """Frames of the clips of numbered songs, (songs,) int64.

  From N(30 s, variance 3 s^2) truncated to 20-40 s. A clip longer than the
  song's span is half the span instead, and never less than a frame.
  """
  probability = uniform(seed, epoch, songs, purpose="length")
  seconds = np.interp(probability, *_inverse_cdf())
  lengths = (seconds * FRAME_RATE).astype(np.int64)
  return np.where(lengths > spans, np.maximum(spans // 2, 1), lengths)


def draw_start(
  seed: int,
  epoch: int,
  *,
  song: int,
  length: int,
  sections: Sequence[Spanned],
  tracks: Sequence[np.ndarray],
) -> int:
  """First frame of the clip: inside a chorus where one is long enough.

  Otherwise anywhere in the span of the sections. Drawn again up to five
  times while a track, (T,) codes, has fewer distinct codes in the clip than
  a tenth of its frames.
  """
  starts = _allowed_starts(length, sections)
  for attempt in range(6):
    place, offset = uniform(
      seed, epoch, song, attempt, np.arange(2), purpose="start"
    )
    allowed = starts[int(place * len(starts))]
    start = allowed[int(offset * len(allowed))]
    clips = (track[start : start + length] for track in tracks)
    if all(_distinct(clip) * 10 >= length for clip in clips):
      break
  return start


def draw(
  seed: int,
  epoch: int,
  *,
  song: int,
  mode: str,
  sections: Sequence[Spanned],
  tracks: Mapping[str, np.ndarray],
) -> Reference:
  """Draws length and start of the clip of one song, for a given mode.

  `tracks` holds (T,) codes by the names in `MODE_TRACKS`.
  """
  starts = np.array([section.start for section in sections])
  ends = np.array([section.end for section in sections])
  spans = song_spans(starts, ends, np.array([0, len(sections)]))
  length = draw_lengths(seed, epoch, songs=np.array([song]), spans=spans)[0]
  start = draw_start(
    seed,
    epoch,
    song=song,
    length=length,
    sections=sections,
    tracks=[tracks[name] for name in MODE_TRACKS[mode]],
  )
  return Reference(mode, start, int(length))


def draw_tag_order(seed: int, epoch: int, *, song: int, tags: int) -> list[int]:
  """In which order the tags of a song stand, such as [2, 0, 1] for three."""
  keys = counter_hash(seed, epoch, song, np.arange(tags), purpose="tags")
  return np.argsort(keys, kind="stable").tolist()


def draw_instructed(
  seed: int, epoch: int, *, songs: np.ndarray | int
) -> np.ndarray:
  """Which numbered speech keeps its instruction: half of it, bool."""
  return uniform(seed, epoch, songs, purpose="instruction") < 0.5


def song_spans(
  starts: np.ndarray, ends: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
  """Frames from each song's first section to the end of its last, (songs,).

  Sections of all songs one after the other, those of song i from offsets[i]
  to offsets[i + 1]; every song has at least one.
  """
  first = np.minimum.reduceat(starts, offsets[:-1])
  return np.maximum.reduceat(ends, offsets[:-1]) - first


def counter_hash(*counters: np.ndarray | int, purpose: str) -> np.ndarray:
  """Hashes integer counters, broadcast together, to uint64.

  Each counter in turn passes through the finalizer of SplitMix64 (Steele, Lea
  and Flood 2014); `purpose` keeps draws apart that share their counters.
  """
  state = _hash(counters, purpose)
  return np.uint64(state) if isinstance(state, int) else state


def uniform(*counters: np.ndarray | int, purpose: str) -> np.ndarray | float:
  """Numbers in [0, 1) from the upper 53 bits of `counter_hash`."""
  state = _hash(counters, purpose)
  lower = 11 if isinstance(state, int) else np.uint64(11)
  return (state >> lower) * 2.0**-53  # a float64 has no room for the others


def _distinct(codes: np.ndarray) -> int:
  return np.count_nonzero(np.bincount(codes))


_SCALARS = (int, np.integer)
_MASK = 2**64 - 1  # arithmetic is modulo 2^64
_STEP = 0x9E3779B97F4A7C15
_SHIFTS = (30, 27, 31)
_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def _hash(
  counters: Sequence[np.ndarray | int], purpose: str
) -> np.ndarray | int:
  """`counter_hash`; of numbers alone a Python integer, which is quicker."""
  scalars = 0
  while scalars < len(counters) and isinstance(counters[scalars], _SCALARS):
    scalars += 1
  state = _state(purpose, *map(int, counters[:scalars]))
  for counter in counters[scalars:]:
    numbers = np.atleast_1d(counter).astype(np.int64).view(np.uint64)
    state = _mix(numbers + np.uint64(state))
  return state


@functools.lru_cache(256)  # seed and epoch are the same for many songs
def _state(purpose: str, *counters: int) -> int:
  if counters:
    return _mix_one(_state(purpose, *counters[:-1]) + counters[-1])
  digest = hashlib.sha256(purpose.encode()).digest()
  return int.from_bytes(digest[:8], "little")


def _mix_one(state: int) -> int:
  state = (state + _STEP) & _MASK
  for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
    state = ((state ^ (state >> shift)) * factor) & _MASK
  return state ^ (state >> _SHIFTS[-1])


def _mix(state: np.ndarray) -> np.ndarray:
  """`_mix_one` of many, in place."""
  state += np.uint64(_STEP)
  for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
    state ^= state >> np.uint64(shift)
    state *= np.uint64(factor)
  state ^= state >> np.uint64(_SHIFTS[-1])
  return state


@functools.cache
def _inverse_cdf() -> tuple[np.ndarray, np.ndarray]:
  """Cumulative probabilities, and the 100 lengths in seconds they belong to."""
  seconds = np.linspace(20.0, 40.0, 100)
  scale = math.sqrt(2 * 3.0)
  cdf = np.array([math.erf((x - 30.0) / scale) for x in seconds])
  return (cdf - cdf[0]) / (cdf[-1] - cdf[0]), seconds


def _allowed_starts(length: int, sections: Sequence[Spanned]) -> list[range]:
  choruses = [s for s in sections if s.chorus and s.end - s.start >= length]
  if choruses:
    return [range(s.start, s.end - length + 1) for s in choruses]
  first = min(section.start for section in sections)
  last = max(section.end for section in sections)
  if length > last - first:
    raise ValueError(
      f"a clip of {length} frames in a song of {last - first}; "
      "lengths come from draw_lengths"
    )
  return [range(first, last - length + 1)]
