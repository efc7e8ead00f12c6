"""Text stays text, and the tokenizer survives the trip to another process."""

import pickle

import pytest

from yue_jax.tokenizer import Tokenizer, train_tokenizer
from yue_jax.vocab import RELEASED, SPECIALS

LINES = ["Generate music.\n[Genre] jazz\n[verse]\nbala teko bala\n\n"]
SYMBOLS = ["\n", "[verse]", "[start_of_segment]", "bala", " bala", " teko"]
TEXTS = ["", "bala", " two  spaces ", "\n\n", "<SOA>", "月光 é ß", "a\tb\r\n"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  path = tmp_path_factory.mktemp("tokenizer") / "small.model"
  return train_tokenizer(LINES, path, size=400, symbols=SYMBOLS)


@pytest.mark.parametrize("text", TEXTS)
def test_small_tokenizer_loses_nothing(tokenizer, text):
  assert tokenizer.decode(tokenizer.encode(text)) == text


def test_symbols_are_single_ids(tokenizer):
  for symbol in SYMBOLS:
    assert len(tokenizer.encode(symbol)) == 1, symbol
  ids = tokenizer.encode("[verse]\nbala teko bala\n\n")
  assert len(ids) == 7
  assert ids[2] != ids[4]  # with and without the space before it


def test_training_gives_the_same_tokenizer_again(tokenizer, tmp_path):
  again = train_tokenizer(
    LINES, tmp_path / "again.model", size=400, symbols=SYMBOLS
  )
  assert again.fingerprint() == tokenizer.fingerprint()
  other = train_tokenizer(LINES, tmp_path / "other.model", size=400)
  assert other.fingerprint() != tokenizer.fingerprint()
  assert again.size <= 400


def test_too_few_pieces_is_an_error(tmp_path):
  with pytest.raises(ValueError, match="size=20"):
    train_tokenizer(LINES, tmp_path / "few.model", size=20)


def test_pickle(tokenizer):
  copy = pickle.loads(pickle.dumps(tokenizer))
  for text in TEXTS:
    assert copy.encode(text) == tokenizer.encode(text)
  assert copy.fingerprint() == tokenizer.fingerprint()


def test_bad_files(tmp_path):
  with pytest.raises(FileNotFoundError):
    Tokenizer(tmp_path / "missing.model")
  (tmp_path / "bad.model").write_bytes(b"no model")
  with pytest.raises(ValueError, match=r"bad\.model is no SentencePiece model"):
    Tokenizer(tmp_path / "bad.model")


def test_special_tokens_in_text_are_text(tokenizer, reference):
  released = Tokenizer(reference / "tokenizer.model")
  assert released.size == RELEASED.size
  for name in SPECIALS:
    text = f"la <{name}> la"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert all(id in RELEASED.text for id in released.encode(text))


def test_released_phrases(reference):
  released = Tokenizer(reference / "tokenizer.model")
  assert released.encode("[start_of_segment]") == [
    518, 2962, 29918, 974, 29918, 28192, 29962,
  ]  # fmt: skip
  assert released.encode("[end_of_segment]") == [
    518, 355, 29918, 974, 29918, 28192, 29962,
  ]  # fmt: skip
