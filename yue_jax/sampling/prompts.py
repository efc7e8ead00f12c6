"""Prompts: what a song is generated from, as ids.

  lyrics file   [verse]            section texts  "[verse]\\nbatoki meda\\n\\n"
                batoki meda                       "[chorus]\\nsuno\\n\\n"
                [chorus]
                suno

The texts are those that training documents hold (`encoding`), so that a model
reads here what it was trained to read.
"""

from collections.abc import Sequence
import dataclasses
import difflib
import re

import numpy as np

from yue_jax import codec
from yue_jax.encoding import encode_head
from yue_jax.sheets.labelled import under_labels
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import Vocab

# Of the sections that the released models were trained on.
LABELS = ("intro", "verse", "chorus", "bridge", "outro")


@dataclasses.dataclass(frozen=True, eq=False)
class Prompt:
  """Everything the sound of a song follows; all ids are (n,) int32.

  Attributes:
    head: instruction, tags and the lyrics of the whole song.
    sections: text of every section, in the order they are sung.
    reference: codec ids of a clip the song shall resemble; empty for none.
  """

  head: np.ndarray
  sections: tuple[np.ndarray, ...]
  reference: np.ndarray

  def __post_init__(self):
    if not self.sections:
      raise ValueError("a song needs at least one section")


def encode_prompt(
  tags: str,
  sections: Sequence[str],
  *,
  tokenizer: Tokenizer,
  vocab: Vocab,
  reference: np.ndarray | None = None,
) -> Prompt:
  """The prompt of a song.

  Args:
    tags: genre, instruments, mood, voice, as one line.
    sections: texts as `split_lyrics` gives them.
    reference: from `dual_reference` or `single_reference`.
  """
  if not tags.strip():
    raise ValueError("the tags are empty; expected words such as 'pop female'")
  none = np.zeros(0, np.int32)
  return Prompt(
    head=encode_head(
      tags.strip(), "\n".join(sections), tokenizer=tokenizer, vocab=vocab
    ),
    sections=tuple(
      np.array(tokenizer.encode(text), np.int32) for text in sections
    ),
    reference=none if reference is None else reference,
  )


def split_lyrics(text: str) -> tuple[str, ...]:
  """Texts of the sections of a lyrics file, each "[label]\\nlyrics\\n\\n".

  A line that begins with [label] begins a section; a label may hold spaces
  and hyphens, and a section without words is instrumental.

  Raises:
    ValueError: there is no section, lyrics come before the first label, or a
      label is empty.
  """
  return tuple(
    f"[{label}]\n{_stripped(lines)}\n\n"
    for label, lines in under_labels(text.lstrip("\ufeff"))
  )


def is_instrumental(sections: Sequence[str]) -> bool:
  """Whether texts of `split_lyrics` hold labels and no words."""
  return not any(text.partition("]")[2].strip() for text in sections)


def unseen_labels(sections: Sequence[str]) -> dict[str, str | None]:
  """Labels that are not among LABELS, each with the nearest that is.

  A label is words to the model: it reads any, but was trained on these.
  Example: "[verse 1]\\n...", "[pre-chorus]\\n...", "[solo]\\n..." ->
  {"verse 1": "verse", "pre-chorus": "chorus", "solo": None}.
  """
  labels = [text[1 : text.index("]")] for text in sections]
  unseen = dict.fromkeys(label for label in labels if label not in LABELS)
  return {label: _nearest(label) for label in unseen}


def _nearest(label: str) -> str | None:
  for word in re.findall(r"\w+", label.lower()):
    if close := difflib.get_close_matches(word, LABELS, n=1, cutoff=0.75):
      return close[0]
  return None


def single_reference(codes: np.ndarray, vocab: Vocab) -> np.ndarray:
  """Ids of a clip of one track: (codebooks, frames) -> (frames,)."""
  _check_clip(codes)
  codec.check_codes(codes, vocab)  # all of them: codes of another codec differ
  return codec.frames_to_ids(codes[:1], vocab)[0]


def dual_reference(
  vocal: np.ndarray, backing: np.ndarray, vocab: Vocab
) -> np.ndarray:
  """Ids of a clip of both tracks, in turn: (2 x frames,)."""
  if vocal.shape[-1:] != backing.shape[-1:]:
    raise ValueError(
      f"the reference tracks have shapes {vocal.shape} and {backing.shape};"
      " trim both to the same frames"
    )
  return codec.interleave(
    single_reference(vocal, vocab), single_reference(backing, vocab)
  )


def _stripped(lines: Sequence[str]) -> str:
  return "\n".join(line.rstrip() for line in lines).strip()


def _check_clip(codes: np.ndarray) -> None:
  if codes.ndim != 2 or not codes.size:
    raise ValueError(
      f"reference codes of shape {codes.shape}, expected (codebooks, frames)"
      " with at least one frame"
    )
