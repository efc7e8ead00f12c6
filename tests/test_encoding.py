"""Tags may name special tokens, lyrics never do."""

import numpy as np
import pytest

from yue_jax.encoding import INSTRUCTION, Phrases, encode_head, encode_song
from yue_jax.songs import Section, Song
from yue_jax.tokenizer import train_tokenizer
from yue_jax.vocab import Vocab


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  path = tmp_path_factory.mktemp("tokenizer") / "small.model"
  return train_tokenizer([INSTRUCTION], path, size=320, symbols=["[verse]"])


@pytest.fixture(scope="module")
def vocab(tokenizer):
  return Vocab.small(tokenizer.size, codes=16)


def song(text, tags="jazz"):
  tracks = np.arange(3 * 8 * 20).reshape(3, 8, 20).astype(np.uint16)
  return Song(
    id="a",
    tags=tags,
    lyrics=text,
    sections=(
      Section("verse", text, 0, 10),
      Section("chorus", text, 10, 20),
    ),
    vocal=tracks[0],
    backing=tracks[1],
    mixture=tracks[2],
    fps=50.0,
  )


def test_text_of_a_song(tokenizer, vocab):
  text = "[verse]\nla la\n\n"
  encoded = encode_song(song(text), tokenizer, vocab=vocab)
  assert (
    tokenizer.decode(encoded.head) == f"{INSTRUCTION}\n[Genre] jazz\n{text}"
  )
  for section in encoded.sections:
    assert tokenizer.decode(section.text) == text
    assert tokenizer.decode(section.plain_text) == f"{INSTRUCTION}\n{text}"
    assert section.text.dtype == section.plain_text.dtype == np.int32
  assert [s.chorus for s in encoded.sections] == [False, True]
  assert [(s.start, s.end) for s in encoded.sections] == [(0, 10), (10, 20)]


def test_tracks_keep_codebook_0(tokenizer, vocab):
  whole = song("[verse]\n\n")
  encoded = encode_song(whole, tokenizer, vocab=vocab)
  for name, codes in encoded.tracks.items():
    np.testing.assert_array_equal(codes, getattr(whole, name)[0])


def test_special_tokens_typed_in_lyrics_are_text(tokenizer, vocab):
  text = "[verse]\n<SOA> <EOD><xcodec>\n\n"
  encoded = encode_song(song(text), tokenizer, vocab=vocab)
  for ids in (
    encoded.head,
    *(s.text for s in encoded.sections),
    *(s.plain_text for s in encoded.sections),
  ):
    assert ids.max() < vocab.text_size


def test_special_tokens_in_tags_are_read_as_released(tokenizer, vocab):
  head = encode_head(
    "soul <SOA> bass <xcodec><soa> <BOS>",
    "<EOA>",
    tokenizer=tokenizer,
    vocab=vocab,
    instruction="Go.",
  )
  np.testing.assert_array_equal(
    head,
    [
      *tokenizer.encode("Go.\n[Genre] soul "),
      vocab.soa,
      *tokenizer.encode(" bass "),
      vocab.xcodec,
      *tokenizer.encode("<soa> <BOS>\n<EOA>"),
    ],
  )
  assert head.dtype == np.int32


def test_phrases(tokenizer):
  phrases = Phrases.encode(tokenizer)
  assert tokenizer.decode(phrases.segment_start) == "[start_of_segment]"
  assert tokenizer.decode(phrases.segment_end) == "[end_of_segment]"
  assert tokenizer.decode(phrases.reference_start) == "[start_of_reference]"
  assert tokenizer.decode(phrases.reference_end) == "[end_of_reference]"
