"""Songs that are too long, as several documents of whole sections."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Division:
  """Documents of some sections of a song each, in the order of the songs.

  Attributes:
    song: place of its song among those divided, (documents,) uint32.
    first: its first section, (documents,) uint16.
    end: the section after its last.
    tokens: of its sections, without what surrounds them, int32.
  """

  song: np.ndarray
  first: np.ndarray
  end: np.ndarray
  tokens: np.ndarray


def divide(
  sizes: np.ndarray,
  starts: np.ndarray,
  counts: np.ndarray,
  *,
  room: np.ndarray,
) -> Division:
  """Divides songs into documents of consecutive sections.

  Each takes as many sections as fit, and one at least: a section larger than
  the room stands alone. Works on all songs at once, section by section.
  Example: sizes [4, 4, 3, 9, 2] of songs with 3 and 2 sections and room 8, 8
  give songs 0 0 1 1, first sections 0 2 0 1, ends 2 3 1 2, tokens 8 3 9 2.

  Args:
    sizes: tokens of sections, of all songs.
    starts: where the sections of each song begin in them, (songs,).
    counts: how many they are, 1 or more, (songs,).
    room: tokens of sections that fit into a document, (songs,).
  """
  songs = np.arange(len(counts), dtype=np.uint32)
  used = np.zeros(len(counts), np.int32)
  song, first, tokens = [], [], []  # of documents that are complete
  began = np.zeros(len(counts), np.uint16)
  for ordinal in range(int(counts.max()) if len(counts) else 0):
    open_ = songs[counts > ordinal]
    size = sizes[starts[open_] + ordinal].astype(np.int32)
    full = (used[open_] + size > room[open_]) & (ordinal > 0)
    done = open_[full]
    song.append(done)
    first.append(began[done])
    tokens.append(used[done])
    began[done], used[done] = ordinal, 0
    used[open_] += size
  song = np.concatenate([*song, songs])
  first = np.concatenate([*first, began])
  tokens = np.concatenate([*tokens, used])
  order = np.argsort(song, kind="stable")  # sections are in order already
  song, first = song[order], first[order]
  last = np.append(song[1:] != song[:-1], True) if len(song) else song > 0
  end = np.where(last, counts[song], np.append(first[1:], 0)[: len(first)])
  return Division(song, first, end.astype(np.uint16), tokens[order])
