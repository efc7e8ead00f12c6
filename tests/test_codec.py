"""Codes and ids are two names of the same thing, and bad codes are refused."""

import numpy as np
import pytest

from yue_jax import codec
from yue_jax.vocab import RELEASED, Vocab

SMALL = Vocab.small(10, codes=4, codebooks=3)


def random_codes(codebooks, frames, codes=1024, dtype=np.int16):
  rng = np.random.default_rng(0)
  return rng.integers(0, codes, (codebooks, frames)).astype(dtype)


def test_example_ids():
  ids = codec.frames_to_ids(np.array([[5], [7]]), RELEASED)
  np.testing.assert_array_equal(ids, [[45_339], [46_365]])
  assert ids.dtype == np.int32


@pytest.mark.parametrize("first", [0, 1, 4])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int64])
def test_ids_lie_in_their_codebook_and_come_back(first, dtype):
  codes = random_codes(8, 50, dtype=dtype)
  ids = codec.frames_to_ids(codes, RELEASED, first_codebook=first)
  for k, row in enumerate(ids, start=first):
    assert all(id in RELEASED.codebook(k) for id in row.tolist())
  back = codec.ids_to_frames(ids, RELEASED, first_codebook=first)
  np.testing.assert_array_equal(back, codes)


@pytest.mark.parametrize("wrong", [-1, 1, 4])
def test_ids_of_another_codebook_are_refused(wrong):
  ids = np.array([[SMALL.codebook(0).start], [SMALL.codebook(1).start]])
  ids[1] += {-1: -1, 1: SMALL.codes(), 4: 10**6}[wrong]
  with pytest.raises(ValueError, match=r"expected 0\.\.3"):
    codec.ids_to_frames(ids, SMALL)


@pytest.mark.parametrize(
  ("codes", "message"),
  [
    (np.zeros(4, int), "shape"),
    (np.zeros((1, 4)), "float64"),
    (np.zeros((1, 4), bool), "bool"),
    (np.zeros((1, 4), "U1"), "<U1"),
    (np.full((1, 4), 4), r"4\.\.4, expected 0\.\.3"),
    (np.full((1, 4), -1), "-1"),
    (np.zeros((4, 1), int), "4 codebooks, the vocabulary has 3"),
  ],
)
def test_bad_codes_are_refused(codes, message):
  with pytest.raises(ValueError, match=message):
    codec.frames_to_ids(codes, SMALL)


def test_codebooks_beyond_the_vocabulary_are_refused():
  with pytest.raises(IndexError, match="codebook 3"):
    codec.frames_to_ids(random_codes(2, 5, codes=4), SMALL, first_codebook=2)


def test_interleave():
  vocal, backing = np.array([1, 2]), np.array([8, 9])
  np.testing.assert_array_equal(codec.interleave(vocal, backing), [1, 8, 2, 9])
  for track, back in zip(
    (vocal, backing),
    codec.deinterleave(codec.interleave(vocal, backing)),
    strict=True,
  ):
    np.testing.assert_array_equal(track, back)
  with pytest.raises(ValueError, match="trim both"):
    codec.interleave(vocal, backing[:1])
  with pytest.raises(ValueError, match="even"):
    codec.deinterleave(np.arange(3))


def test_flatten():
  ids = np.array([[1, 2], [8, 9]])
  np.testing.assert_array_equal(codec.flatten(ids), [1, 8, 2, 9])
  codes = random_codes(8, 30)
  np.testing.assert_array_equal(codec.unflatten(codec.flatten(codes), 8), codes)
  with pytest.raises(ValueError, match="whole frames of 2 codebooks"):
    codec.unflatten(np.arange(3), 2)
