"""Passes: which sections of a song are sung together, and what they follow.

The context of a model has room for a few sections of the longest kind. A song
is sung in passes, each of which holds what was sung before as far as it fits:

  pass  given                           sung
  0     head  reference                 0 1 2 3
  1     head  reference  0 1 2 3        4 5
  2     head  reference    1 2 3 4 5    6        section 0 was let go

The head, which holds the lyrics of the whole song, and the reference are never
let go. Of the sections, the nearest stay: as many as leave room for one more of
`max_frames`. They stay or go as a whole, text and sound, so no pair of tokens
is cut. (The window of the released code slides by tokens over everything, the
head included.)

Where passes begin and end depends on the song alone: on its texts and on how
long its sections became.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from yue_jax import lengths
from yue_jax.encoding import Phrases
from yue_jax.sampling.prompts import Prompt


class Pass(NamedTuple):
  """Numbers of sections: `kept` up to `first` are given, up to `end` sung."""

  kept: int
  first: int
  end: int


def find_pass(
  prompt: Prompt,
  frames: Sequence[int],
  *,
  start: int = 0,
  phrases: Phrases,
  max_frames: int,
  max_positions: int,
) -> Pass:
  """The pass to which the next section belongs.

  Args:
    frames: of every section that is there.
    start: where the first pass begins: after sections that were given. A song
      that was interrupted in the middle of a pass goes on in that very pass.

  Raises:
    ValueError: one section alone is longer than the context.
  """
  sizes = {
    "phrases": phrases,
    "max_frames": max_frames,
    "max_positions": max_positions,
  }
  part = _next_pass(prompt, frames[:start], **sizes)
  while part.end <= len(frames):
    part = _next_pass(prompt, frames[: part.end], **sizes)
  return part


def check_room(
  prompt: Prompt,
  *,
  song: object,
  phrases: Phrases,
  min_frames: int,
  max_frames: int,
  max_positions: int,
) -> None:
  """Raises ValueError unless each section alone fits beside the head.

  Args:
    song: what the error calls it.
  """
  room = _room(prompt, phrases, max_positions)
  empty = _sizes(prompt, [0] * len(prompt.sections), phrases)
  number = int(np.argmax(empty))
  fits = (room - int(empty[number])) // 2
  if max_frames <= fits:
    return
  remedy = f"lower max_frames to {fits}"
  if fits < min_frames:
    remedy = (
      f"even min_frames={min_frames} are too many: shorten the lyrics or the"
      " reference, or use a model of longer context"
    )
  raise ValueError(
    f"song {song}: section {number + 1} of up to max_frames={max_frames} needs"
    f" {2 * (max_frames - fits)} tokens more than max_positions="
    f"{max_positions} leave beside {len(prompt.head)} tokens of tags and"
    f" lyrics and {len(prompt.reference)} of the reference; {remedy}"
  )


def _next_pass(
  prompt: Prompt,
  frames: Sequence[int],
  *,
  phrases: Phrases,
  max_frames: int,
  max_positions: int,
) -> Pass:
  """The pass that begins after sections of so many frames."""
  first, unsung = len(frames), len(prompt.sections) - len(frames)
  sizes = _sizes(prompt, [*frames, *[max_frames] * unsung], phrases)
  room = _room(prompt, phrases, max_positions)
  # How many fit, counted backwards from the section that must be sung.
  fit = np.searchsorted(np.cumsum(sizes[first::-1]), room, side="right")
  if not fit:
    raise ValueError(
      f"section {first + 1} needs {sizes[first]} tokens, {room} are left;"
      " lower max_frames"
    )
  kept = first + 1 - int(fit)
  fit = np.searchsorted(np.cumsum(sizes[kept:]), room, side="right")
  return Pass(kept, first, kept + int(fit))


def _sizes(
  prompt: Prompt, frames: Sequence[int], phrases: Phrases
) -> np.ndarray:
  """Tokens of every section, its end phrase included."""
  own = lengths.cot(
    head=0,
    text=np.array([len(text) for text in prompt.sections]),
    frames=np.array(frames),
    sections=1,
    phrases=phrases,
  )
  return own - 1  # without EOD


def _room(prompt: Prompt, phrases: Phrases, max_positions: int) -> int:
  """Tokens that sections may take; the last one has no end phrase."""
  given = len(prompt.head)
  if tokens := len(prompt.reference):
    given += lengths.reference(tokens, tracks=1, phrases=phrases)
  return max_positions - given + len(phrases.segment_end)
