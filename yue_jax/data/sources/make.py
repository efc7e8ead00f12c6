"""Sources: the documents of a prepared data set, one kind at a time.

plain, cot, cot_mixture, prefix       one document per song, the same in
mixture, vocal, backing, dual         every epoch
tags_mixture, tags_dual               likewise, the order of tags drawn
icl_dual, icl_mixture, ...            one per song, its clip drawn
icl                                   likewise, and the mode of the clip
speech                                one per recording, instruction drawn
window                                one per run of windows, each window
                                      on its own
"""

import pathlib

import numpy as np

from yue_jax.data.dataset import Dataset, expect_vocab, open_dataset
from yue_jax.data.sources import song_kinds
from yue_jax.data.sources.kinds import (
  KINDS,
  REFERENCE_MODES,
  SECTION_KINDS,
  eligible,
)
from yue_jax.data.sources.source import Source
from yue_jax.data.sources.windows import WindowSource
from yue_jax.vocab import Vocab

_SOURCES = {
  "plain": song_kinds.Plain,
  "cot": song_kinds.Cot,
  "cot_mixture": song_kinds.Cot,
  "prefix": song_kinds.Prefix,
  **dict.fromkeys(REFERENCE_MODES, song_kinds.Icl),
  "tags_mixture": song_kinds.Tagged,
  "tags_dual": song_kinds.Tagged,
  **dict.fromkeys(
    ("mixture", "vocal", "backing", "dual"), song_kinds.Unconditional
  ),
  "speech": song_kinds.Speech,
}


def make_source(
  dataset: Dataset,
  kind: str,
  *,
  seed: int,
  members: np.ndarray | None = None,
  longest: int | None = None,
) -> Source:
  """The documents of one kind.

  Args:
    dataset: where they come from.
    kind: one of `KINDS`.
    seed: of clips, the order of tags, and instructions of speech.
    members: rows of the song table whose documents are meant, ascending and
      all of them eligible; None for all that are.
    longest: None leaves songs whole, to be cut where a context ends. A number
      of tokens makes several documents of a song with more: of as many whole
      sections as fit, each after the head (and the clip), with EOD at the end
      of the last. Only of `SECTION_KINDS`.

  Raises ValueError for any other kind, members or `longest`.
  """
  mask = eligible(dataset, kind)
  if members is None:
    members = np.flatnonzero(mask)
  _expect_members(dataset, kind, mask, members)
  if longest is not None and kind not in SECTION_KINDS:
    raise ValueError(
      f"longest={longest}: documents of kind {kind!r} cannot be divided by"
      f" section, only those of {SECTION_KINDS}"
    )
  if longest is not None and longest < 1:
    raise ValueError(f"longest={longest}, expected 1 or more")
  if kind == "window":
    return WindowSource(dataset, members=members)
  return _SOURCES[kind](
    dataset, kind, seed=seed, members=members, longest=longest
  )


def open_source(
  directory: str | pathlib.Path, kind: str, *, seed: int, vocab: Vocab
) -> Source:
  """The documents of one kind of a prepared data set, all of them.

  Raises ValueError when its ids are not those of `vocab`, or when it has no
  such document.
  """
  dataset = open_dataset(directory)
  expect_vocab(dataset, vocab)
  source = make_source(dataset, kind, seed=seed)
  if not len(source):
    counts = {k: int(eligible(dataset, k).sum()) for k in KINDS}
    raise ValueError(
      f"{dataset.directory} has no documents of kind {kind!r}. It was prepared"
      f" as {dataset.info['content']!r}; songs by kind:"
      f" { {k: n for k, n in counts.items() if n} }; left out:"
      f" {dataset.info['left_out']}"
    )
  return source


def _expect_members(
  dataset: Dataset, kind: str, mask: np.ndarray, members: np.ndarray
) -> None:
  if not len(members):
    return
  members = np.asarray(members)
  ascending = members.dtype.kind in "iu" and np.all(members[1:] > members[:-1])
  if not ascending or members[0] < 0 or members[-1] >= len(mask):
    raise ValueError(
      f"members: expected ascending numbers below {len(mask)}, the songs of"
      f" {dataset.directory}"
    )
  missing = members[~mask[members]]
  if len(missing):
    raise ValueError(
      f"{len(missing)} of {len(members)} members have no document of kind"
      f" {kind!r}, the first is song {missing[0]} of {dataset.directory}; keep"
      " those that are eligible"
    )
