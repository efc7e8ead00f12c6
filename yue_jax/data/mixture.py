"""Mixtures: the samples of several sources in one row, by number.

Every source has a fixed number of samples in the phase, and they are spread
evenly over it: sample k of n stands at (k + offset) / n of the way, and the
row is the order of these places. So every stretch of the row, hence every
step, holds each source in its share, exactly and without drawing lots; a
stretch is computed on its own, wherever it lies.

  counts 4 and 2   a b a a b a
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools

import numpy as np

from yue_jax.data.samples import PlannedSamples, Sample
from yue_jax.phases import PhaseConfig

_BLOCK = 1024  # samples of a row that are placed at once


@dataclasses.dataclass(frozen=True)
class Line:
  """A source in a mixture: samples `start` to `start + count` of `samples`."""

  name: str
  samples: PlannedSamples
  start: int
  count: int


class Mixture:
  """Samples of a phase, numbered from 0; threads may share it."""

  def __init__(self, lines: Sequence[Line], *, context: int):
    self.lines = tuple(lines)
    self.context = context
    self._counts = np.array([line.count for line in lines], np.int64)
    self._block = functools.lru_cache(maxsize=8)(self._place_block)

  def __len__(self) -> int:
    return int(self._counts.sum())

  def locate(self, number: int) -> tuple[Line, int]:
    """The line that sample `number` comes from, and its number there."""
    if not 0 <= number < len(self):
      raise IndexError(f"sample {number} of a mixture of {len(self)}")
    block, place = divmod(number, _BLOCK)
    sources, numbers = self._block(block)
    line = self.lines[sources[place]]
    return line, line.start + int(numbers[place])

  def sample(self, number: int) -> Sample:
    """Arrays of shape (context,), see `data.samples`."""
    line, own = self.locate(number)
    return line.samples.sample(own)

  def read_before(self, number: int) -> list[int]:
    """How many samples of each line come before sample `number`."""
    block, place = divmod(number, _BLOCK)
    first = counts_before(self._counts, block * _BLOCK)
    if place:
      sources, _ = self._block(block)
      first = first + np.bincount(sources[:place], minlength=len(first))
    return first.tolist()

  def _place_block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
    first = block * _BLOCK
    return interleave(
      self._counts, first, min(first + _BLOCK, len(self)) - first
    )


def allot(phase: PhaseConfig, of_rounds: Mapping[str, int]) -> dict[str, int]:
  """How many samples every source gives to a phase, by name, sorted.

  Args:
    phase: its steps have so many samples in all.
    of_rounds: samples of the sources that are read a number of rounds.

  Returns:
    Counts that fill the phase exactly. Sources with weights share what the
    others leave; without any, the largest source fills up the last step.

  Raises:
    ValueError: the mixture cannot be met.
  """
  room = phase.planned_steps * phase.samples
  weights = {n: s.weight for n, s in phase.mixture.items() if s.weight}
  taken = sum(of_rounds.values())
  left = room - taken
  if left < 0 or (not weights and left >= phase.samples):
    raise ValueError(
      f"phase {phase.name!r}: the rounds of {sorted(of_rounds)} make {taken}"
      f" samples, {taken * phase.context} tokens, but tokens={phase.tokens};"
      " change tokens or the rounds, or give a source a weight"
    )
  counts = dict(of_rounds)
  if weights:
    counts |= _divide(left, weights)
  elif left:
    counts[max(counts, key=counts.get)] += left
  empty = sorted(name for name, count in counts.items() if not count)
  if empty:
    raise ValueError(
      f"phase {phase.name!r}: {empty} would give no sample at all among"
      f" {room}; raise their weights or rounds, or leave them out"
    )
  return dict(sorted(counts.items()))


def _divide(whole: int, weights: Mapping[str, float]) -> dict[str, int]:
  """Divides by weight; who is rounded down most gets one of the rest."""
  names = sorted(weights)
  exact = np.array([weights[n] for n in names])
  exact = exact / exact.sum() * whole
  counts = np.floor(exact).astype(np.int64)
  rest = whole - int(counts.sum())
  counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1
  return dict(zip(names, counts.tolist(), strict=True))


def interleave(
  counts: np.ndarray, first: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
  """Who stands at places `first` to `first + length` of the row.

  Args:
    counts: samples of every source, (sources,), each at least 1.
    first: a place, from 0.
    length: how many places.

  Returns:
    Source and number in it of every place. Example: counts [4, 2] ->
    sources 0 1 0 0 1 0, numbers 0 0 1 2 1 3.
  """
  counts = np.asarray(counts, np.int64)
  before = counts_before(counts, first)
  # No source gets ahead of its share by more than one sample per source.
  share = np.ceil(counts / counts.sum() * length).astype(np.int64)
  ahead = share + len(counts)
  ahead = np.minimum(ahead, counts - before)
  source = np.repeat(np.arange(len(counts)), ahead)
  number = np.arange(len(source)) - np.repeat(
    np.cumsum(ahead) - ahead - before, ahead
  )
  order = np.lexsort((source, _places(number, source, counts)))[:length]
  return source[order], number[order]


def counts_before(counts: np.ndarray, place: int) -> np.ndarray:
  """How many samples of every source stand before a place, (sources,)."""
  counts = np.asarray(counts, np.int64)
  sources = len(counts)
  # A lower bound, from which ordering a few candidates leads to the counts.
  low = np.floor(place * (counts / counts.sum())).astype(np.int64) - sources
  low = np.maximum(low, 0)
  missing = place - int(low.sum())
  ahead = np.minimum(missing, counts - low)
  source = np.repeat(np.arange(sources), ahead)
  number = np.arange(len(source)) - np.repeat(
    np.cumsum(ahead) - ahead - low, ahead
  )
  order = np.lexsort((source, _places(number, source, counts)))[:missing]
  return low + np.bincount(source[order], minlength=sources)


def _places(
  number: np.ndarray, source: np.ndarray, counts: np.ndarray
) -> np.ndarray:
  """Where samples stand, from 0 to 1; sources of equal counts alternate."""
  offset = (source + 0.5) / len(counts)
  return (number + offset) / counts[source]
