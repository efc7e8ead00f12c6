"""Plans on disk, so that a run that goes on need not make them anew.

  <directory>/<fingerprint>/epoch-00000003/<array>.npy   one plan
                            counts.npy                   samples by epoch

Arrays are mapped, not read. A plan is there as a whole or not at all, whoever
else writes the same. Plans of epochs long past are removed.
"""

from collections.abc import Mapping
import os
import pathlib
import shutil

import numpy as np

from yue_jax.data.planning.plan import Counts
from yue_jax.whole_directory import whole_directory

_KEPT = 2  # epochs before the one that is written


class PlanCache:
  """Plans of the epochs of one source, packed in one way."""

  def __init__(self, directory: str | pathlib.Path, fingerprint: str):
    self._directory = pathlib.Path(directory) / fingerprint

  def load(self, epoch: int) -> dict[str, np.ndarray] | None:
    """Arrays by name, mapped; None where there is no plan of the epoch."""
    folder = self._folder(epoch)
    paths = folder.glob("*.npy")
    return {p.stem: _read(p, mapped=True) for p in paths} or None

  def save(self, epoch: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Keeps a plan, unless somebody else has in the meantime."""
    folder = self._folder(epoch)
    try:
      with whole_directory(folder) as partial:
        for name, array in arrays.items():
          np.save(partial / f"{name}.npy", array, allow_pickle=False)
    except OSError:
      if not folder.is_dir():  # else another process was quicker
        raise
    for old in self._directory.glob("epoch-*"):
      if int(old.name.split("-")[1]) < epoch - _KEPT:
        shutil.rmtree(old, ignore_errors=True)

  def load_counts(self) -> dict[int, Counts]:
    """Numbers of samples and places by epoch."""
    path = self._directory / "counts.npy"
    if not path.is_file():
      return {}
    rows = _read(path, mapped=False).tolist()
    return {epoch: Counts(*counted) for epoch, *counted in rows}

  def save_counts(self, counts: Mapping[int, Counts]) -> None:
    self._directory.mkdir(parents=True, exist_ok=True)
    partial = self._directory / f".counts-{os.urandom(4).hex()}.npy"
    rows = [(epoch, *counted) for epoch, counted in sorted(counts.items())]
    rows = np.array(rows, np.int64)
    np.save(partial, rows, allow_pickle=False)
    partial.replace(self._directory / "counts.npy")

  def _folder(self, epoch: int) -> pathlib.Path:
    return self._directory / f"epoch-{epoch:08}"


def _read(path: pathlib.Path, *, mapped: bool) -> np.ndarray:
  """An array, mapped without the cost of np.memmap."""
  try:
    mode = "r" if mapped else None
    return np.asarray(np.load(path, mmap_mode=mode, allow_pickle=False))
  except (ValueError, EOFError) as error:
    raise ValueError(
      f"{path} is damaged ({error}); remove {path.parent}, it is made anew"
    ) from error
