"""Embeddings of songs, from wherever they were computed.

    embeddings/clap/0.npy      (width,) or (windows, width) of the song "0"
                    1.npy
or  embeddings/clap.npy        (songs, width)
               clap.txt        the songs' ids, one a line, in the same order

A song may have several rows (windows of it); rows know whose they are, since
intervals draw whole songs.
"""

import dataclasses
import pathlib

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Embeddings:
  """Rows of numbers, and the song of each.

  Attributes:
    ids: of the songs, sorted.
    rows: (rows, width) float64, finite; those of one song together.
    owners: (rows,) index into `ids`, not decreasing.
  """

  ids: tuple[str, ...]
  rows: np.ndarray
  owners: np.ndarray

  @property
  def width(self) -> int:
    return self.rows.shape[1]

  def of(self, songs: np.ndarray) -> np.ndarray:
    """The rows of the songs with these indices, again for each mention."""
    if len(self.rows) == len(self.ids):
      return self.rows[songs]
    ends = np.searchsorted(self.owners, np.arange(len(self.ids) + 1))
    pieces = [np.arange(ends[i], ends[i + 1]) for i in songs]
    return self.rows[np.concatenate(pieces)]

  def only(self, ids: tuple[str, ...], *, of: str) -> "Embeddings":
    """Those of some of the songs; ValueError if any is missing."""
    if missing := sorted(set(ids) - set(self.ids)):
      raise ValueError(f"{of} has no {missing[:3]}, {len(missing)} are missing")
    kept = [k for k, song in enumerate(self.ids) if song in set(ids)]
    owners = np.isin(self.owners, kept)
    number = np.searchsorted(kept, self.owners[owners])
    return Embeddings(
      tuple(self.ids[k] for k in kept), self.rows[owners], number
    )

  def means(self) -> np.ndarray:
    """(songs, width): one row a song, the mean of its own."""
    starts = np.searchsorted(self.owners, np.arange(len(self.ids)))
    counts = np.bincount(self.owners)
    return np.add.reduceat(self.rows, starts) / counts[:, None]


def from_arrays(arrays: dict[str, np.ndarray], *, of: str) -> Embeddings:
  """Embeddings of songs by id, each (width,) or (windows, width).

  Raises:
    ValueError: there are none, widths differ, or numbers are not finite; `of`
      says whose, in the message.
  """
  if not arrays:
    raise ValueError(f"{of} has no embeddings; expected one .npy a song")
  ids = tuple(sorted(arrays))
  rows = [_checked(np.atleast_2d(arrays[i]), f"{of}, song {i!r}") for i in ids]
  width = rows[0].shape[1]
  for song, found in zip(ids, rows, strict=True):
    if found.shape[1] != width:
      raise ValueError(
        f"{of}: song {song!r} has embeddings of width {found.shape[1]},"
        f" {ids[0]!r} of {width}; were they made by the same model?"
      )
  owners = np.repeat(np.arange(len(ids)), [len(r) for r in rows])
  return Embeddings(ids, np.concatenate(rows), owners)


def read_embeddings(path: pathlib.Path) -> Embeddings:
  """Embeddings of a folder of .npy files, or of one and its list of ids.

  Args:
    path: of the folder, or of the .npy file.
  """
  if path.is_dir():
    files = sorted(path.glob("*.npy"))
    return from_arrays({f.stem: load_array(f) for f in files}, of=str(path))
  rows, names = load_array(path), path.with_suffix(".txt")
  if not names.exists():
    raise ValueError(
      f"{path} has no {names.name} beside it, with a song's id"
      " a line; without, nobody knows whose rows these are"
    )
  ids = names.read_text("utf-8").splitlines()
  if rows.ndim != 2 or len(rows) != len(ids) or len(set(ids)) < len(ids):
    raise ValueError(
      f"{path} has shape {rows.shape}, {names.name} {len(ids)} ids,"
      f" {len(set(ids))} of them different; expected (songs, width) and as many"
    )
  return from_arrays(dict(zip(ids, rows, strict=True)), of=str(path))


def load_array(path: pathlib.Path) -> np.ndarray:
  """The array of a .npy file; ValueError if it is none."""
  try:
    return np.load(path, allow_pickle=False)
  except OSError:
    raise  # says which file
  except Exception as error:  # a broken header can raise nearly anything
    raise ValueError(f"{path} is no readable .npy array: {error}") from error


def expect_same_width(a: Embeddings, b: Embeddings) -> None:
  if a.width != b.width:
    raise ValueError(
      f"embeddings of width {a.width} and of {b.width} are not of one model"
    )


def expect_same_ids(a: tuple[str, ...], b: tuple[str, ...], *, of: str) -> None:
  """Raises ValueError, naming some, unless both have the same songs."""
  missing, extra = sorted(set(a) - set(b)), sorted(set(b) - set(a))
  if missing or extra:
    raise ValueError(
      f"{of}: songs differ; {len(missing)} without a partner"
      f" {missing[:3]}, {len(extra)} that nobody asked for {extra[:3]}"
    )


def _checked(rows: np.ndarray, of: str) -> np.ndarray:
  if rows.ndim != 2 or not rows.size or rows.dtype.kind not in "fiu":
    raise ValueError(
      f"{of}: embeddings of shape {rows.shape} and type {rows.dtype}; expected"
      " numbers, (width,) or (windows, width)"
    )
  if not np.isfinite(rows).all():
    raise ValueError(
      f"{of}: {(~np.isfinite(rows)).sum()} numbers of an embedding are not"
      " finite"
    )
  return rows.astype(np.float64)
