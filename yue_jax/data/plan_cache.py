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

from yue_jax.whole_directory import whole_directory

_KEPT = 2  # epochs before the one that is written


class PlanCache:
  """Plans of the epochs of one source, packed in one way."""

  def __init__(self, directory: str | pathlib.Path, fingerprint: str):
    self._directory = pathlib.Path(directory) / fingerprint

  def load(self, epoch: int) -> dict[str, np.ndarray] | None:
    """Arrays by name, mapped; None where there is no plan of the epoch."""
    folder = self._folder(epoch)
    paths = list(folder.glob("*.npy"))
    return {path.stem: _mapped(path) for path in paths} or None

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

  def load_counts(self) -> dict[int, int]:
    """Numbers of samples by epoch."""
    path = self._directory / "counts.npy"
    if not path.is_file():
      return {}
    return dict(np.load(path, allow_pickle=False).tolist())

  def save_counts(self, counts: Mapping[int, int]) -> None:
    self._directory.mkdir(parents=True, exist_ok=True)
    partial = self._directory / f".counts-{os.urandom(4).hex()}.npy"
    rows = np.array(sorted(counts.items()), np.int64).reshape(-1, 2)
    np.save(partial, rows, allow_pickle=False)
    partial.replace(self._directory / "counts.npy")

  def _folder(self, epoch: int) -> pathlib.Path:
    return self._directory / f"epoch-{epoch:08}"


def _mapped(path: pathlib.Path) -> np.ndarray:
  """A mapped array without the cost of np.memmap; empty ones are read."""
  if path.stat().st_size <= 128:
    return np.load(path, allow_pickle=False)
  return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
