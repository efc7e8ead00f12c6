"""Any stretch of a document is what it is in the whole."""

import numpy as np
import pytest

from yue_jax.tokens import Document, Filled, Sound, Text, marks
from yue_jax.vocab import RELEASED, Stream, Vocab


def example():
  return Document([marks(7, 8), Filled([3, 4, 5], Stream.RESTATED)])


def test_example():
  ids, streams = example().read(1, 3)
  assert (ids.tolist(), ids.dtype) == ([8, 3], np.int32)
  assert streams.tolist() == [Stream.MARK, Stream.RESTATED]
  assert streams.dtype == np.uint8
  assert len(example()) == 5
  assert example().ids.tolist() == [7, 8, 3, 4, 5]


def test_sound_example():
  rows = np.array([[0, 1], [3, 2]], np.uint16)
  streams = [Stream.VOCAL, Stream.BACKING]
  document = Document(
    [Sound(rows, start=0, end=2, first_ids=[32, 32], streams=streams)]
  )
  assert document.ids.tolist() == [32, 35, 33, 34]
  assert document.streams.tolist() == [*streams, *streams]


def test_special_tokens_in_text_are_marks():
  vocab = Vocab.small(10)
  document = Document([Text(np.array([9, 10, 3], np.int32), vocab)])
  expected = [Stream.TEXT, Stream.MARK, Stream.TEXT]
  assert document.streams.tolist() == expected


@pytest.mark.parametrize("turns", [1, 2, 3, 8])
def test_every_stretch_is_a_part_of_the_whole(turns):
  rng = np.random.default_rng(turns)
  codes = rng.integers(0, 1024, (turns, 12)).astype(np.uint16)
  first_ids = [RELEASED.codebook(k).start for k in range(turns)]
  streams = [Stream.CODEBOOK_0 + k for k in range(turns)]
  document = Document(
    [
      Text(rng.integers(0, 32_010, 5).astype(np.int32), RELEASED),
      marks(),
      Sound(codes, start=2, end=9, first_ids=first_ids, streams=streams),
      marks(1, 2),
    ]
  )
  flat = (codes[:, 2:9].T + np.array(first_ids)).ravel()
  np.testing.assert_array_equal(document.ids[5:-2], flat)
  for start in range(len(document) + 1):
    for stop in range(start, len(document) + 1):
      ids, streams = document.read(start, stop)
      np.testing.assert_array_equal(ids, document.ids[start:stop])
      np.testing.assert_array_equal(streams, document.streams[start:stop])


def test_codes_do_not_wrap_around():
  """Ids are larger than the codes' own type may hold."""
  codes = np.array([[1023]], np.uint16)
  sound = Sound(
    codes, start=0, end=1, first_ids=[80_000], streams=[Stream.VOCAL]
  )
  assert Document([sound]).ids.tolist() == [81_023]


def test_nothing_and_too_much():
  assert len(Document([])) == len(Document([]).ids) == 0
  for start, stop in ((0, 6), (-1, 2), (3, 2)):
    with pytest.raises(IndexError, match="of 5"):
      example().read(start, stop)
