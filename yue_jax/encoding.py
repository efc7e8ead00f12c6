"""Encoding: a song's text as ids, ready for any kind of document.

What is encoded in one call and what in several decides the ids, since a
tokenizer joins neighbours; the pieces here are those of the released code.
"""

import dataclasses
import re
from typing import Self

import numpy as np

from yue_jax.songs import TRACK_KEYS, Section, Song
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import SPECIALS, Vocab

INSTRUCTION = "Generate music from the given lyrics segment by segment."


@dataclasses.dataclass(frozen=True)
class Phrases:
  """Ids of the phrases around sections and around a reference clip."""

  segment_start: tuple[int, ...]
  segment_end: tuple[int, ...]
  reference_start: tuple[int, ...]
  reference_end: tuple[int, ...]

  @classmethod
  def encode(cls, tokenizer: Tokenizer) -> Self:
    return cls(
      segment_start=tuple(tokenizer.encode("[start_of_segment]")),
      segment_end=tuple(tokenizer.encode("[end_of_segment]")),
      reference_start=tuple(tokenizer.encode("[start_of_reference]")),
      reference_end=tuple(tokenizer.encode("[end_of_reference]")),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedSection:
  """Ids of a section's text, and its frames (half-open).

  `plain_text` has the instruction before it, encoded in one piece: a
  tokenizer may join what two calls would keep apart.
  """

  text: np.ndarray  # int32
  plain_text: np.ndarray  # int32
  start: int
  end: int
  chorus: bool


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedSong:
  """What documents are built from; tracks hold codebook 0, (T,) uint16."""

  id: str
  head: np.ndarray  # int32
  sections: tuple[EncodedSection, ...]
  tracks: dict[str, np.ndarray]  # "vocal", "backing", "mixture"


def encode_song(
  song: Song,
  tokenizer: Tokenizer,
  *,
  vocab: Vocab,
  instruction: str = INSTRUCTION,
) -> EncodedSong:
  """Encodes a song's text and keeps codebook 0 of its tracks."""
  return EncodedSong(
    id=song.id,
    head=encode_head(
      song.tags,
      song.lyrics,
      tokenizer=tokenizer,
      vocab=vocab,
      instruction=instruction,
    ),
    sections=tuple(
      _encode_section(section, tokenizer, instruction)
      for section in song.sections
    ),
    tracks={name: getattr(song, name)[0] for name in TRACK_KEYS},
  )


def encode_head(
  tags: str,
  lyrics: str,
  *,
  tokenizer: Tokenizer,
  vocab: Vocab,
  instruction: str = INSTRUCTION,
) -> np.ndarray:
  """Ids of "{instruction}\\n[Genre] {tags}\\n{lyrics}", int32.

  Tags are metadata written by the owner of the data, and the released code
  reads special tokens in them, as in "soul <SOA> bass": text, 32001, text.
  Lyrics are text whatever they say.
  """
  # re.split with a group: even pieces are text, odd ones names of specials.
  pieces = re.split(f"<({'|'.join(SPECIALS)})>", tags)
  pieces[0] = f"{instruction}\n[Genre] {pieces[0]}"
  pieces[-1] = f"{pieces[-1]}\n{lyrics}"
  ids = []
  for number, piece in enumerate(pieces):
    if number % 2:
      ids.append(vocab.special(piece))
    else:
      ids.extend(tokenizer.encode(piece))
  return np.array(ids, np.int32)


def _encode_section(
  section: Section, tokenizer: Tokenizer, instruction: str
) -> EncodedSection:
  plain_text = f"{instruction}\n{section.text}"
  return EncodedSection(
    text=np.array(tokenizer.encode(section.text), np.int32),
    plain_text=np.array(tokenizer.encode(plain_text), np.int32),
    start=section.start,
    end=section.end,
    chorus=section.label == "chorus",
  )
