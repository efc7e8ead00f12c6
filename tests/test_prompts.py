"""Prompts: lyrics and tags as ids, as training documents have them."""

import numpy as np
import pytest

from tests import tiny
from yue_jax.encoding import encode_song
from yue_jax.sampling import prompts
from yue_jax.songs import Section, Song
from yue_jax.tokenizer import train_tokenizer
from yue_jax.vocab import Vocab

VOCAB = tiny.VOCAB

LYRICS = """
[verse 1]
batoki meda
 suno

[pre-chorus] meda
[outro]
"""


def test_lyrics_are_split_at_labels():
  assert prompts.split_lyrics(LYRICS) == (
    "[verse 1]\nbatoki meda\n suno\n\n",
    "[pre-chorus]\nmeda\n\n",
    "[outro]\n\n\n",
  )


def test_brackets_inside_a_line_are_lyrics():
  text = "[verse]\nsing [softly] on\n"
  assert prompts.split_lyrics(text) == ("[verse]\nsing [softly] on\n\n",)


def test_released_example_is_read_whole(reference):
  sections = prompts.split_lyrics((reference / "lyrics.txt").read_text())
  labels = [text.split("\n")[0] for text in sections]
  assert labels[:3] == ["[verse]", "[chorus]", "[verse]"]
  assert labels[-1] == "[outro]"
  assert len(labels) == 6


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "lyrics are empty"),
    ("\n \n", "lyrics are empty"),
    ("\nla la\n[verse]\n", "line 2 .*'la la'.* before any section"),
    ("[verse]\nla\n[ ]\n", "line 3 .* without a name"),
  ],
)
def test_bad_lyrics_are_refused(text, message):
  with pytest.raises(ValueError, match=message):
    prompts.split_lyrics(text)


def test_bad_prompts_are_refused(tmp_path):
  made_of = {
    "tokenizer": train_tokenizer(["la la"], tmp_path / "t.model", size=280),
    "vocab": VOCAB,
  }
  with pytest.raises(ValueError, match="tags are empty"):
    prompts.encode_prompt(" \n", ["[verse]\nla\n\n"], **made_of)
  with pytest.raises(ValueError, match="at least one section"):
    prompts.encode_prompt("pop", [], **made_of)


def test_prompts_are_encoded_as_songs_are(tmp_path):
  """Head and section texts equal those of `encode_song` on the same lyrics."""
  texts = prompts.split_lyrics(LYRICS)
  tokenizer = train_tokenizer([*texts, "pop"], tmp_path / "t.model", size=300)
  vocab = Vocab.small(tokenizer.size, codes=16)
  codes = np.zeros((1, 9), np.uint16)
  sections = tuple(Section("verse", text, 0, 3) for text in texts)
  lyrics = "\n".join(texts)
  trained_on = encode_song(
    Song("a", "pop", lyrics, sections, codes, codes, codes, fps=50.0),
    tokenizer,
    vocab=vocab,
  )
  got = prompts.encode_prompt("pop\n", texts, tokenizer=tokenizer, vocab=vocab)
  np.testing.assert_array_equal(got.head, trained_on.head)
  for ids, section in zip(got.sections, trained_on.sections, strict=True):
    np.testing.assert_array_equal(ids, section.text)


def test_bad_references_are_refused():
  with pytest.raises(ValueError, match="trim both"):
    prompts.dual_reference(np.zeros((1, 3), int), np.zeros((1, 4), int), VOCAB)
  with pytest.raises(ValueError, match="at least one frame"):
    prompts.single_reference(np.zeros((1, 0), int), VOCAB)
  with pytest.raises(ValueError, match=r"codes span 0\.\.16"):
    prompts.single_reference(np.array([[0, 16]]), VOCAB)
  with pytest.raises(ValueError, match="9 codebooks"):
    prompts.single_reference(np.zeros((9, 3), int), VOCAB)
  with pytest.raises(ValueError, match=r"codes span 0\.\.16"):
    prompts.single_reference(np.array([[0, 1], [0, 16]]), VOCAB)


def test_example_of_unseen_labels():
  labels = ("verse 1", "pre-chorus", "solo", "verse", "Verse", "vers", "inst")
  assert prompts.unseen_labels([f"[{x}]\nla\n\n" for x in labels]) == {
    "verse 1": "verse",
    "pre-chorus": "chorus",
    "solo": None,
    "Verse": "verse",
    "vers": "verse",
    "inst": None,
  }
