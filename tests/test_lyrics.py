"""The decoder finds the likeliest words, and errors are counted as such."""

import dataclasses
import functools
import itertools
import math

import numpy as np
import pytest

from yue_jax.world import lyrics
from yue_jax.world.config import WorldConfig
from yue_jax.world.generator import World


def sung_sections(cfg: WorldConfig, songs: int = 40):
  """(world, vocal codes of each section, its true words)."""
  world = World(cfg)
  drawn = world.draw(np.random.default_rng(0), songs=songs)
  vocals = [
    song.vocal[0, a:b]
    for song in drawn
    for a, b in itertools.pairwise(song.bounds)
  ]
  words = [tuple(row) for song in drawn for row in song.words.tolist()]
  return world, vocals, words


def rate(world, vocals, words) -> float:
  readings = lyrics.read(world, vocals)
  return lyrics.error_rate(words, [reading.words for reading in readings])


def sing(world: World, words, singer: int = 1, held: int = 2) -> np.ndarray:
  """Clean codes of words, every syllable held alike."""
  codes = []
  for y in world.spelling[list(words)].ravel():
    onset = singer * world.cfg.singer_codes + 2 * y
    codes += [onset] + [onset + 1] * (held - 1)
  return np.array(codes)


@pytest.mark.parametrize(
  "change",
  [
    {},
    {"durations": (2,)},
    {"durations": (1, 4)},
    {"syllables_per_word": 1, "words": 16},
    {"syllables_per_word": 3, "syllables": 4, "words": 60},
    {"singers": 1, "words_per_section": 1, "sections": 3},
  ],
)
def test_without_noise_every_word_is_read(change):
  cfg = dataclasses.replace(WorldConfig(vocal_noise=0.0), **change)
  assert rate(*sung_sections(cfg)) == 0


def test_usual_noise_does_little_harm():
  assert rate(*sung_sections(WorldConfig(), songs=100)) < 0.01


def test_random_codes_are_no_words():
  world, vocals, words = sung_sections(WorldConfig())
  rng = np.random.default_rng(1)
  random = [rng.integers(world.cfg.codes, size=len(v)) for v in vocals]
  assert 0.8 < rate(world, random, words) < 1.2
  assert rate(world, [v[:0] for v in vocals], words) == 1


def test_the_singer_is_read_too():
  world = World(WorldConfig())
  for singer in range(world.cfg.singers):
    (reading,) = lyrics.read(world, [sing(world, [3, 7, 3], singer=singer)])
    assert reading == (singer, (3, 7, 3))


def test_swallowed_and_invented_words_are_found():
  world = World(WorldConfig())
  true = (1, 2, 3, 4, 5, 6)
  for words, changes in [
    ((1, 2, 3, 4, 5, 6), 0),
    ((1, 2, 4, 5, 6), 1),
    ((1, 2, 3, 9, 4, 5, 6), 1),
    ((1, 2, 9, 4, 5, 6), 1),
    ((1, 2), 4),
  ]:
    (reading,) = lyrics.read(world, [sing(world, words)])
    assert reading.words == words
    assert lyrics.edits(true, reading.words) == changes


def test_a_word_counts_once_its_last_syllable_begins():
  world = World(WorldConfig())
  codes = sing(world, [1, 2])
  lengths = {len(codes): 2, len(codes) - 1: 2, len(codes) - 2: 1, 0: 0}
  readings = lyrics.read(world, [codes[:n] for n in lengths])
  for reading, words in zip(readings, lengths.values(), strict=True):
    assert reading.words == (1, 2)[:words]


def test_the_reading_is_the_likeliest_of_all():
  """Compared with every path, in a world small enough to list them."""
  cfg = WorldConfig(
    words=3, syllables=2, singers=2, durations=(1, 2), vocal_noise=0.4, seed=4
  )
  world = World(cfg)
  rng = np.random.default_rng(0)
  vocals = [rng.integers(cfg.vocal_codes, size=n) for n in (1, 3, 4, 5, 6) * 4]
  for codes, reading in zip(vocals, lyrics.read(world, vocals), strict=True):
    scores = best_scores(world, codes)
    assert scores[reading] >= max(scores.values()) - 1e-9


def best_scores(world: World, codes: np.ndarray) -> dict:
  """Log p of the best path by (singer, words that are counted)."""
  cfg, scores = world.cfg, {}
  for paths in range(1, len(codes) // 2 + 2):
    for words in itertools.product(range(cfg.words), repeat=paths):
      if any(a == b for a, b in itertools.pairwise(words)):
        continue
      syllables = world.spelling[list(words)].ravel()
      for held in itertools.product(cfg.durations, repeat=len(syllables)):
        for singer in range(cfg.singers):
          found = score_path(world, codes, singer, words, syllables, held)
          if found:
            key, score = found
            scores[key] = max(score, scores.get(key, -math.inf))
  return scores


def score_path(world, codes, singer, words, syllables, held):
  """(what is counted, log p), or None when the path has another length."""
  cfg = world.cfg
  starts = np.cumsum(held) - held
  begun = int((starts < len(codes)).sum())
  unsung = len(syllables) - begun
  if sum(held) < len(codes) or unsung >= cfg.syllables_per_word:
    return None
  clean = np.concatenate(
    [
      singer * cfg.singer_codes + 2 * y + (np.arange(d) > 0)
      for y, d in zip(syllables, held, strict=True)
    ]
  )[: len(codes)]
  noise = cfg.vocal_noise
  p = noise / cfg.vocal_codes + (1 - noise) * (clean == codes)
  score = np.log(p).sum() - math.log(cfg.words)
  score -= (len(words) - 1) * math.log(cfg.words - 1)
  score -= (begun - 1) * math.log(len(cfg.durations))
  sounding = len(codes) - starts[begun - 1]
  if unsung == 0 and sounding == held[-1]:
    score -= math.log(len(cfg.durations))
  else:  # cut in a syllable that may have become this long, or longer
    reached = sum(d >= sounding for d in cfg.durations) / len(cfg.durations)
    score += math.log(reached) + math.log(lyrics.CUT)
  counted = words[:-1] if unsung else words
  return lyrics.Reading(singer, tuple(counted)), score


def test_edits():
  assert lyrics.edits([1, 2, 3], [1, 3, 3, 4]) == 2
  assert lyrics.edits([], [1, 2]) == lyrics.edits([1, 2], []) == 2

  @functools.cache
  def naive(a: tuple, b: tuple) -> int:
    if not a or not b:
      return len(a) + len(b)
    return min(
      naive(a[1:], b) + 1,
      naive(a, b[1:]) + 1,
      naive(a[1:], b[1:]) + (a[0] != b[0]),
    )

  rng = np.random.default_rng(0)
  for _ in range(200):
    a, b = (tuple(rng.integers(3, size=rng.integers(7))) for _ in range(2))
    assert lyrics.edits(a, b) == naive(a, b)


def test_error_rate_divides_once():
  assert lyrics.error_rate([[1], [2, 3, 4]], [[5], [2, 3, 4]]) == 0.25
  with pytest.raises(ValueError, match="no true words"):
    lyrics.error_rate([[]], [[1]])
