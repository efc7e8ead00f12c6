"""Codebook 0 of many songs, section by section, heard by the filters.

Axis letters: N song, S section, T frame (padded to the longest section),
H hypothesis about the whole song (its singer, or its genre). Marks delimit
the sections in every document, so each (song, section, hypothesis) is a row
with a chain of its own; what sections share is weighed afterwards, by `mix`.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Self

import numpy as np

from yue_jax.world import chains, filters
from yue_jax.world.config import VOCAL_CODES_PER_SYLLABLE
from yue_jax.world.generator import World, WorldSong


@dataclasses.dataclass(frozen=True, eq=False)
class Sections:
  """What a model is told and what it hears of N songs.

  Attributes:
    genre: (N,)
    labels: (N, S)
    words: (N, S, words_per_section)
    lengths: (N, S) frames.
    vocal: (N, S, T) codes, 0 beyond the length.
    backing: (N, S, T) codes, without the offset of backing codes.
    mixture: (N, S, T) codes of either kind.
  """

  genre: np.ndarray
  labels: np.ndarray
  words: np.ndarray
  lengths: np.ndarray
  vocal: np.ndarray
  backing: np.ndarray
  mixture: np.ndarray

  @classmethod
  def of(cls, world: World, songs: Sequence[WorldSong]) -> Self:
    lengths = np.stack([np.diff(song.bounds) for song in songs])
    return cls(
      genre=np.array([song.genre for song in songs]),
      labels=np.stack([song.labels for song in songs]),
      words=np.stack([song.words for song in songs]),
      lengths=lengths,
      vocal=_pad([song.vocal for song in songs], lengths, first=0),
      backing=_pad(
        [song.backing for song in songs], lengths, first=world.cfg.vocal_codes
      ),
      mixture=_pad([song.mixture for song in songs], lengths, first=0),
    )

  @property
  def sounding(self) -> np.ndarray:
    """(N, S, T) True where a section has a frame."""
    return _sounding(self.lengths)


def sung(world: World, heard: Sections) -> np.ndarray:
  """Log p of vocal codes and <EOA> by singer, given the words, (N, H, S, T+1).

  <EOA> stands at column `length` of its section; columns beyond are 0.
  """
  chain, clean = _line(world, heard)
  return _hear_vocal(world, heard, heard.vocal, chain=chain, clean=clean)


def sung_unseen(world: World, heard: Sections) -> np.ndarray:
  """The same for a listener who was not given the words."""
  cfg = world.cfg
  clean = vocal_codes(world, world.spelling)[:, None]  # (H, K, W, M, J)
  chain = chains.UnknownWords(
    cfg.words, cfg.words_per_section, cfg.syllables_per_word, cfg.durations
  )
  return _hear_vocal(
    world, heard, heard.vocal, chain=chain, clean=clean[None, None]
  )


def sung_masked(world: World, heard: Sections) -> np.ndarray:
  """`sung` of what the mixture lets through; a masked frame costs nothing."""
  chain, clean = _line(world, heard)
  return _hear_vocal(
    world,
    heard,
    heard.mixture,
    chain=chain,
    clean=clean,
    track=filters.MaskedTrack,
  )


def played(world: World, heard: Sections, genres: np.ndarray) -> np.ndarray:
  """Log p of backing codes by genre, (N, H, S, T + 1); the last column is 0.

  `genres` (N, H) are the hypotheses of each song.
  """
  return _hear_backing(world, heard, heard.backing, genres, filters.Track)


def played_masking(
  world: World, heard: Sections, genres: np.ndarray
) -> np.ndarray:
  """The same of the mixture: whether a frame is masked, and by which code."""
  cfg = world.cfg
  beat = np.arange(max(cfg.chord_durations)) % cfg.beats
  track = functools.partial(
    filters.MaskingTrack, masking=np.asarray(cfg.masking)[beat]
  )
  codes = heard.mixture - cfg.vocal_codes
  return _hear_backing(world, heard, codes, genres, track)


def vocal_codes(world: World, syllables: np.ndarray) -> np.ndarray:
  """Clean codes of syllables (...) by singer and frame, (H, ..., J)."""
  cfg = world.cfg
  singer = np.arange(cfg.singers).reshape(-1, *(1,) * (syllables.ndim + 1))
  frame = np.arange(max(cfg.durations)) > 0
  clean = VOCAL_CODES_PER_SYLLABLE * syllables[..., None] + frame
  return singer * cfg.singer_codes + clean


def mix(log_p: np.ndarray, *, log_prior: np.ndarray | None = None):
  """`filters.mix` over the sections of a song, (N, H, S, T) -> (N, S, T).

  The hypotheses are equally likely unless a `log_prior` (N, H) is given.
  """
  n, h, *shape = log_p.shape
  if log_prior is None:
    log_prior = np.zeros((n, h))
  nats = filters.mix(log_p.reshape(n, h, -1), log_prior=log_prior)
  return nats.reshape(n, *shape)


def _line(world: World, heard: Sections) -> tuple[chains.Line, np.ndarray]:
  """The chain of the words given, and the codes of its states by singer."""
  cfg = world.cfg
  syllables = world.spelling[heard.words].reshape(*heard.lengths.shape, -1)
  clean = np.moveaxis(vocal_codes(world, syllables), 0, 2)  # (N, S, H, U, J)
  return chains.Line(cfg.units_per_section, cfg.durations), clean


def _hear_vocal(
  world, heard: Sections, codes, *, chain, clean, track=filters.Track
) -> np.ndarray:
  """`clean` broadcasts to (N, S, H, *states), H the singer."""
  cfg = world.cfg
  shape = (*heard.lengths.shape, cfg.singers, *clean.shape[3:])
  return _hear(
    heard,
    codes,
    chain=chain,
    clean=np.broadcast_to(clean, shape),
    track=functools.partial(track, noise=cfg.vocal_noise, size=cfg.vocal_codes),
  )


def _hear_backing(world, heard: Sections, codes, genres, track) -> np.ndarray:
  """With 0 where a section ends: the vocal decides that."""
  cfg = world.cfg
  chords = world.progressions[genres[:, None], heard.labels[..., None]]
  beat = np.arange(max(cfg.chord_durations)) % cfg.beats
  log_p = _hear(
    heard,
    codes,
    chain=chains.Ring(cfg.progression, cfg.chord_durations),
    clean=chords[..., None] * cfg.beats + beat,  # (N, S, H, P, Q)
    track=functools.partial(
      track, noise=cfg.backing_noise, size=cfg.backing_codes
    ),
  )
  ends = np.arange(log_p.shape[-1]) == heard.lengths[..., None]
  return np.where(ends[:, None], 0.0, log_p)


def _hear(heard, codes, *, chain, clean, track) -> np.ndarray:
  """Runs a row for each (song, section, hypothesis); (N, H, S, T + 1)."""
  n, s, hypotheses, *states = clean.shape
  rows = track(
    np.repeat(codes.reshape(n * s, -1), hypotheses, axis=0),
    clean.reshape(-1, *states),
  )
  lengths = np.repeat(heard.lengths.ravel(), hypotheses)
  log_p = filters.forward(chain, rows, lengths=lengths)
  return np.moveaxis(log_p.reshape(n, s, hypotheses, -1), 2, 1)


def _pad(tracks: list[np.ndarray], lengths: np.ndarray, *, first: int):
  """Codebook 0 of songs -> (N, S, T), counted from code `first`."""
  sounding = _sounding(lengths)
  padded = np.zeros(sounding.shape, np.int64)
  padded[sounding] = np.concatenate([track[0] for track in tracks])
  padded[sounding] -= first
  return padded


def _sounding(lengths: np.ndarray) -> np.ndarray:
  return np.arange(lengths.max()) < lengths[..., None]
