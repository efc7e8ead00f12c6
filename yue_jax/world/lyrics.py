"""From sung codes back to words, and how many of them are right.

`read` finds the likeliest explanation of a section's vocal codes: singer,
words, and the frames of each syllable, by the Viterbi algorithm over the same
states as `chains.UnknownWords`, except that the number of words is open. So a
model that swallows a word, or invents one, is found out.

    codes     O s O s s O s O s        of one section
    singer    2
    words     koti     meda            compared with the true lyrics
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from yue_jax.world import chains, filters, sections
from yue_jax.world.floors import BELIEF_SIZE
from yue_jax.world.generator import World

LEAST_NOISE = 0.01  # for worlds without: a model's codes may fit no words
CUT = 1e-6  # probability that a section stops short of a whole word


class Reading(NamedTuple):
  """Who sings, and which words."""

  singer: int
  words: tuple[int, ...]


def read(world: World, vocals: Sequence[np.ndarray]) -> list[Reading]:
  """The likeliest singer and words of each section.

  Args:
    world: whose words are sung.
    vocals: one (frames,) array of codebook-0 codes for each section. Codes
      that are not vocal count as noise.

  Returns:
    One reading a section. A word counts once its last syllable has begun; a
    section without frames has singer 0 and no words.
  """
  cfg = world.cfg
  states = cfg.singers * cfg.words * cfg.syllables_per_word
  size = max(1, BELIEF_SIZE // (states * max(cfg.durations)))
  readings = []
  for start in range(0, len(vocals), size):
    readings.extend(_read(world, vocals[start : start + size]))
  return readings


def edits(true: Sequence, read: Sequence) -> int:
  """Fewest words to replace, insert or delete to turn one into the other.

  Example: [1, 2, 3] and [1, 3, 3, 4] differ by 2.
  """
  row = np.arange(len(read) + 1)
  for number, word in enumerate(true, start=1):
    change = row[:-1] + np.array([word != other for other in read], int)
    step = np.concatenate([[number], np.minimum(change, row[1:] + 1)])
    # an insertion costs 1 more than what stands left of it, any number of times
    place = np.arange(len(step))
    row = np.minimum.accumulate(step - place) + place
  return int(row[-1])


def edits_by_word(true: Sequence, read: Sequence) -> np.ndarray:
  """The same edits by the true word they belong to, (len(true),) integers.

  An inserted word counts with the true word before it, or with the first. Of
  several cheapest ways, words are matched as late as they can be.

  Example: true [1, 2, 3], read [1, 3, 3, 4] -> [0, 1, 1].
  """
  if not len(true):
    raise ValueError("no true words to count edits of; expected at least one")
  cost = np.zeros((len(true) + 1, len(read) + 1), int)
  cost[0] = np.arange(len(read) + 1)
  for number, word in enumerate(true, start=1):
    cost[number, 0] = number
    for place, other in enumerate(read, start=1):
      cost[number, place] = min(
        cost[number - 1, place - 1] + (word != other),
        cost[number - 1, place] + 1,
        cost[number, place - 1] + 1,
      )
  edits = np.zeros(len(true), int)
  number, place = len(true), len(read)
  while number or place:
    here = cost[number, place]
    changed = number and place and true[number - 1] != read[place - 1]
    if number and place and here == cost[number - 1, place - 1] + changed:
      number, place, paid = number - 1, place - 1, changed
      edits[number] += paid
    elif number and here == cost[number - 1, place] + 1:
      number -= 1
      edits[number] += 1
    else:
      place -= 1
      edits[max(number - 1, 0)] += 1
  return edits


def error_rate(true: Sequence[Sequence], read: Sequence[Sequence]) -> float:
  """Lyric error rate: edits over all sections by their number of true words.

  0 when every word is right, 1 when nothing was sung. Random singing is near
  1, and singing too many words may exceed it.
  """
  words = sum(len(section) for section in true)
  if not words:
    raise ValueError("no true words to compare with; expected at least one")
  pairs = zip(true, read, strict=True)
  return sum(edits(a, b) for a, b in pairs) / words


class _Paths(NamedTuple):
  """Best paths through the states (H, W, M, J), for B sections at a time.

  Attributes:
    score: (B, H, W, M, J) log probability of the best path that ends a
      section in each state.
    held: (T, B, H, W, M) the frame J at which the best path that leaves a
      syllable after frame T does so.
    word: (T, B, H, W) the word from which the best path comes that begins
      word W after frame T.
  """

  score: np.ndarray
  held: np.ndarray
  word: np.ndarray


def _read(world: World, vocals: Sequence[np.ndarray]) -> list[Reading]:
  lengths = np.array([len(codes) for codes in vocals])
  padded = np.full((len(vocals), lengths.max()), -1, np.int64)
  padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.concatenate(vocals)
  paths = _search(world, padded, lengths)
  return [
    _trace(world, paths, row, int(length)) for row, length in enumerate(lengths)
  ]


def _search(world: World, codes: np.ndarray, lengths: np.ndarray) -> _Paths:
  """Codes (B, T) and lengths (B,) to the best paths."""
  cfg = world.cfg
  clean = sections.vocal_codes(world, world.spelling)  # (H, W, M, J)
  noise = max(cfg.vocal_noise, LEAST_NOISE)
  fits = np.log(noise / cfg.vocal_codes + (1 - noise))
  fails = np.log(noise / cfg.vocal_codes)
  ends = filters.log(chains.hazard(cfg.durations))

  score = np.full((len(codes), *clean.shape), -np.inf)
  score[..., 0, 0] = -np.log(cfg.words)
  final, held, word = np.zeros_like(score), [], []
  for frame, heard in enumerate(codes.T):
    fit = clean == heard[:, None, None, None, None]
    score = score + np.where(fit, fits, fails)
    final[lengths == frame + 1] = score[lengths == frame + 1]
    score, held_here, word_here = _advance(score, ends)
    held.append(held_here)
    word.append(word_here)
  finish = np.full(clean.shape[2:], np.log(CUT))
  finish[-1] = np.maximum(finish[-1], ends)
  return _Paths(final + finish, np.array(held), np.array(word))


def _advance(score: np.ndarray, ends: np.ndarray):
  """Best scores at the next frame, and how they were reached (see _Paths)."""
  following = np.full_like(score, -np.inf)
  following[..., 1:] = score[..., :-1] + filters.log(1 - np.exp(ends[:-1]))
  leaving = score + ends
  left = leaving.max(axis=-1)
  following[..., 1:, 0] = left[..., :-1]
  word, sung = _best_other(left[..., -1])
  following[..., 0, 0] = sung - np.log(max(sung.shape[-1] - 1, 1))
  return following, leaving.argmax(axis=-1).astype(np.int16), word


def _best_other(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """For each of (..., W): the best of all others, and its score."""
  first = score.argmax(axis=-1, keepdims=True)
  without = score.copy()
  np.put_along_axis(without, first, -np.inf, axis=-1)
  second = without.argmax(axis=-1, keepdims=True)
  word = np.where(np.arange(score.shape[-1]) == first, second, first)
  return word.astype(np.int16), np.take_along_axis(score, word, axis=-1)


def _trace(world: World, paths: _Paths, row: int, length: int) -> Reading:
  """Walks the best path of one section back to its first frame."""
  if not length:
    return Reading(0, ())
  last = world.cfg.syllables_per_word - 1
  score = paths.score[row]
  h, w, m, j = map(int, np.unravel_index(score.argmax(), score.shape))
  words = [w] if m == last else []
  for frame in reversed(range(length - 1)):
    if j:
      j -= 1
      continue
    if m:
      m -= 1
    else:
      w, m = int(paths.word[frame, row, h, w]), last
      words.append(w)
    j = int(paths.held[frame, row, h, w, m])
  return Reading(h, tuple(reversed(words)))
