"""Error rates of lyrics: by section, by song, and as a song goes on.

    lyrics   we  all  sing  along
    heard    we  too  sing            substituted, deleted: 2 errors of 4 words

Word error rates (of characters, where they are words, see `normalise`) are
edits by words; those of characters are stricter to strange words and kinder to
near ones. Errors in time are the paper's way to see how long a model follows
its lyrics (figure 12).
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
from typing import NamedTuple

import jiwer
import numpy as np

from yue_jax.evaluation import estimates, normalise
from yue_jax.evaluation.estimates import Estimate
from yue_jax.evaluation.transcripts import Heard

Split = Callable[[str, str], list[str]]  # text, language -> units


class Errors(NamedTuple):
  """Edits from what was to be sung to what was heard."""

  units: int = 0
  substitutions: int = 0
  deletions: int = 0
  insertions: int = 0

  @property
  def edits(self) -> int:
    return self.substitutions + self.deletions + self.insertions

  def __add__(self, other: "Errors") -> "Errors":
    return Errors(*(a + b for a, b in zip(self, other, strict=True)))


@dataclasses.dataclass(frozen=True)
class LyricErrors:
  """Error rates over songs.

  Attributes:
    all: of all sections.
    by_label: of the sections of each label.
    by_number: of the first section of every song, the second, ...
    songs: errors of every song, by id.
  """

  all: Estimate
  by_label: dict[str, Estimate]
  by_number: list[Estimate]
  songs: dict[str, Errors]


def word_errors(songs: Sequence[Heard]) -> LyricErrors:
  """Word error rates."""
  return _lyric_errors(songs, normalise.words)


def character_errors(songs: Sequence[Heard]) -> LyricErrors:
  """Character error rates."""
  return _lyric_errors(songs, normalise.characters)


def errors_over_time(
  songs: Sequence[Heard], edges: Sequence[float]
) -> list[Estimate | None]:
  """Word error rates between moments of a song.

  A word of a section is taken to be sung at its share of the section; one that
  was heard without being in the lyrics, when the next one is.

  Args:
    songs: whose sections know their times.
    edges: in seconds, increasing: 0, 30, 60, ...

  Returns:
    A rate for each pair of edges; None where fewer than two songs have words.
  """
  if len(edges) < 2 or (np.diff(edges) <= 0).any():
    raise ValueError(f"edges {list(edges)}; expected at least two, increasing")
  units, edits = (
    np.array(counts)
    for counts in zip(*(_in_time(s, edges) for s in songs), strict=True)
  )
  return [
    _rate(u[u > 0], e[u > 0]) for u, e in zip(units.T, edits.T, strict=True)
  ]


def errors_of(lyrics: Sequence[str], heard: Sequence[str]) -> Errors:
  """Fewest edits of units that turn `lyrics` into `heard`."""
  if not lyrics:  # jiwer knows no rate of nothing
    return Errors(insertions=len(heard))
  found = jiwer.process_words(" ".join(lyrics), " ".join(heard))
  return Errors(
    len(lyrics), found.substitutions, found.deletions, found.insertions
  )


def _lyric_errors(songs: Sequence[Heard], split: Split) -> LyricErrors:
  counted = [
    [
      (
        s.label,
        errors_of(split(s.text, song.language), split(h, song.language)),
      )
      for s, h in zip(song.sections, song.heard, strict=True)
    ]
    for song in songs
  ]
  labels = sorted({label for song in counted for label, _ in song})
  longest = max(map(len, counted), default=0)
  totals = [_total(errors for _, errors in song) for song in counted]
  worded = sum(t.units > 0 for t in totals)
  if worded < 2:
    raise ValueError(
      f"{worded} of {len(songs)} songs have a word in their lyrics; fewer than"
      " two have no error rate with an interval"
    )
  return LyricErrors(
    all=_rate_of(totals),
    by_label={
      label: rate
      for label in labels
      if (
        rate := _rate_of(_total(e for n, e in s if n == label) for s in counted)
      )
    },
    by_number=[
      _rate_of(s[number][1] for s in counted if number < len(s))
      for number in range(longest)
    ],
    songs={s.id: t for s, t in zip(songs, totals, strict=True)},
  )


def _rate_of(errors: Iterable[Errors]) -> Estimate | None:
  """The rate over songs, of those that have words."""
  counted = [e for e in errors if e.units]
  return _rate(
    np.array([e.units for e in counted]), np.array([e.edits for e in counted])
  )


def _rate(units: np.ndarray, edits: np.ndarray) -> Estimate | None:
  return estimates.ratio(edits, units) if len(units) > 1 else None


def _total(errors: Iterable[Errors]) -> Errors:
  return sum(errors, start=Errors())


def _in_time(song: Heard, edges: Sequence[float]):
  """Words and edits of a song between the edges."""
  bins = len(edges) - 1
  units, edits = np.zeros(bins + 1, int), np.zeros(bins + 1, int)
  for section, heard in zip(song.sections, song.heard, strict=True):
    if section.start is None or section.end is None:
      raise ValueError(
        f"song {song.id!r}: section [{section.label}] has no times; expected"
        " its start and end in seconds"
      )
    lyrics = normalise.words(section.text, song.language)
    place = np.linspace(section.start, section.end, len(lyrics) + 1)
    # word w is sung in the middle; after the last one, at the end
    moments = np.append((place[:-1] + place[1:]) / 2, section.end)
    at = np.searchsorted(edges, moments, side="right") - 1
    at = np.where((at < 0) | (at >= bins), bins, at)  # outside of all
    np.add.at(units, at[:-1], 1)
    wrong = _wrong_words(lyrics, normalise.words(heard, song.language))
    np.add.at(edits, at, wrong)
  return units[:-1], edits[:-1]


def _wrong_words(lyrics: Sequence[str], heard: Sequence[str]) -> np.ndarray:
  """(words + 1,) edits at each word, and after the last."""
  wrong = np.zeros(len(lyrics) + 1, int)
  if not lyrics:
    wrong[0] = len(heard)
    return wrong
  found = jiwer.process_words(" ".join(lyrics), " ".join(heard))
  for piece in found.alignments[0]:
    if piece.type == "insert":
      wrong[piece.ref_start_idx] += piece.hyp_end_idx - piece.hyp_start_idx
    elif piece.type != "equal":
      wrong[piece.ref_start_idx : piece.ref_end_idx] += 1
  return wrong
