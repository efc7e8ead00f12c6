"""Sources: the documents of a prepared data set, by number.

A source knows the length of each of its documents in any epoch from the
index alone, and reads one piece of one document at a time:

  plain, cot                   one document per song, the same in every epoch
  icl_dual, icl_mixture, ...   one per song, its clip drawn in every epoch
  icl                          likewise, and the mode of the clip drawn too
  window                       one per run of windows, each window on its own
"""

import hashlib
import pathlib
from typing import NamedTuple, Protocol

import numpy as np

from yue_jax import documents, references
from yue_jax.data.dataset import Dataset, expect_vocab, open_dataset
from yue_jax.data.records import (
  TRACKS,
  decode_song_record,
  decode_windows_record,
)
from yue_jax.documents import TRACK_STREAMS, Document
from yue_jax.encoding import EncodedSong
from yue_jax.vocab import Vocab

REFERENCE_MODES = {
  "icl": references.MODES,
  "icl_dual": ("dual",),
  "icl_mixture": ("mixture",),
  "icl_vocal": ("vocal",),
  "icl_inst": ("backing",),
}
KINDS = ("plain", "cot", *REFERENCE_MODES, "window")


class Part(NamedTuple):
  """Tokens `start` to `stop` of a document, which may go on after them."""

  document: Document
  start: int
  stop: int


class Source(Protocol):
  """Documents of one kind.

  Attributes:
    varies: whether lengths differ from epoch to epoch.
    fingerprint: of all that its documents depend on.
  """

  varies: bool
  fingerprint: str

  def __len__(self) -> int:
    """Number of documents."""

  def lengths(self, epoch: int) -> np.ndarray:
    """Tokens of every document in an epoch, (documents,)."""

  def cut_at(self, context: int) -> int:
    """Longest piece of a document that fits into `context` places."""

  def read(
    self, epoch: int, document: int, *, start: int, length: int
  ) -> list[Part]:
    """One piece of a document, in parts that must not see each other."""


def eligible(dataset: Dataset, kind: str) -> np.ndarray:
  """Which songs have documents of a kind, (songs,) bool."""
  if kind not in KINDS:
    raise ValueError(f"no documents of kind {kind!r}; there are {KINDS}")
  index = dataset.index
  if kind == "window":
    found = np.zeros(len(index["record"]), bool)
    found[index["run_song"]] = True
    return found
  all_tracks = index["tracks"] == 2 ** len(TRACKS) - 1
  return all_tracks & (index["section_count"] > 0)


def make_source(
  dataset: Dataset,
  kind: str,
  *,
  seed: int,
  members: np.ndarray | None = None,
) -> Source:
  """The documents of a kind.

  Args:
    dataset: what they are made from.
    kind: one of `KINDS`; ValueError for any other.
    seed: of every draw.
    members: numbers of eligible songs, ascending; None for all of them.
  """
  if members is None:
    members = np.flatnonzero(eligible(dataset, kind))
  if kind in ("plain", "cot"):
    return SongSource(dataset, kind, members)
  if kind in REFERENCE_MODES:
    modes = REFERENCE_MODES[kind]
    return ReferenceSource(dataset, modes, members, seed=seed)
  if kind == "window":
    return WindowSource(dataset, members)
  raise ValueError(f"no documents of kind {kind!r}; there are {KINDS}")


def open_source(
  directory: str | pathlib.Path, kind: str, *, seed: int, vocab: Vocab
) -> Source:
  """All documents of a kind in a prepared data set; an error if none."""
  dataset = open_dataset(directory)
  expect_vocab(dataset, vocab)
  source = make_source(dataset, kind, seed=seed)
  if not len(source):
    raise ValueError(
      f"{dataset.directory} has no documents of kind {kind!r}: it holds"
      f" {len(dataset.songs)} songs and {len(dataset.windows)} runs of"
      f" windows; left out: {dataset.info['left_out']}"
    )
  return source


def _fingerprint(dataset: Dataset, kind: object, rows: np.ndarray) -> str:
  text = f"{dataset.info['fingerprint']} {kind} ".encode()
  return hashlib.sha256(text + rows.astype("<u8").tobytes()).hexdigest()[:16]


class _PerSong:
  """What sources with one document per song have in common.

  `members` are their numbers in the data set; documents count from 0.
  """

  def __init__(self, dataset: Dataset, members: np.ndarray):
    self._dataset = dataset
    self._rows = members

  def __len__(self) -> int:
    return len(self._rows)

  def _column(self, name: str) -> np.ndarray:
    return self._dataset.index[name][self._rows].astype(np.int64)

  def _cot_lengths(self) -> np.ndarray:
    phrases = self._dataset.phrases
    around = len(phrases.segment_start) + 3 + len(phrases.segment_end)
    sections = self._column("section_count") * around
    texts = self._column("head") + self._column("text")
    return texts + 2 * self._column("sung") + sections + 1

  def cut_at(self, context: int) -> int:
    return context

  def read(
    self, epoch: int, document: int, *, start: int, length: int
  ) -> list[Part]:
    dataset = self._dataset
    record = dataset.index["record"][self._rows[document]]
    song = decode_song_record(dataset.songs[int(record)])
    return [Part(self._build(epoch, document, song), start, start + length)]

  def _build(self, epoch: int, number: int, song: EncodedSong) -> Document:
    raise NotImplementedError


class SongSource(_PerSong):
  """One document per song, plain or cot: the same in every epoch."""

  varies = False

  def __init__(self, dataset: Dataset, kind: str, members: np.ndarray):
    super().__init__(dataset, members)
    self._kind = kind
    self.fingerprint = _fingerprint(dataset, kind, members)

  def lengths(self, epoch: int) -> np.ndarray:
    if self._kind == "cot":
      return self._cot_lengths()
    audio = 2 * self._column("sung") + 3 * self._column("section_count")
    return self._column("plain_text") + audio + 1

  def _build(self, epoch: int, number: int, song: EncodedSong) -> Document:
    dataset = self._dataset
    if self._kind == "plain":
      return documents.plain(song, dataset.vocab)
    return documents.cot(song, dataset.vocab, phrases=dataset.phrases)


class ReferenceSource(_PerSong):
  """One in-context document per song, its clip drawn afresh in every epoch."""

  varies = True

  def __init__(
    self,
    dataset: Dataset,
    modes: tuple[str, ...],
    members: np.ndarray,
    *,
    seed: int,
  ):
    super().__init__(dataset, members)
    self._modes, self._seed = modes, seed
    self._spans = self._column("span")
    self.fingerprint = _fingerprint(dataset, (modes, seed), members)

  def lengths(self, epoch: int) -> np.ndarray:
    songs = np.arange(len(self))
    clips = references.draw_lengths(
      self._seed, epoch, songs=songs, spans=self._spans
    )
    tracks = [len(references.MODE_TRACKS[mode]) for mode in self._modes]
    extra = documents.icl_extra_length(
      clips,
      tracks=np.array(tracks)[self._draw_modes(epoch, songs)],
      phrases=self._dataset.phrases,
    )
    return self._cot_lengths() + extra

  def _draw_modes(self, epoch: int, songs: np.ndarray) -> np.ndarray:
    """Indices into the modes, (songs,)."""
    return references.draw_modes(
      self._seed, epoch, songs=songs, modes=self._modes
    )

  def _build(self, epoch: int, number: int, song: EncodedSong) -> Document:
    mode = self._modes[self._draw_modes(epoch, np.array([number]))[0]]
    reference = references.draw(
      self._seed,
      epoch,
      song=number,
      mode=mode,
      sections=song.sections,
      tracks=song.tracks,
    )
    dataset = self._dataset
    return documents.icl(
      song, dataset.vocab, phrases=dataset.phrases, reference=reference
    )


class WindowSource:
  """Runs of windows of one track; a window is never cut."""

  varies = False

  def __init__(self, dataset: Dataset, members: np.ndarray):
    self._dataset = dataset
    chosen = np.zeros(len(dataset.index["record"]), bool)
    chosen[members] = True
    self._runs = np.flatnonzero(chosen[dataset.index["run_song"]])
    self.fingerprint = _fingerprint(dataset, "window", self._runs)
    self._window = documents.window_length(
      dataset.window, codebooks=dataset.codebooks
    )

  def __len__(self) -> int:
    return len(self._runs)

  def lengths(self, epoch: int) -> np.ndarray:
    windows = self._dataset.index["run_windows"][self._runs]
    return windows.astype(np.int64) * self._window

  def cut_at(self, context: int) -> int:
    if context < self._window:
      raise ValueError(
        f"context={context} is too small: one window of"
        f" {self._dataset.window} frames takes {self._window} tokens; enlarge"
        " the context, or prepare the songs with shorter windows"
      )
    return context // self._window * self._window

  def read(
    self, epoch: int, document: int, *, start: int, length: int
  ) -> list[Part]:
    dataset, row = self._dataset, self._runs[document]
    track = TRACKS[dataset.index["run_track"][row]]
    record = dataset.index["run_record"][row]
    run = decode_windows_record(dataset.windows[int(record)])
    first, last = start // self._window, (start + length) // self._window
    built = [
      documents.window_document(
        codes, dataset.vocab, stream=TRACK_STREAMS[track]
      )
      for codes in run[first:last]
    ]
    return [Part(document, 0, len(document)) for document in built]
