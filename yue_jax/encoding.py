"""Encoding: a song's text as ids, ready for any kind of document.

What is encoded in one call and what in several decides the ids, since a
tokenizer joins neighbours; the pieces here are those of the released code.
"""

import dataclasses
import re
from typing import NamedTuple, Self

import numpy as np

from yue_jax.recordings import Recording
from yue_jax.songs import TRACK_KEYS, Section, Song
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import SPECIALS, Vocab

INSTRUCTION = "Generate music from the given lyrics segment by segment."
# Of documents without lyrics, as the paper gives them; none were released.
TAGS_SINGLE = "Generate music based on the given tags\n[genre]"
TAGS_DUAL = (
  "Generate music in dual-track format based on the given tags\n[genre]"
)
SPEECH = "Generate speech:"


@dataclasses.dataclass(frozen=True)
class Phrases:
  """Ids of the phrases around sections and a reference clip, and before tags.

  The ids of tags follow directly on `tags_single` or `tags_dual`.
  """

  segment_start: tuple[int, ...]
  segment_end: tuple[int, ...]
  reference_start: tuple[int, ...]
  reference_end: tuple[int, ...]
  tags_single: tuple[int, ...]
  tags_dual: tuple[int, ...]

  @classmethod
  def encode(cls, tokenizer: Tokenizer) -> Self:
    return cls(
      segment_start=tuple(tokenizer.encode("[start_of_segment]")),
      segment_end=tuple(tokenizer.encode("[end_of_segment]")),
      reference_start=tuple(tokenizer.encode("[start_of_reference]")),
      reference_end=tuple(tokenizer.encode("[end_of_reference]")),
      tags_single=tuple(tokenizer.encode(TAGS_SINGLE)),
      tags_dual=tuple(tokenizer.encode(TAGS_DUAL)),
    )


# Of YuE's own tokenizer, to tell the parts of documents that come as ids.
RELEASED_PHRASES = Phrases(
  segment_start=(518, 2962, 29918, 974, 29918, 28192, 29962),
  segment_end=(518, 355, 29918, 974, 29918, 28192, 29962),
  reference_start=(518, 2962, 29918, 974, 29918, 5679, 29962),
  reference_end=(518, 355, 29918, 974, 29918, 5679, 29962),
  tags_single=(
    3251, 403, 4696, 2729, 373, 278, 2183, 8282, 13, 29961, 1885, 276, 29962,
  ),
  tags_dual=(
    3251, 403, 4696, 297, 14581, 29899, 11294, 3402, 2729, 373, 278, 2183,
    8282, 13, 29961, 1885, 276, 29962,
  ),
)  # fmt: skip


class EncodedSection(NamedTuple):
  """Ids of a section's text, and its frames (half-open).

  `plain_text` has the instruction before it, encoded in one piece: a
  tokenizer may join what two calls would keep apart.
  """

  text: np.ndarray  # int32
  plain_text: np.ndarray  # int32
  start: int
  end: int
  chorus: bool


class EncodedSong(NamedTuple):
  """What documents are built from; tracks hold codebook 0, (T,) uint16."""

  id: str
  head: np.ndarray  # int32; empty without lyrics
  tags: tuple[np.ndarray, ...]  # int32, in the order of the manifest
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
    tags=encode_tags(song.tags, tokenizer),
    sections=tuple(
      _encode_section(section, tokenizer, instruction)
      for section in song.sections
    ),
    tracks={name: getattr(song, name)[0] for name in TRACK_KEYS},
  )


def encode_recording(recording: Recording, tokenizer: Tokenizer) -> EncodedSong:
  """Encodes what there is without lyrics: tags, or what is said.

  Speech has one section over all frames. Its text is the transcript, its
  plain text "Generate speech: {transcript}".
  """
  tracks = {name: codes[0] for name, codes in recording.tracks.items()}
  sections = ()
  if recording.transcript:
    said = recording.transcript
    section = EncodedSection(
      text=np.array(tokenizer.encode(said), np.int32),
      plain_text=np.array(tokenizer.encode(f"{SPEECH} {said}"), np.int32),
      start=0,
      end=recording.frames,
      chorus=False,
    )
    sections = (section,)
  return EncodedSong(
    id=recording.id,
    head=np.zeros(0, np.int32),
    tags=encode_tags(recording.tags, tokenizer),
    sections=sections,
    tracks=tracks,
  )


def encode_tags(tags: str, tokenizer: Tokenizer) -> tuple[np.ndarray, ...]:
  """Ids of every tag, int32, as they are after "[genre]" and a space.

  Tags are divided by commas if there are any, else by white space. Since no
  piece of a tokenizer crosses white space, the ids of tags in any order are
  those of their text: "[genre] pop, hip hop" is "[genre]", " pop", " hip hop"
  without the comma. Special tokens named in tags are text here.
  """
  names = tags.split(",") if "," in tags else tags.split()
  before = tokenizer.encode(_BEFORE_TAG)
  encoded = []
  for name in filter(None, (" ".join(name.split()) for name in names)):
    ids = tokenizer.encode(f"{_BEFORE_TAG} {name}")
    if ids[: len(before)] != before:
      raise ValueError(
        f"the tokenizer has a piece across the space in '{_BEFORE_TAG} {name}',"
        " so tags have no ids of their own; train it with split_by_whitespace"
      )
    encoded.append(np.array(ids[len(before) :], np.int32))
  return tuple(encoded)


_BEFORE_TAG = "[genre]"


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
