"""The id map equals YuE's where that is known, and is arithmetic elsewhere."""

import itertools
import json

import pytest

from yue_jax.vocab import (
  RELEASED,
  SPECIALS,
  CodecBlock,
  Stream,
  Vocab,
  codebook_stream,
)

SMALL = Vocab.small(100, codes=16, codebooks=3)


def test_released_ids():
  assert RELEASED.text == range(32_000)
  assert (RELEASED.eod, RELEASED.soa, RELEASED.eoa) == (32_000, 32_001, 32_002)
  assert (RELEASED.stage_1, RELEASED.stage_2) == (32_013, 32_017)
  assert RELEASED.xcodec == 32_016
  assert RELEASED.special("semanticodec") == 32_021
  assert RELEASED.codec("dac_16k") == range(32_022, 36_118)
  assert RELEASED.codec("dac_44k") == range(36_118, 45_334)
  assert RELEASED.codec() == range(45_334, 57_622)
  assert RELEASED.codec("semantic_mert") == range(57_622, 58_646)
  assert RELEASED.codec("semantic_hubert") == range(58_646, 59_158)
  assert RELEASED.codec("semanticodec_semantic") == range(59_158, 75_542)
  assert RELEASED.codec("semanticodec_acoustic") == range(75_542, 83_734)
  assert RELEASED.codebook(0) == range(45_334, 46_358)
  assert RELEASED.codebook(7).stop == 53_526


def test_released_sizes():
  assert RELEASED.size == 83_734
  assert RELEASED.padded_size(128) == 83_840
  assert RELEASED.padded_size(256) == 83_968


@pytest.mark.parametrize("vocab", [RELEASED, SMALL])
def test_ranges_follow_each_other_without_gaps(vocab):
  ranges = [vocab.text, vocab.specials]
  for block in vocab.codec_blocks:
    books = [vocab.codebook(k, block.name) for k in range(block.codebooks)]
    assert all(len(book) == vocab.codes(block.name) for book in books)
    assert books[0].start == vocab.codec(block.name).start
    assert books[-1].stop == vocab.codec(block.name).stop
    ranges += books
  for before, after in itertools.pairwise(ranges):
    assert before.stop == after.start
  assert (ranges[0].start, ranges[-1].stop) == (0, vocab.size)
  assert [vocab.special(name) for name in SPECIALS] == list(vocab.specials)


def test_padded_size_leaves_room_for_the_wrapper_ids():
  for multiple in (1, 7, 64):
    padded = SMALL.padded_size(multiple)
    assert padded % multiple == 0
    assert 0 <= padded - (SMALL.size + 4) < multiple


def test_json_round_trip():
  for vocab in (RELEASED, SMALL):
    text = json.dumps(vocab.to_json())
    assert Vocab.from_json(json.loads(text)) == vocab


@pytest.mark.parametrize(
  "change",
  [
    lambda fields: fields | {"extra": 1},
    lambda fields: {"text_size": 5},
    lambda fields: fields | {"codec_blocks": [{"name": "xcodec"}]},
  ],
)
def test_from_json_names_unknown_and_missing_keys(change):
  with pytest.raises(ValueError, match="expected the keys"):
    Vocab.from_json(change(SMALL.to_json()))


def test_fingerprints_differ_whenever_the_map_does():
  vocabs = [
    RELEASED,
    SMALL,
    Vocab.small(101, codes=16, codebooks=3),
    Vocab.small(100, codes=17, codebooks=3),
    Vocab.small(100, codes=16, codebooks=4),
  ]
  assert len({vocab.fingerprint() for vocab in vocabs}) == len(vocabs)
  assert RELEASED.fingerprint() == Vocab().fingerprint()


def test_what_does_not_exist_is_an_error():
  with pytest.raises(KeyError, match="no special token 'BOS'"):
    SMALL.special("BOS")
  with pytest.raises(IndexError, match="codebook 3 of xcodec, which has 3"):
    SMALL.codebook(3)
  with pytest.raises(IndexError):
    SMALL.codebook(-1)
  with pytest.raises(ValueError, match="text_size=0"):
    Vocab.small(0)
  with pytest.raises(ValueError, match="must differ"):
    Vocab(9, (CodecBlock("a", 1, 1), CodecBlock("a", 1, 2)))
  with pytest.raises(ValueError, match="size=0"):
    CodecBlock("a", 1, 0)


def test_tokenizer_must_hold_the_text_or_everything():
  RELEASED.check_tokenizer(32_000)
  RELEASED.check_tokenizer(83_734)
  with pytest.raises(ValueError, match=r"has 50 pieces.*expects 32000"):
    RELEASED.check_tokenizer(50)


def test_codebook_streams():
  assert codebook_stream(0) is Stream.CODEBOOK_0
  assert codebook_stream(7) is Stream.CODEBOOK_7
  for k in (-1, 8):
    with pytest.raises(IndexError):
      codebook_stream(k)
