"""Copies are found, and strangers are not, as by plain loops."""

import itertools
import tracemalloc

import numpy as np
import pytest

from yue_jax.evaluation.local_alignment import local_alignment
from yue_jax.evaluation.memorisation import (
  against_null,
  copied_from_references,
  copying,
  covered_by,
)
from yue_jax.evaluation.ngrams import build_index, ngrams, open_index

N = 4


def _songs(rng, songs, frames, codes):
  return [
    (f"song {number}", rng.integers(codes, size=frames))
    for number in range(songs)
  ]


def _changes(gram) -> int:
  return sum(a != b for a, b in itertools.pairwise(gram))


def _grams(codes) -> set:
  lists = codes.tolist()
  grams = {tuple(lists[i : i + N]) for i in range(len(lists) - N + 1)}
  return {gram for gram in grams if _changes(gram) >= 2}


def _loops(songs, codes):
  """Covered share and longest run of one song, frame by frame."""
  known = set().union(*(_grams(theirs) for _, theirs in songs))
  covered = np.zeros(len(codes), bool)
  for i in range(len(codes) - N + 1):
    if tuple(codes[i : i + N].tolist()) in known:
      covered[i : i + N] = True
  longest = 0
  for _, theirs in songs:
    row = np.zeros(len(theirs) + 1, int)
    for code in codes:
      row[1:] = np.where(theirs == code, row[:-1] + 1, 0)
      longest = max(longest, row.max())
  return covered.mean(), longest


@pytest.mark.parametrize("shard_frames", [60, 10_000])
def test_equal_to_loops(tmp_path, shard_frames):
  rng = np.random.default_rng(0)
  songs = _songs(rng, 8, 50, codes=6)
  build_index(iter(songs), tmp_path / "i", n=N, shard_frames=shard_frames)
  index = open_index(tmp_path / "i")
  assert len(list((tmp_path / "i").glob("*.hashes.npy"))) in (1, 4)
  for _, codes in _songs(rng, 12, 40, codes=6):
    found = copying(index, codes)
    covered, run = _loops(songs, codes)
    assert found.covered == covered
    assert found.run == run


def test_ngrams_that_hardly_change_are_nobodys():
  codes = np.array([5, 5, 5, 5, 5, 6, 6, 6, 7, 8])
  _, frames = ngrams(codes, N)
  assert frames.tolist() == [6]  # 6678 changes twice, 6667 and all before once
  assert ngrams(codes[:3], N)[1].tolist() == []


def _planted(rng, songs, *, start, length):
  """A new song with a stretch of song 3 in it."""
  codes = rng.integers(1024, size=300)
  codes[100 : 100 + length] = songs[3][1][start : start + length]
  return codes


def test_a_planted_copy_is_found(tmp_path):
  rng = np.random.default_rng(0)
  songs = _songs(rng, 20, 400, codes=1024)
  index = build_index(songs, tmp_path / "i", n=8)
  found = copying(index, _planted(rng, songs, start=250, length=90))
  assert (found.run, found.run_song, found.nearest) == (90, "song 3", "song 3")
  assert found.covered == found.aligned == 0.3
  assert found.alignment.a == (100, 190) and found.alignment.b == (250, 340)
  alone = copying(index, rng.integers(1024, size=300))
  assert (alone.covered, alone.run, alone.nearest) == (0.0, 0, None)


def test_a_copy_with_frames_left_out_is_found_whole(tmp_path):
  rng = np.random.default_rng(0)
  songs = _songs(rng, 20, 400, codes=1024)
  index = build_index(songs, tmp_path / "i", n=8)
  copy = np.delete(_planted(rng, songs, start=250, length=90), [130, 160])
  found = copying(index, copy)
  assert found.run == 30 and found.nearest == "song 3"
  assert found.alignment.score == 88 - 2
  assert found.alignment.b == (250, 340)


def test_runs_do_not_cross_songs(tmp_path):
  songs = [("a", np.arange(10)), ("b", np.arange(10, 20))]
  index = build_index(songs, tmp_path / "i", n=N)
  found = copying(index, np.arange(20))
  assert found.run == 10
  assert found.covered == 1.0  # by both


def _slow_alignment(a, b) -> int:
  rows, columns = len(a) + 1, len(b) + 1
  score = np.zeros((rows, columns), int)
  for i in range(1, rows):
    for j in range(1, columns):
      score[i, j] = max(
        0,
        score[i - 1, j - 1] + (1 if a[i - 1] == b[j - 1] else -1),
        score[i - 1, j] - 1,
        score[i, j - 1] - 1,
      )
  return score.max()


def test_alignment_is_that_of_the_whole_table():
  rng = np.random.default_rng(0)
  for _ in range(40):
    a, b = (rng.integers(3, size=rng.integers(1, 20)) for _ in range(2))
    found = local_alignment(a, b)
    assert found.score == _slow_alignment(a, b)
    part = a[slice(*found.a)], b[slice(*found.b)]
    assert local_alignment(*part).score == found.score


def test_the_example_of_alignment():
  a = np.array([7, 7, 1, 2, 3, 4, 5, 9])
  b = np.array([0, 0, 1, 2, 3, 8, 4, 5, 6])
  assert local_alignment(a, b) == (4, (2, 7), (2, 8))


def test_memory_is_that_of_a_shard(tmp_path):
  rng = np.random.default_rng(0)

  def songs():
    for number in range(100):
      yield str(number), rng.integers(1024, size=10_000)

  tracemalloc.start()
  try:
    index = build_index(songs(), tmp_path / "i", n=8, shard_frames=50_000)
    built = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    copying(index, np.asarray(index.codes[500_000:500_300]))
    asked = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  # the whole index is 12 MB, one shard 0.7
  assert built < 4 * 2**20
  assert asked < 4 * 2**20


def test_copies_exceed_the_null_and_strangers_do_not(tmp_path):
  rng = np.random.default_rng(0)
  songs = _songs(rng, 20, 400, codes=24)
  index = build_index(songs, tmp_path / "i", n=N)

  def covered(count, copied):
    return [
      copying(index, _planted(rng, songs, start=0, length=copied) % 24).covered
      for _ in range(count)
    ]

  null = covered(60, 0)
  assert 0 < np.mean(null) < 0.5
  copies = against_null(covered(20, 150), null)
  assert copies.above.low > 0.5
  assert max(copies.p_values) < 0.05
  strangers = against_null(covered(40, 0), null)
  assert strangers.above.low <= 0.05 <= strangers.above.high


def test_p_values_count_the_null():
  found = against_null([5, 100], list(range(20)))
  assert found.p_values == (16 / 21, 1 / 21)
  assert found.threshold == np.quantile(np.arange(20), 0.95)
  assert found.above.value == 0.5


def test_own_references_are_told_from_others():
  rng = np.random.default_rng(0)
  references = {str(i): rng.integers(1024, size=100) for i in range(10)}
  songs = {
    i: np.concatenate([r[20:70], rng.integers(1024, size=150)])
    for i, r in references.items()
  }
  found = copied_from_references(songs, references, n=8)
  assert found.own.value == found.gain.value == 0.25
  assert set(found.songs.values()) == {0.25}
  swapped = dict(
    zip(references, [*list(songs.values())[1:], songs["0"]], strict=True)
  )
  assert copied_from_references(swapped, references, n=8).gain.value < 0
  assert covered_by(songs["0"], references["0"], 8) == 0.25


def test_the_same_reference_for_all_says_nothing():
  codes = np.arange(50)
  with pytest.raises(ValueError, match="one reference"):
    copied_from_references(
      {"a": codes, "b": codes}, {"a": codes, "b": codes}, n=4
    )
  with pytest.raises(ValueError, match=r"\['b'\]"):
    copied_from_references({"a": codes, "b": codes}, {"a": codes}, n=4)


def test_what_cannot_be_compared_is_refused(tmp_path):
  rng = np.random.default_rng(0)
  songs = _songs(rng, 3, 20, codes=9)
  index = build_index(songs, tmp_path / "i", n=N)
  for codes, message in (
    (np.arange(3), "no n-gram of 4"),
    (np.zeros(0, int), "shape"),
    (np.zeros((2, 9), int), "shape"),
    (np.full(9, np.nan), "type"),
    (np.full(9, -1), "from -1"),
    (np.full(9, 70_000), "to 70000"),
  ):
    with pytest.raises(ValueError, match=message):
      copying(index, codes)
  with pytest.raises(ValueError, match="20"):
    against_null([0.1] * 5, [0.1] * 19)
  with pytest.raises(ValueError, match="no songs"):
    build_index([], tmp_path / "j", n=N)
  assert not (tmp_path / "j").exists()
  with pytest.raises(FileExistsError):
    build_index(songs, tmp_path / "i", n=N)


def test_damaged_indexes_are_refused(tmp_path):
  songs = _songs(np.random.default_rng(0), 3, 20, codes=9)
  build_index(songs, tmp_path / "i", n=N)
  with pytest.raises(ValueError, match="no index"):
    open_index(tmp_path)
  with (tmp_path / "i/codes.bin").open("r+b") as file:
    file.truncate(7)
  with pytest.raises(ValueError, match="7 bytes, expected 120"):
    open_index(tmp_path / "i")
