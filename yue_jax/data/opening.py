"""Opening what a run reads: prepared data sets and Megatron's, alike.

Every path is opened once. What is opened knows the hashes of its songs, by
which they are chosen, and makes sources of documents from those chosen.
"""

import dataclasses
import pathlib
from typing import Protocol

import numpy as np

from yue_jax.data.dataset import Dataset, expect_vocab, open_dataset
from yue_jax.data.megatron.files import MegatronDocuments
from yue_jax.data.megatron.source import (
  KINDS as MEGATRON_KINDS,
)
from yue_jax.data.megatron.source import (
  make_megatron_source,
  megatron_ids,
)
from yue_jax.data.selection import SongHashes
from yue_jax.data.sources.kinds import eligible
from yue_jax.data.sources.make import make_source
from yue_jax.data.sources.source import Source
from yue_jax.vocab import Vocab


class Collection(Protocol):
  """Songs that documents are made of, numbered from 0.

  Attributes:
    fingerprint: of all of it.
    tokenizer: fingerprint of the tokenizer of its text; None if not known.
    window: frames of its windows; None if not known.
    languages: names, of which `language` (songs,) holds the numbers.
  """

  fingerprint: str
  tokenizer: str | None
  window: int | None
  languages: tuple[str, ...]
  language: np.ndarray

  @property
  def hashes(self) -> SongHashes:
    """By which songs are chosen."""

  def eligible(self, kind: str) -> np.ndarray:
    """Songs that have documents of a kind, (songs,) bool."""

  def source(
    self, kind: str, *, members: np.ndarray, seed: int, longest: int | None
  ) -> Source:
    """Documents of a kind of some songs, see `sources.make`."""


def open_collection(path: str, vocab: Vocab) -> Collection:
  """Opens a prepared data set, or the Megatron pair with this prefix."""
  if pathlib.Path(f"{path}.idx").is_file():
    return _MegatronPair(path, vocab)
  dataset = open_dataset(path)
  expect_vocab(dataset, vocab)
  return _Prepared(dataset)


@dataclasses.dataclass(frozen=True, eq=False)
class _Prepared:
  dataset: Dataset

  @property
  def fingerprint(self) -> str:
    return self.dataset.info["fingerprint"]

  @property
  def tokenizer(self) -> str:
    return self.dataset.info["tokenizer_fingerprint"]

  @property
  def window(self) -> int:
    return self.dataset.window

  @property
  def languages(self) -> tuple[str, ...]:
    return self.dataset.languages

  @property
  def language(self) -> np.ndarray:
    return self.dataset.index["language"]

  @property
  def hashes(self) -> SongHashes:
    index = self.dataset.index
    return SongHashes(
      index["id_hash"],
      index["group"],
      tuple(index[f"codes_{t}"] for t in ("vocal", "backing", "mixture")),
    )

  def eligible(self, kind: str) -> np.ndarray:
    return eligible(self.dataset, kind)

  def source(self, kind, *, members, seed, longest) -> Source:
    return make_source(
      self.dataset, kind, members=members, seed=seed, longest=longest
    )


class _MegatronPair:
  """Documents in place of songs; an empty one is none."""

  tokenizer = None
  window = None
  languages = ("",)

  def __init__(self, prefix: str, vocab: Vocab):
    self._prefix, self._vocab = prefix, vocab
    self._documents = MegatronDocuments(prefix)
    self.fingerprint = self._documents.fingerprint
    self.language = np.zeros(len(self._documents), np.uint8)

  @property
  def hashes(self) -> SongHashes:
    ids = megatron_ids(self._documents)
    return SongHashes(ids, ids)

  def eligible(self, kind: str) -> np.ndarray:
    if kind not in MEGATRON_KINDS:
      raise ValueError(
        f"{self._prefix} is a Megatron data set, which has no documents of"
        f" kind {kind!r}; there are {MEGATRON_KINDS}"
      )
    return self._documents.lengths > 0

  def source(self, kind, *, members, seed, longest) -> Source:
    del seed  # nothing is drawn
    if longest is not None:
      raise ValueError(
        f"{self._prefix} does not record sections, so overlong='sections'"
        " cannot be met; set it to 'cut'"
      )
    return make_megatron_source(
      self._documents, kind, vocab=self._vocab, members=members
    )
