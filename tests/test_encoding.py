"""Tags may name special tokens, lyrics never do."""

import numpy as np
import pytest

from yue_jax.encoding import (
  INSTRUCTION,
  TAGS_DUAL,
  TAGS_SINGLE,
  Phrases,
  encode_head,
  encode_song,
  encode_tags,
)
from yue_jax.songs import Section, Song
from yue_jax.tokenizer import Tokenizer, train_tokenizer
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
  assert tokenizer.decode(phrases.tags_single) == TAGS_SINGLE
  assert tokenizer.decode(phrases.tags_dual) == TAGS_DUAL


def test_tags_are_divided_by_commas_or_spaces(tokenizer):
  def names(tags):
    return [tokenizer.decode(tag) for tag in encode_tags(tags, tokenizer)]

  assert names("pop  female\n") == [" pop", " female"]
  assert names("pop, hip  hop ,,") == [" pop", " hip hop"]
  assert names("") == names(" , ") == []


@pytest.mark.parametrize("phrase", [TAGS_SINGLE, TAGS_DUAL])
def test_tags_are_those_of_the_joint_text(tokenizer, phrase):
  expect_joint_encoding(tokenizer, phrase)


@pytest.mark.parametrize("phrase", [TAGS_SINGLE, TAGS_DUAL])
def test_tags_in_the_released_tokenizer(reference, phrase):
  expect_joint_encoding(Tokenizer(reference / "tokenizer.model"), phrase)


def expect_joint_encoding(tokenizer, phrase):
  tags = encode_tags("女声, hip hop, airy vocal, R&B, <SOA>, é", tokenizer)
  joint = tokenizer.encode(f"{phrase} é 女声 hip hop airy vocal R&B <SOA>")
  alone = [tags[i] for i in (5, 0, 1, 2, 3, 4)]
  ids = [*tokenizer.encode(phrase), *np.concatenate(alone).tolist()]
  assert ids == joint
  assert all(tag.dtype == np.int32 for tag in tags)


def test_special_tokens_in_tags_of_tag_documents_are_text(tokenizer, vocab):
  [tag] = encode_tags("<SOA>", tokenizer)
  assert tag.max() < vocab.text_size
