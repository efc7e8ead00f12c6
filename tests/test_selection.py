"""Sides: every song on one, its copies on the same."""

import numpy as np
import pytest

from yue_jax.data.layout import hash_bytes
from yue_jax.data.selection import (
  BETWEEN,
  HELDOUT,
  TRAIN,
  SongHashes,
  among,
  read_exclusions,
  sides,
)


def songs(*names: str, groups=None, codes=None) -> SongHashes:
  def hashes(texts):
    return np.array([hash_bytes(t.encode()) if t else 0 for t in texts], "u8")

  return SongHashes(
    hashes(names), hashes(groups or names), tuple(map(hashes, codes or []))
  )


def many(count: int, prefix="s") -> SongHashes:
  return songs(*(f"{prefix}{i}" for i in range(count)))


def test_the_share_is_held_out():
  [side] = sides([many(20_000)], 0.1)
  assert np.mean(side == HELDOUT) == pytest.approx(0.1, abs=0.01)
  assert set(side) == {TRAIN, HELDOUT}


def test_nothing_is_held_out_unless_asked():
  assert [s.tolist() for s in sides([many(3), many(2)], 0.0)] == [
    [TRAIN] * 3,
    [TRAIN] * 2,
  ]


def test_a_group_stays_together():
  names = [f"s{i}" for i in range(300)]
  [side] = sides([songs(*names, groups=["g"] * 150 + names[150:])], 0.5)
  assert len(set(side[:150])) == 1
  assert len(set(side[150:])) == 2


def test_a_song_is_on_the_same_side_in_every_data_set():
  first, second = sides([many(500), many(900)], 0.3)
  np.testing.assert_array_equal(second[:500], first)


def test_copies_under_another_name_follow_the_earlier_data_set():
  codes = [f"c{i}" for i in range(400)]
  one = songs(*(f"a{i}" for i in range(400)), codes=[codes])
  two = songs(*(f"b{i}" for i in range(400)), codes=[codes])
  first, second = sides([one, two], 0.5)
  np.testing.assert_array_equal(second, first)
  assert set(first) == {TRAIN, HELDOUT}


def test_a_group_with_copies_on_both_sides_is_on_neither():
  one = many(50)
  [first] = sides([one], 0.5)
  train = f"s{np.flatnonzero(first == TRAIN)[0]}"
  held = f"s{np.flatnonzero(first == HELDOUT)[0]}"
  two = songs(train, held, "new", groups=["g", "g", "new"])
  _, second = sides([one, two], 0.5)
  assert second[:2].tolist() == [BETWEEN, BETWEEN]
  assert second[2] != BETWEEN


def test_tracks_that_identify_nothing_link_nothing():
  one = songs("a", "b", codes=[["", ""]])
  two = songs(*(f"x{i}" for i in range(99)), codes=[[""] * 99])
  _, second = sides([one, two], 0.5)
  assert set(second) == {TRAIN, HELDOUT}


def test_a_later_data_set_moves_nothing():
  one, two = many(200, "a"), many(200, "b")
  before = sides([one, two], 0.2)
  after = sides([one, two, many(200, "a")], 0.2)
  for left, right in zip(before, after, strict=False):
    np.testing.assert_array_equal(left, right)


def test_among_is_what_isin_finds():
  rng = np.random.default_rng(0)
  hashes = rng.integers(0, 2**64, 500, dtype=np.uint64)
  hashes[:100] = hashes[100:200]  # some come twice
  known = [np.sort(rng.choice(hashes, n)) for n in (0, 1, 50, 500)]
  known.append(np.sort(rng.integers(0, 2**64, 50, dtype=np.uint64)))
  for mask, each in zip(among(hashes, *known), known, strict=True):
    np.testing.assert_array_equal(mask, np.isin(hashes, each))
  assert among(hashes[:0], *known).shape == (5, 0)


def test_exclusions_are_read_line_by_line(tmp_path):
  path = tmp_path / "ids.txt"
  path.write_text("s1\n\n  s2 \n")
  expected = [hash_bytes(b"s1"), hash_bytes(b"s2")]
  assert read_exclusions(path).tolist() == sorted(expected)
  path.write_text("\n")
  with pytest.raises(ValueError, match="lists no ids"):
    read_exclusions(path)
