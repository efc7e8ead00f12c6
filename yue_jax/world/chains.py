"""The hidden Markov chains behind the sound of a song.

A chain's state says which unit (syllable or chord) sounds, and the how-manieth
frame of it. Duration is part of the state, so that the next state depends on
this one alone: with durations (2, 3) a unit is left after its first frame with
probability 0, after its second with 1/2, after its third with 1.

Axis letters, the same in all shapes:
  B batch     U unit, in the order of singing     J frame of the unit
  K word, in the order of singing    W word of the world    M syllable of it
  P chord of the progression         Q frame of the chord

A belief is an array (B, *states) of probabilities: of the state at a frame,
and that the song has come so far, given what was heard before. `advance` turns
a belief about this frame, given this frame's codes too, into one about the
next frame, and the probability that there is none.
"""

from collections.abc import Sequence
import dataclasses
from typing import Protocol

import numpy as np

Belief = np.ndarray


class Chain(Protocol):
  """What `filters.predict` needs to know of a chain."""

  def start(self, batch: int) -> Belief:
    """(B, *states) at the first frame."""
    ...

  def advance(self, belief: Belief) -> tuple[Belief, np.ndarray]:
    """The belief at the next frame, and (B,) that the chain has ended."""
    ...


def hazard(durations: Sequence[int]) -> np.ndarray:
  """(J,) probability that a unit ends after its frame J, having reached it.

  Example: durations (2, 3) -> [0, 1/2, 1].
  """
  frames = np.arange(1, max(durations) + 1)
  ending = np.isin(frames, durations)
  reached = np.array([sum(d >= j for d in durations) for j in frames])
  return ending / reached


@dataclasses.dataclass(frozen=True)
class Line:
  """Units sung once, from first to last; states (U, J)."""

  units: int
  durations: tuple[int, ...]

  def start(self, batch: int) -> Belief:
    return _at_origin(batch, self.units, max(self.durations))

  def advance(self, belief: Belief) -> tuple[Belief, np.ndarray]:
    belief, left = _hold(belief, self.durations)
    belief[:, 1:, 0] = left[:, :-1]
    return belief, left[:, -1]


@dataclasses.dataclass(frozen=True)
class Ring:
  """Units played round and round without end; states (P, Q)."""

  units: int
  durations: tuple[int, ...]

  def start(self, batch: int) -> Belief:
    return _at_origin(batch, self.units, max(self.durations))

  def advance(self, belief: Belief) -> tuple[Belief, np.ndarray]:
    belief, left = _hold(belief, self.durations)
    belief[:, :, 0] = np.roll(left, 1, axis=1)
    return belief, np.zeros(len(belief))


@dataclasses.dataclass(frozen=True)
class UnknownWords:
  """A section of words that nobody told us; states (K, W, M, J).

  The first word is uniform, each other one uniform over the words that differ
  from the one before.
  """

  words: int
  words_per_section: int
  syllables_per_word: int
  durations: tuple[int, ...]

  def start(self, batch: int) -> Belief:
    held = (self.syllables_per_word, max(self.durations))
    belief = np.zeros((batch, self.words_per_section, self.words, *held))
    belief[:, 0, :, 0, 0] = 1 / self.words
    return belief

  def advance(self, belief: Belief) -> tuple[Belief, np.ndarray]:
    belief, left = _hold(belief, self.durations)
    belief[..., 1:, 0] = left[..., :-1]
    sung = left[..., -1]  # (B, K, W)
    others = sung[:, :-1].sum(axis=-1, keepdims=True) - sung[:, :-1]
    # rounding must not make a word that is impossible less than that
    others = np.maximum(others, 0) / max(self.words - 1, 1)
    belief[:, 1:, :, 0, 0] = others
    return belief, sung[:, -1].sum(axis=-1)


def _at_origin(batch: int, units: int, frames: int) -> Belief:
  belief = np.zeros((batch, units, frames))
  belief[:, 0, 0] = 1
  return belief


def _hold(belief: Belief, durations: tuple[int, ...]):
  """One frame on, along the last axis J.

  Returns the belief (..., J) of units that go on, 0 at their first frame, and
  the probability (...) by unit that it has ended.
  """
  ends = hazard(durations)
  stayed = np.zeros_like(belief)
  stayed[..., 1:] = belief[..., :-1] * (1 - ends[:-1])
  return stayed, belief @ ends
