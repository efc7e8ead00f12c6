"""Indexes of a prepared data set, to find copies of it (see `ngrams`)."""

from collections.abc import Iterable, Iterator
import pathlib

import numpy as np

from yue_jax.data.dataset import open_dataset
from yue_jax.data.records import decode_song_record
from yue_jax.evaluation.ngrams import Index, build_index, open_index
from yue_jax.progress import track as shown
from yue_jax.tracks import FILES


def index_dataset(
  dataset: pathlib.Path | None,
  root: pathlib.Path,
  *,
  n: int,
  tracks: Iterable[str] = FILES,
) -> dict[str, Index]:
  """The indexes of tracks in `root`, built where they are missing.

  Args:
    dataset: of training songs; None if the indexes are there.
    root: folder of the indexes, one a track.
    n: frames of an n-gram.
    tracks: by name.

  Raises:
    ValueError: an index that is there has other n-grams.
  """
  indexes = {}
  for name in tracks:
    if (root / name).exists() or dataset is None:
      indexes[name] = open_index(root / name)
    else:
      root.mkdir(parents=True, exist_ok=True)
      songs = _tracks(dataset, name)
      indexes[name] = build_index(songs, root / name, n=n)
    if indexes[name].n != n:
      raise ValueError(
        f"{root / name} has n-grams of {indexes[name].n} frames, not {n}; ask"
        " for these, or remove it"
      )
  return indexes


def _tracks(
  dataset: pathlib.Path, name: str
) -> Iterator[tuple[str, np.ndarray]]:
  records = open_dataset(dataset).songs
  for record in shown(records, len(records), "songs", f"indexing {name}"):
    song = decode_song_record(record)
    if name in song.tracks:
      yield song.id, song.tracks[name]
