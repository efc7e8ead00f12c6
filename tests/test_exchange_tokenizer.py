"""tokenizer.json gives the ids of the SentencePiece model it is made from."""

import json

import pytest
from sentencepiece import sentencepiece_model_pb2

from yue_jax.exchange import tokenizer
from yue_jax.tokenizer import Tokenizer, train_tokenizer

SYMBOLS = ["[verse]", "\n", "bado", " bado", "kilu", " kilu"]
LINES = ["[verse]\nbado kilu\n\n", "Sing the given lyrics, by section.\n"] * 20
LYRICS = [
  "[verse]\nbado kilu bado\n\n",
  " bado",
  "  two  spaces and kilubado",
  "</s> and <SOA> are text",
  "夜空の星 🎵",
]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Tokenizer:
  path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
  return train_tokenizer(LINES, path, size=320, symbols=SYMBOLS)


def test_ids_and_text_are_equal_with_symbols_of_our_own(small):
  assert_equal_ids(small, LYRICS)


def test_ids_and_text_are_equal_for_the_released_model(reference):
  lyrics = (reference / "lyrics.txt").read_text()
  assert_equal_ids(Tokenizer(reference / "tokenizer.model"), [*LYRICS, lyrics])


def assert_equal_ids(original: Tokenizer, texts: list[str]) -> None:
  tokenizers = pytest.importorskip(
    "tokenizers", reason="needs tokenizers, which comes with transformers"
  )
  content = tokenizer.convert(original.path.read_bytes(), "it")
  read = tokenizers.Tokenizer.from_str(json.dumps(content))
  assert read.get_vocab_size() == original.size
  for text in texts:
    ids = original.encode(text)
    assert read.encode(text).ids == ids
    assert read.decode(ids) == original.decode(ids)


def test_merges_go_by_score_and_not_by_number(small):
  """In the released model two spaces have a low number and the last score."""
  proto = model_proto(small)
  normal = [piece for piece in proto.pieces if piece.type == 1]
  merged = [p for p in normal if len(p.piece) == 2]
  first, second = merged[0], merged[1]
  first.score, second.score = -100.0, -1.0
  content = tokenizer.convert(proto.SerializeToString(), "it")
  merges = ["".join(pair) for pair in content["model"]["merges"]]
  assert merges.index(second.piece) < merges.index(first.piece)


def change_type(proto):
  proto.trainer_spec.model_type = 1


def change_prefix(proto):
  proto.normalizer_spec.add_dummy_prefix = True


def change_spaces(proto):
  proto.normalizer_spec.remove_extra_whitespaces = True


def change_characters(proto):
  proto.normalizer_spec.precompiled_charsmap = b"map"


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (change_type, "x.model is not of type BPE"),
    (change_prefix, "x.model has user-defined symbols and adds a space"),
    (change_spaces, "x.model removes spaces"),
    (change_characters, "x.model normalises characters"),
  ],
)
def test_model_without_an_equal_json_is_refused(small, change, message):
  proto = model_proto(small)
  change(proto)
  with pytest.raises(ValueError, match=message):
    tokenizer.convert(proto.SerializeToString(), "x.model")


@pytest.mark.parametrize("content", [b"[verse]\nla\n", b""])
def test_a_file_that_is_no_model_is_refused(content):
  with pytest.raises(ValueError, match="is no SentencePiece model"):
    tokenizer.convert(content, "x.model")


def test_files_are_written(small, tmp_path):
  tokenizer.write(small.path, tmp_path, 256)
  written = tmp_path / "tokenizer.model"
  assert written.read_bytes() == small.path.read_bytes()
  assert (tmp_path / "tokenizer.json").is_file()
  described = json.loads((tmp_path / "tokenizer_config.json").read_text())
  assert described["model_max_length"] == 256


def model_proto(small: Tokenizer):
  return sentencepiece_model_pb2.ModelProto.FromString(small.path.read_bytes())
