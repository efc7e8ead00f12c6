"""Groups: songs that share sound, which no split may separate.

Two songs share sound when a track of one has the codes of a track of the
other: an instrumental under two lyrics, a song uploaded twice. A group is
everything that such pairs connect, however long the chain. Numpy only, a few
passes over the data set.
"""

from collections.abc import Sequence

import numpy as np


def group_songs(
  id_hashes: np.ndarray, codes: Sequence[np.ndarray]
) -> np.ndarray:
  """The smallest id hash among the songs that each song is connected with.

  Args:
    id_hashes: (songs,) uint64, each once.
    codes: columns (songs,) uint64 of hashed tracks; equal ones, in whatever
      columns, connect their songs, 0 connects nothing.

  Example: ids [30, 20, 10], vocals [7, 0, 0] and mixtures [0, 7, 5] give
  groups [20, 20, 10].
  """
  order = np.argsort(id_hashes).astype(np.uint32)
  rank = np.empty(len(order), np.uint32)
  rank[order] = np.arange(len(order), dtype=np.uint32)
  songs, firsts = _shared(rank, codes)
  return id_hashes[order[_smallest_connected(len(order), songs, firsts)[rank]]]


def _shared(
  songs: np.ndarray, codes: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
  """Songs by the code that they share, and where each code's songs begin."""
  keys = np.concatenate([*codes, np.zeros(0, np.uint64)])
  songs = np.tile(songs, len(codes))
  songs, keys = songs[keys != 0], keys[keys != 0]
  order = np.argsort(keys)  # which song of a code comes first does not matter
  songs, keys = songs[order], keys[order]
  new = np.ones(len(keys), bool)
  new[1:] = keys[1:] != keys[:-1]
  alone = new & np.append(new[1:], True)
  return songs[~alone], np.flatnonzero(new[~alone])


def _smallest_connected(
  count: int, songs: np.ndarray, firsts: np.ndarray
) -> np.ndarray:
  """The smallest number that each number below `count` is connected with.

  Every number points at a smaller one of its group or at itself; in each
  round the roots of neighbours are joined and pointers followed, so that
  chains of any length end after a few rounds.
  """
  parent = np.arange(count, dtype=np.uint32)
  sizes = np.diff(np.append(firsts, len(songs)))
  while len(songs):
    before = parent.copy()
    smallest = np.minimum.reduceat(parent[songs], firsts)
    smallest = np.repeat(smallest, sizes)
    np.minimum.at(parent, before[songs], smallest)
    np.minimum.at(parent, songs, smallest)
    parent = parent[parent]
    if np.array_equal(parent, before):
      break
  return parent
