"""Passes of a long song: what stays, what is sung, functions of the song."""

import numpy as np
import pytest

from yue_jax.encoding import Phrases
from yue_jax.sampling.passes import Pass, check_room, find_pass
from yue_jax.sampling.prompts import Prompt

PHRASES = Phrases((5, 5), (6,), (7,), (8,), (1,), (2,))
NONE = np.zeros(0, np.int32)


def prompt(sections: int, reference=NONE) -> Prompt:
  """A head of 4 ids; sections of 2 + 4 + 3 + 1 ids besides their sound."""
  texts = tuple(np.zeros(4, np.int32) for _ in range(sections))
  return Prompt(np.zeros(4, np.int32), texts, reference)


def passes(frames, *, max_frames, max_positions, reference=NONE):
  """All passes of a song whose sections get these lengths."""
  found = [Pass(0, 0, 0)]
  while found[-1].end < len(frames):
    found.append(
      find_pass(
        prompt(len(frames), reference),
        frames[: found[-1].end],
        phrases=PHRASES,
        max_frames=max_frames,
        max_positions=max_positions,
      )
    )
  return found[1:]


def test_a_song_that_fits_is_one_pass():
  # 4 + 3 x (10 + 20) - 1: the last section has no end phrase.
  assert passes([9, 9, 9], max_frames=10, max_positions=93) == [Pass(0, 0, 3)]
  assert passes([9, 9, 9], max_frames=10, max_positions=92) == [
    Pass(0, 0, 2),
    Pass(0, 2, 3),
  ]


def test_sections_that_were_short_leave_room_for_more():
  assert passes([1] * 6, max_frames=10, max_positions=93) == [
    Pass(0, 0, 3),  # 3 x 30
    Pass(0, 3, 4),  # 3 x 12 + 30, and 24 are left
    Pass(0, 4, 5),  # 4 x 12 + 30
    Pass(0, 5, 6),  # 5 x 12 + 30 = 90
  ]


def test_the_oldest_sections_are_let_go():
  assert passes([10] * 6, max_frames=10, max_positions=93) == [
    Pass(0, 0, 3),
    Pass(1, 3, 4),
    Pass(2, 4, 5),
    Pass(3, 5, 6),
  ]


def test_the_reference_stays():
  clip = np.zeros(25, np.int32)  # and 5 around it
  assert passes([10] * 3, max_frames=10, max_positions=93, reference=clip) == [
    Pass(0, 0, 2),
    Pass(1, 2, 3),
  ]


@pytest.mark.parametrize("seed", range(5))
def test_what_a_pass_holds_fits_and_more_would_not(seed):
  rng = np.random.default_rng(seed)
  most = int(rng.integers(3, 40))
  frames = rng.integers(1, most + 1, 30).tolist()
  room = int(rng.integers(20 + 2 * most, 1000))
  found = passes(frames, max_frames=most, max_positions=room)
  assert [part.first for part in found] == [0, *[p.end for p in found[:-1]]]
  for part in found:
    known = [10 + 2 * f for f in frames[: part.first]]
    longest = 10 + 2 * most

    def size(kept, end, known=known, longest=longest, part=part):
      return 4 + sum(known[kept:]) + longest * (end - part.first) - 1

    assert size(part.kept, part.end) <= room
    if part.kept:
      assert size(part.kept - 1, part.first + 1) > room
    if part.end < len(frames):
      assert size(part.kept, part.end + 1) > room


def test_an_interrupted_pass_is_found_again():
  frames = [10, 3, 5, 10, 8, 2, 9, 10]
  sizes = {"phrases": PHRASES, "max_frames": 10, "max_positions": 93}
  parts = passes(frames, max_frames=10, max_positions=93)
  for sung in range(len(frames)):
    (expected,) = [p for p in parts if p.first <= sung < p.end]
    assert find_pass(prompt(8), frames[:sung], **sizes) == expected
  # One that began after two given sections has other passes.
  first = find_pass(prompt(8), frames[:2], start=2, **sizes)
  assert first.first == 2
  for sung in range(first.first, first.end):
    assert find_pass(prompt(8), frames[:sung], start=2, **sizes) == first


def test_a_section_longer_than_the_room_says_by_how_much():
  sizes = {"phrases": PHRASES, "min_frames": 5, "max_frames": 10, "song": "a"}
  check_room(prompt(2), max_positions=33, **sizes)
  with pytest.raises(
    ValueError,
    match=r"song a: section 1 .* 2 tokens more.*"
    r"lower max_frames to 9",
  ):
    check_room(prompt(2), max_positions=32, **sizes)
  with pytest.raises(ValueError, match=r"even min_frames=5 .* shorten"):
    check_room(prompt(2), max_positions=22, **sizes)
