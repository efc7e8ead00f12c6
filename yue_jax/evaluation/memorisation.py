"""Whether songs repeat what a model was trained on, or was given.

Of every song, against an index of others (see `ngrams`):

    covered   share of its frames inside an n-gram that some song has too
    run       the longest stretch that is equal, frame by frame, and whose
    nearest   the song that shares most n-grams at one offset, and how much of
              this song the stretch most alike is (`local_alignment`)

None of these means anything alone: short phrases, chords and breath recur in
all music. `against_null` compares with unrelated songs, that nobody can have
copied; `copied_from_references` with the references of others.

Only verbatim codes are found. A melody sung by another voice is none.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from yue_jax.evaluation import estimates
from yue_jax.evaluation.estimates import Estimate
from yue_jax.evaluation.local_alignment import LocalAlignment, local_alignment
from yue_jax.evaluation.ngrams import (
  Index,
  Matches,
  checked_codes,
  ngrams,
)

NULL_LEVEL = 0.95
_LEAST_NULL = 20  # unrelated songs, of which 5 % are one
_DIAGONALS = 64  # offsets between two songs that are followed
_MARGIN = 100  # frames around what n-grams found that are aligned too


@dataclasses.dataclass(frozen=True)
class Copying:
  """What of a song is in an index.

  Attributes:
    frames: of the song.
    covered: share of them inside a known n-gram.
    run: frames of the longest equal stretch of at least n, else 0.
    run_song: whose it is.
    nearest: the song that shares most n-grams at one offset, the only one that
      is aligned.
    alignment: with that song; its `b` are frames of it.
  """

  frames: int
  covered: float
  run: int = 0
  run_song: str | None = None
  nearest: str | None = None
  alignment: LocalAlignment = LocalAlignment(0, (0, 0), (0, 0))

  @property
  def aligned(self) -> float:
    """Score of the alignment by frames: 1 for a whole copy."""
    return self.alignment.score / self.frames


@dataclasses.dataclass(frozen=True)
class AgainstNull:
  """How songs compare with unrelated ones.

  Attributes:
    threshold: that 5 % of unrelated songs exceed.
    above: share of songs above it; about 0.05 if none copies.
    p_values: of each song: the share of unrelated songs that are as large.
  """

  threshold: float
  above: Estimate
  p_values: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class CopiedFromReferences:
  """Shares of songs that are copied from the reference they were given.

  Attributes:
    own: from their own.
    gain: what that is more than from the references of other songs.
    songs: the share of each, by id.
  """

  own: Estimate
  gain: Estimate
  songs: dict[str, float]


def copying(index: Index, codes: np.ndarray) -> Copying:
  """Compares a song with all of an index.

  Args:
    index: of training songs, say.
    codes: (frames,) of one codebook, of the track that was indexed.

  Raises:
    ValueError: codes are none, or fewer than an n-gram has.
  """
  codes = checked_codes(codes)
  if len(codes) < index.n:
    raise ValueError(
      f"a song of {len(codes)} frames has no n-gram of {index.n}; leave it out,"
      " or build an index of shorter ones"
    )
  matches = index.find(codes)
  if not len(matches.asked):
    return Copying(len(codes), 0.0)
  run, run_song, nearest = _follow(index, codes, matches)
  return Copying(
    frames=len(codes),
    covered=_covered(len(codes), matches.asked, index.n),
    run=run,
    run_song=index.names[run_song],
    nearest=index.names[nearest],
    alignment=_align(index, codes, matches, nearest),
  )


def covered_by(codes: np.ndarray, other: np.ndarray, n: int) -> float:
  """Share of a song's frames inside an n-gram that another song has too."""
  return _shared(len(codes), ngrams(codes, n), ngrams(other, n), n)


def against_null(
  values: Sequence[float], null: Sequence[float], *, seed: int = 0
) -> AgainstNull:
  """Compares a statistic of songs with that of unrelated songs.

  Args:
    values: such as `covered` of generated songs.
    null: of real songs that are not in the index.
    seed: of the interval.

  Raises:
    ValueError: fewer than 20 unrelated songs have no 95 % quantile.
  """
  if len(null) < _LEAST_NULL:
    raise ValueError(
      f"{len(null)} unrelated songs; what 5 % of them exceed takes at least"
      f" {_LEAST_NULL}"
    )
  ours, theirs = np.array(values, float), np.array(null, float)

  def above(i: np.ndarray, j: np.ndarray) -> np.ndarray:
    thresholds = np.quantile(theirs[j], NULL_LEVEL, axis=1, keepdims=True)
    return (ours[i] > thresholds).mean(axis=1)

  larger = (theirs >= ours[:, None]).sum(axis=1)
  return AgainstNull(
    float(np.quantile(theirs, NULL_LEVEL)),
    estimates.by_row(above, len(ours), len(theirs), seed=seed),
    tuple(((1 + larger) / (1 + len(theirs))).tolist()),
  )


def copied_from_references(
  songs: Mapping[str, np.ndarray],
  references: Mapping[str, np.ndarray],
  *,
  n: int,
) -> CopiedFromReferences:
  """How much of songs is in the reference that each was given.

  Args:
    songs: codes by id.
    references: of the same ids; those that are equal to a song's own do not
      count among others.
    n: frames of an n-gram.

  Raises:
    ValueError: ids differ, or a song has no other reference to compare with.
  """
  if songs.keys() != references.keys():
    differing = sorted(songs.keys() ^ references.keys())
    raise ValueError(
      f"{len(differing)} songs without a reference or references without a"
      f" song, {differing[:3]}; expected one of each"
    )
  ids = sorted(songs)
  asked = [(len(songs[i]), ngrams(songs[i], n)) for i in ids]
  known = [ngrams(references[i], n) for i in ids]
  shares = np.array(
    [[_shared(*song, other, n) for other in known] for song in asked]
  )
  other = np.array(
    [
      [not np.array_equal(references[i], references[j]) for j in ids]
      for i in ids
    ]
  )
  if not other.any(axis=1).all():
    raise ValueError(
      f"{len(ids)} songs have one reference; without others, nobody knows how"
      " much of a song is in any"
    )
  own = np.diagonal(shares)
  others = np.sum(shares * other, axis=1) / other.sum(axis=1)
  return CopiedFromReferences(
    estimates.mean(own),
    estimates.mean(own - others),
    dict(zip(ids, own.tolist(), strict=True)),
  )


def _shared(frames: int, asked, known, n: int) -> float:
  """`covered_by` of so many frames, from the n-grams of both."""
  hashes, starts = asked
  return _covered(frames, starts[np.isin(hashes, known[0])], n)


def _covered(frames: int, asked: np.ndarray, n: int) -> float:
  covered = np.zeros(frames + 1, np.int64)
  starts = np.unique(asked)
  covered[starts] += 1
  np.subtract.at(covered, starts + n, 1)
  return float((covered[:-1].cumsum() > 0).mean())


def _follow(
  index: Index, codes: np.ndarray, matches: Matches
) -> tuple[int, int, int]:
  """The longest run, its song, and the song with most n-grams at one offset."""
  songs = index.song_at(matches.places)
  pairs, counts = np.unique(
    np.stack([songs, matches.places - matches.asked]),
    axis=1,
    return_counts=True,
  )
  most = np.argsort(-counts, kind="stable")[:_DIAGONALS]
  runs = [_longest_run(index, codes, *pairs[:, k]) for k in most]
  longest = int(np.argmax(runs))
  return runs[longest], int(pairs[0, most[longest]]), int(pairs[0, most[0]])


def _longest_run(
  index: Index, codes: np.ndarray, song: int, offset: int
) -> int:
  """Frames of the longest stretch equal to a song at one offset."""
  start = max(index.starts[song], offset)
  end = min(index.starts[song + 1], offset + len(codes))
  equal = index.codes[start:end] == codes[start - offset : end - offset]
  edges = np.flatnonzero(np.diff(equal, prepend=False, append=False))
  return int((edges[1::2] - edges[::2]).max(initial=0))


def _align(
  index: Index, codes: np.ndarray, matches: Matches, song: int
) -> LocalAlignment:
  """The alignment with a song, around the n-grams that both have."""
  start, end = index.starts[song : song + 2]
  own = (matches.places >= start) & (matches.places < end)
  asked, places = matches.asked[own], matches.places[own] - start
  first = [max(0, int(x.min()) - _MARGIN) for x in (asked, places)]
  last = [int(x.max()) + index.n + _MARGIN for x in (asked, places)]
  theirs = np.asarray(index.codes[start:end])[first[1] : last[1]]
  found = local_alignment(codes[first[0] : last[0]], theirs)
  a, b = (
    (s + at, e + at)
    for (s, e), at in zip((found.a, found.b), first, strict=True)
  )
  return LocalAlignment(found.score, a, b)
