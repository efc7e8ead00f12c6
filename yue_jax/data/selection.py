"""Selection: which songs are trained on, which are held out, which are left.

A song's side is a function of a hash of its id, the same in every data set
and for every kind of document. Songs that share a code array, or an id, are
the same music and stay on one side, within a data set (its `group` column)
and across data sets: those that come later follow those that came before, so
that a data set added in mid-run moves no song of the earlier ones.
"""

from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np

from yue_jax.data.layout import hash_bytes
from yue_jax.references import uniform

TRAIN, HELDOUT, BETWEEN = 0, 1, 2  # BETWEEN has copies on both sides


@dataclasses.dataclass(frozen=True)
class SongHashes:
  """Hashes of all songs of a data set, each (songs,) uint64.

  Attributes:
    ids: of their ids.
    groups: equal where songs are the same music.
    codes: of their code arrays by track; 0 where there is none.
  """

  ids: np.ndarray
  groups: np.ndarray
  codes: tuple[np.ndarray, ...] = ()


def sides(tables: Sequence[SongHashes], heldout: float) -> list[np.ndarray]:
  """Side of every song of every data set, (songs,) uint8 each.

  Args:
    tables: one per data set, in the order in which they came into the run.
    heldout: share of the songs to hold out.
  """
  found: list[np.ndarray] = []
  known = {TRAIN: np.zeros(0, np.uint64), HELDOUT: np.zeros(0, np.uint64)}
  for number, table in enumerate(tables):
    if not heldout:
      found.append(np.full(len(table.ids), TRAIN, np.uint8))
      continue
    drawn = uniform(table.groups, purpose="heldout") < heldout
    side = np.where(drawn, HELDOUT, TRAIN).astype(np.uint8)
    if number:
      touched = {s: _touched(table, hashes) for s, hashes in known.items()}
      side[touched[TRAIN]] = TRAIN
      side[touched[HELDOUT]] = HELDOUT
      side[touched[TRAIN] & touched[HELDOUT]] = BETWEEN
    found.append(side)
    if number + 1 < len(tables):
      for s in known:
        known[s] = np.union1d(known[s], _hashes(table, side == s))
  return found


def read_exclusions(path: str | pathlib.Path) -> np.ndarray:
  """Hashes of the ids in a file, one per line; ValueError if there are none."""
  lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
  ids = [line.strip() for line in lines if line.strip()]
  if not ids:
    raise ValueError(
      f"{path} lists no ids; expected one on each line, or set exclude to ''"
    )
  return np.array([hash_bytes(id.encode()) for id in ids], np.uint64)


def _touched(table: SongHashes, known: np.ndarray) -> np.ndarray:
  """Songs whose group has an id or codes among the known, (songs,) bool."""
  linked = np.zeros(len(table.ids), bool)
  for column in (table.ids, *table.codes):
    linked |= (column != 0) & np.isin(column, known)
  return np.isin(table.groups, table.groups[linked])


def _hashes(table: SongHashes, chosen: np.ndarray) -> np.ndarray:
  columns = [column[chosen] for column in (table.ids, *table.codes)]
  return np.setdiff1d(np.concatenate(columns), [np.uint64(0)])
