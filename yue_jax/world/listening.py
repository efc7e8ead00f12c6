"""What an evaluation hears in songs of the small world, from their codes.

Where others need models of sound, this world knows what a code stands for: its
words are read (`lyrics.read`), its pitch is that of the syllable, and what an
embedding or a classifier would tell is counted. Made to try metrics with; the
codes may be anything a model comes up with.
"""

from collections.abc import Sequence

import numpy as np

from yue_jax.world.generator import World

WIDTH = 8  # of embeddings; fewer than the songs of a small evaluation
_ROWS_PER_FRAME = 2  # of 10 ms
_LOWEST, _BETWEEN_SINGERS = 45, 5  # MIDI notes
_SLIP = 0.05  # share of chord frames that need not fit a genre


def pitch(world: World, vocal: np.ndarray) -> np.ndarray:
  """F0 in Hz, two values a frame; 0 where the code is no vocal one.

  Syllables are semitones, and each singer begins a fourth above the last: a
  rule to try metrics with, and not the notes that `singer` sings.
  """
  cfg = world.cfg
  singer, within = np.divmod(vocal.astype(np.int64), cfg.singer_codes)
  note = _LOWEST + _BETWEEN_SINGERS * singer + within // 2
  hertz = 440.0 * 2 ** ((note - 69) / 12)
  return np.repeat(np.where(vocal < cfg.vocal_codes, hertz, 0), _ROWS_PER_FRAME)


def sound_embedding(
  world: World, vocal: np.ndarray, backing: np.ndarray
) -> np.ndarray:
  """(WIDTH,) of both tracks: which codes there are, and which follow which.

  Shares of every code, and of frames that go on as those before them let
  expect, in a fixed random projection.
  """
  size = world.cfg.codes
  shares = [
    np.bincount(t, minlength=size)[:size] / len(t) for t in (vocal, backing)
  ]
  features = np.concatenate([*shares, _continuity(world, vocal, backing)])
  return features @ _projection(len(features), seed=1)


def word_embedding(world: World, words: Sequence[int]) -> np.ndarray:
  """(WIDTH,) of the words of a song, heard or written, in any order."""
  counts = np.bincount(np.asarray(words, np.int64), minlength=world.cfg.words)
  # A song without words has a direction too.
  counts = np.append(counts, 1 / (1 + len(words)))
  return counts @ _projection(len(counts), seed=2)


def genre_logits(
  world: World, labels: Sequence[int], backings: Sequence[np.ndarray]
) -> np.ndarray:
  """(genres,) log likelihoods of the chords that are played.

  Args:
    world: whose progressions these are.
    labels: of each section, an index.
    backings: its (frames,) codes; those that are no chord fit no genre.
  """
  cfg = world.cfg
  logits = np.zeros(cfg.genres)
  for label, backing in zip(labels, backings, strict=True):
    chords = (backing.astype(np.int64) - cfg.vocal_codes) // cfg.beats
    for genre in range(cfg.genres):
      fits = np.isin(chords, world.progressions[genre, label])
      logits[genre] += np.where(fits, 0, np.log(_SLIP)).sum()
  return logits


def _continuity(
  world: World, vocal: np.ndarray, backing: np.ndarray
) -> np.ndarray:
  """Shares of frames that go on with the syllable, the singer, the beat."""
  cfg = world.cfg
  before, after = vocal[:-1].astype(int), vocal[1:].astype(int)
  held = (after % 2 == 1) & (after // 2 == before // 2)
  singer = after // cfg.singer_codes == before // cfg.singer_codes
  was, now = (
    b.astype(int) - cfg.vocal_codes for b in (backing[:-1], backing[1:])
  )
  beat = (now % cfg.beats == (was + 1) % cfg.beats) & (was >= 0) & (now >= 0)
  return np.array(
    [flags.mean() if len(flags) else 0 for flags in (held, singer, beat)]
  )


def _projection(features: int, *, seed: int) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=(features, WIDTH))
