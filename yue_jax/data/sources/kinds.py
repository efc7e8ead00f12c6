"""Kinds of documents, and which songs of a data set have one of each."""

import numpy as np

from yue_jax.data.dataset import Dataset
from yue_jax.data.layout import NO_RECORD
from yue_jax.data.records import TRACKS
from yue_jax.references import MODE_TRACKS, MODES

REFERENCE_MODES = {
  "icl": MODES,
  "icl_dual": ("dual",),
  "icl_mixture": ("mixture",),
  "icl_vocal": ("vocal",),
  "icl_inst": ("backing",),
}
_DUAL = MODE_TRACKS["dual"]
KIND_TRACKS = {  # whose sound is in a document
  "plain": _DUAL,
  "cot": _DUAL,
  "cot_mixture": ("mixture",),
  "prefix": _DUAL,
  **dict.fromkeys(REFERENCE_MODES, _DUAL),  # besides the clip
  "tags_mixture": ("mixture",),
  "tags_dual": _DUAL,
  "mixture": ("mixture",),
  "vocal": ("vocal",),
  "backing": ("backing",),
  "dual": _DUAL,
  "speech": ("mixture",),
}
KINDS = (*KIND_TRACKS, "window")
# Of songs with lyrics; all but prefix go section by section.
LYRICS_KINDS = ("plain", "cot", "cot_mixture", "prefix", *REFERENCE_MODES)
SECTION_KINDS = tuple(kind for kind in LYRICS_KINDS if kind != "prefix")
_CONTENT = dict.fromkeys(LYRICS_KINDS, "songs") | {"speech": "speech"}


def eligible(dataset: Dataset, kind: str) -> np.ndarray:
  """Which rows of the song table have documents of a kind, (songs,) bool.

  ValueError for a kind that there is not.
  """
  if kind not in KINDS:
    raise ValueError(f"no documents of kind {kind!r}; there are {KINDS}")
  index = dataset.index
  if kind == "window":
    mask = np.zeros(len(index["record"]), bool)
    mask[index["run_song"]] = True
    return mask
  needed = sum(1 << TRACKS.index(track) for track in _needed_tracks(kind))
  mask = (index["tracks"] & needed) == needed
  mask &= index["record"] != NO_RECORD
  if _CONTENT.get(kind, dataset.info["content"]) != dataset.info["content"]:
    mask[:] = False
  if kind in LYRICS_KINDS:
    mask &= index["section_count"] > 0
  if kind.startswith("tags_"):
    mask &= index["tags"] > 0
  return mask


def _needed_tracks(kind: str) -> set[str]:
  modes = REFERENCE_MODES.get(kind, ())
  heard = {track for mode in modes for track in MODE_TRACKS[mode]}
  return heard | set(KIND_TRACKS[kind])
