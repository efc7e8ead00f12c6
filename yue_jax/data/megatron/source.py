"""Megatron data sets as sources of documents.

The files hold ids and nothing else. What sounds in them is said by the kind,
streams are found from the ids. The order in which documents are read is ours;
what they hold is theirs.
"""

import hashlib
import pathlib

import numpy as np

from yue_jax.data.megatron.files import MegatronDocuments
from yue_jax.data.megatron.meaning import description_path, read_meaning
from yue_jax.data.sources.source import Part, cuts
from yue_jax.encoding import Phrases
from yue_jax.references import counter_hash
from yue_jax.streams import AUDIO, annotate
from yue_jax.vocab import Vocab

SOUNDS = {f"megatron_{audio}": audio for audio in AUDIO}
KINDS = tuple(SOUNDS)
_PROBES = 16  # documents that are read when a source is made


class MegatronSource:
  """Documents of one kind; see `sources.source`. Threads may share it."""

  varies = False
  unit = 1
  joined = False

  def __init__(
    self,
    documents: MegatronDocuments,
    kind: str,
    *,
    vocab: Vocab,
    phrases: Phrases,
    members: np.ndarray,
  ):
    """`members` are numbers of documents that are not empty."""
    self.eod = vocab.eod
    self._documents, self._members = documents, members
    self._vocab, self._phrases, self._sound = vocab, phrases, SOUNDS[kind]
    self._lengths = documents.lengths[members].astype(np.int32)
    which = (documents.fingerprint, kind, vocab.fingerprint(), phrases)
    digest = hashlib.sha256(repr(which).encode())
    digest.update(members.astype("<i8").tobytes())
    self.fingerprint = digest.hexdigest()[:16]

  def __len__(self) -> int:
    return len(self._members)

  def lengths(self, epoch: int) -> np.ndarray:
    """Tokens of each document, the same in every epoch."""
    del epoch
    return self._lengths

  def read(
    self, epoch: int, document: int, *, start: int, length: int
  ) -> list[Part]:
    """One piece of a document; ValueError for ids that have no place in it."""
    del epoch
    number = int(self._members[document])
    ids = self._documents[number]
    try:
      streams = annotate(
        ids, vocab=self._vocab, phrases=self._phrases, audio=self._sound
      )
    except ValueError as error:
      raise ValueError(
        f"{self._documents.prefix}, document {number}, {error}"
      ) from error
    here = slice(start, start + length + 1)
    return [Part(ids[here].astype(np.int32), streams[here], start, length)]

  def overlong(self, epoch: int, context: int) -> tuple[int, int]:
    del epoch  # the same in all
    times = cuts(self._lengths, context)
    return np.count_nonzero(times), int(times.sum(dtype=np.int64))


def make_megatron_source(
  data: MegatronDocuments | str | pathlib.Path,
  kind: str,
  *,
  vocab: Vocab,
  members: np.ndarray | None = None,
) -> MegatronSource:
  """The documents of PREFIX.bin and PREFIX.idx, some of which are read.

  Args:
    data: the documents, or the prefix of their files.
    kind: one of `KINDS`; "megatron_dual" for the released CoT, ICL and plain
      documents, "megatron_window" for those of the second stage.
    vocab: that of the model; must be that of the ids.
    members: numbers of documents to use, ascending; None for all. Empty
      documents are left out in any case: there is nothing in them.

  Raises ValueError when one of these does not fit the data set, or one of the
  documents that are tried does not fit the kind.
  """
  if kind not in SOUNDS:
    raise ValueError(f"no documents of kind {kind!r}; there are {KINDS}")
  documents = _open(data)
  prefix = documents.prefix
  known, phrases = read_meaning(prefix)
  if known.fingerprint() != vocab.fingerprint():
    origin = description_path(prefix)
    raise ValueError(
      f"the vocabulary of the model, {vocab.fingerprint()} ({vocab.size} ids),"
      f" is not that of {prefix}, {known.fingerprint()} ({known.size} ids), "
      + (f"as {origin} says" if origin.exists() else "taken for the released")
    )
  everyone = np.arange(len(documents))
  chosen = everyone if members is None else np.asarray(members, np.int64)
  if len(chosen) and not (
    chosen[0] >= 0
    and chosen[-1] < len(documents)
    and (chosen[1:] > chosen[:-1]).all()
  ):
    raise ValueError(
      f"members span {chosen.min()}..{chosen.max()}, expected ascending numbers"
      f" of the {len(documents)} documents of {prefix}"
    )
  source = MegatronSource(
    documents,
    kind,
    vocab=vocab,
    phrases=phrases,
    members=chosen[documents.lengths[chosen] > 0],
  )
  if len(source):
    for number in np.linspace(0, len(source) - 1, _PROBES, dtype=int):
      source.read(0, number, start=0, length=0)
  return source


def megatron_ids(data: MegatronDocuments | str | pathlib.Path) -> np.ndarray:
  """A hash of the number of every document, (documents,) uint64.

  It does not depend on the data set, so that what is held out of the CoT
  documents of a manifest is held out of its ICL documents, too.
  """
  count = len(_open(data))
  return counter_hash(np.arange(count), purpose="megatron document")


def _open(data: MegatronDocuments | str | pathlib.Path) -> MegatronDocuments:
  return (
    data if isinstance(data, MegatronDocuments) else MegatronDocuments(data)
  )
