"""Windows of single tracks, in runs that are read at once."""

import numpy as np

from yue_jax import documents, lengths
from yue_jax.data.dataset import Dataset
from yue_jax.data.records import TRACKS, decode_windows_record
from yue_jax.data.sources.songs import fingerprint
from yue_jax.data.sources.source import Part
from yue_jax.documents import TRACK_STREAMS


class WindowSource:
  """Runs of windows of the members; a window is never cut."""

  varies = False
  joined = False

  def __init__(self, dataset: Dataset, *, members: np.ndarray):
    """Of the runs of these rows of the song table."""
    self.eod = dataset.vocab.eod
    self.unit = lengths.window(dataset.window, codebooks=dataset.codebooks)
    self.fingerprint = fingerprint(dataset, "window", seed=0, members=members)
    self._dataset = dataset
    index = dataset.index
    chosen = np.zeros(len(index["record"]), bool)
    chosen[members] = True
    self._runs = None  # all of them
    if not chosen.all():
      runs = np.flatnonzero(chosen[index["run_song"]])
      self._runs = runs.astype(np.uint32)

  def __len__(self) -> int:
    if self._runs is None:
      return len(self._dataset.index["run_record"])
    return len(self._runs)

  def lengths(self, epoch: int) -> np.ndarray:
    del epoch  # the same in all
    windows = self._dataset.index["run_windows"]
    if self._runs is not None:
      windows = windows[self._runs]
    return windows.astype(np.int32) * np.int32(self.unit)

  def read(
    self, epoch: int, document: int, *, start: int, length: int
  ) -> list[Part]:
    del epoch  # nothing is drawn
    dataset = self._dataset
    run = document if self._runs is None else int(self._runs[document])
    stream = TRACK_STREAMS[TRACKS[dataset.index["run_track"][run]]]
    record = int(dataset.index["run_record"][run])
    windows = decode_windows_record(dataset.windows[record])
    first, last = start // self.unit, (start + length) // self.unit
    built = [
      documents.window_document(codes, dataset.vocab, stream=stream)
      for codes in windows[first:last]
    ]
    return [Part(one.ids, one.streams, 0, len(one)) for one in built]

  def overlong(self, epoch: int, context: int) -> tuple[int, int]:
    return 0, 0
