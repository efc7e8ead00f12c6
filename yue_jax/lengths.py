"""Lengths of documents, from counts alone: no ids, no codes.

Counts are arrays of any one shape, or numbers: ids of texts, frames of sound,
sections. `documents` says what a document of each kind holds; a section of it
is as long as the difference that one more section makes.
"""

import numpy as np

from yue_jax.encoding import Phrases

Counts = np.ndarray | int
_AROUND_AUDIO = 3  # <SOA> <xcodec> ... <EOA>


def plain(*, plain_text: Counts, frames: Counts, sections: Counts) -> Counts:
  """Lengths of `documents.plain`; texts and frames are those of all sections.

  Example: a text of 2 ids, 2 frames in 1 section: 2 + 2 * 2 + 3 + 1 = 10.
  """
  return plain_text + 2 * frames + _AROUND_AUDIO * sections + 1


def cot(
  *,
  head: Counts,
  text: Counts,
  frames: Counts,
  sections: Counts,
  phrases: Phrases,
  tracks: int = 2,
) -> Counts:
  """Lengths of `documents.cot`, likewise."""
  around = len(phrases.segment_start) + _AROUND_AUDIO
  around += len(phrases.segment_end)
  return head + text + tracks * frames + around * sections + 1


def reference(frames: Counts, *, tracks: Counts, phrases: Phrases) -> Counts:
  """What a clip of so many frames and tracks adds to `cot`."""
  around = len(phrases.reference_start) + _AROUND_AUDIO
  around += len(phrases.reference_end)
  return frames * tracks + around


def prefix(*, head: Counts, span: Counts) -> Counts:
  """Lengths of `documents.prefix`; `span` is all that sounds."""
  return head + 2 * span + _AROUND_AUDIO + 1


def tagged(*, tags: Counts, frames: Counts, tracks: int, phrase: int) -> Counts:
  """Lengths of `documents.tagged`, of a phrase of so many ids."""
  return phrase + tags + tracks * frames + _AROUND_AUDIO + 1


def unconditional(*, frames: Counts, tracks: int) -> Counts:
  """Lengths of `documents.unconditional`."""
  return tracks * frames + _AROUND_AUDIO + 1


def speech(*, text: Counts, frames: Counts) -> Counts:
  """Lengths of `documents.speech`; `text` is what is said, as it is said."""
  return text + frames + _AROUND_AUDIO


def window(frames: int, *, codebooks: int = 8) -> int:
  """Length of `window_document`: 2,704 for 300 frames of eight codebooks."""
  return 4 + frames * (1 + codebooks)
