"""Every row becomes a Song or a SongError; nothing else is ever raised."""

import copy
import random
import re

import numpy as np
import pytest

from yue_jax.songs import (
  Rules,
  Song,
  SongError,
  song_from_row,
  track_from_row,
)
from yue_jax.vocab import Vocab

VOCAB = Vocab.small(100, codes=16, codebooks=2)
FRAMES = 300


def section(start, end, text="[verse]\nla la\n\n"):
  return {
    "codec_frame_start": start,
    "codec_frame_end": end,
    "line_content": text,
  }


@pytest.fixture
def row(tmp_path):
  """A good row, its arrays beside it."""
  rng = np.random.default_rng(0)
  for track in ("mix", "voc", "ins"):
    codes = rng.integers(0, 16, (2, FRAMES)).astype(np.int16)
    np.save(tmp_path / f"{track}.npy", codes)
  sections = [section(0, 100), section(100, 300, "[Chorus ]\nlo\n\n")]
  return {
    "id": "a",
    "codec": "mix.npy",
    "vocals_codec": "voc.npy",
    "instrumental_codec": "ins.npy",
    "audio_length_in_sec": FRAMES / 50,
    "genres": "jazz",
    "splitted_lyrics": {"segmented_lyrics": sections},
  }


def read(row, root, **rules):
  return song_from_row(row, root, vocab=VOCAB, rules=Rules(**rules))


def reason(row, root, **rules):
  with pytest.raises(SongError) as caught:
    read(row, root, **rules)
  assert str(caught.value)
  return caught.value.reason


def sections_of(row):
  return row["splitted_lyrics"]["segmented_lyrics"]


def test_a_good_row(row, tmp_path):
  song = read(row, tmp_path)
  assert (song.id, song.tags, song.fps, song.dropped) == ("a", "jazz", 50, ())
  assert [s.label for s in song.sections] == ["verse", "chorus"]
  assert [(s.start, s.end) for s in song.sections] == [(0, 100), (100, 300)]
  assert song.lyrics == "[verse]\nla la\n\n\n[Chorus ]\nlo\n\n"
  for track, name in (
    (song.vocal, "voc"),
    (song.backing, "ins"),
    (song.mixture, "mix"),
  ):
    assert track.dtype == np.uint16
    np.testing.assert_array_equal(track, np.load(tmp_path / f"{name}.npy"))


def test_an_integer_id_is_an_id(row, tmp_path):
  assert read(row | {"id": 7}, tmp_path).id == "7"


@pytest.mark.parametrize("track", ["mix", "voc", "ins"])
def test_tracks_are_trimmed_to_the_shortest(row, tmp_path, track):
  codes = np.load(tmp_path / f"{track}.npy")
  np.save(tmp_path / f"{track}.npy", np.pad(codes, [(0, 0), (0, 10)]))
  song = read(row, tmp_path)
  for kept in (song.vocal, song.backing, song.mixture):
    assert kept.shape == (2, FRAMES)
  np.save(tmp_path / f"{track}.npy", np.pad(codes, [(0, 0), (0, 11)]))
  assert reason(row, tmp_path) == "track_difference"
  assert read(row, tmp_path, max_track_difference=11)


def test_frame_rate(row, tmp_path):
  for fps, good in ((48.9, False), (49, True), (51, True), (51.1, False)):
    row["audio_length_in_sec"] = FRAMES / fps
    if good:
      assert read(row, tmp_path).fps == pytest.approx(fps)
    else:
      assert reason(row, tmp_path) == "frame_rate"


@pytest.mark.parametrize(
  ("bad", "why"),
  [
    (section(100, 149), r"section 1: 0\.98 s long, expected at least 1\.0"),
    (section(100, 301), r"bad indices 100\.\.301 in a song of 300 frames"),
    (section(-1, 100), "bad indices"),
    (section(100, 100), "bad indices"),
    (section(200, 100), "bad indices"),
    (section(100, "200"), "bad indices"),
    (section(100, 200.0), "bad indices"),
    (section(None, True), "bad indices"),
    (section(100, 200, " \n"), "empty lyrics"),
  ],
)
def test_a_bad_section_is_dropped_but_its_lyrics_stay(row, tmp_path, bad, why):
  sections_of(row)[1] = bad
  song = read(row, tmp_path)
  assert len(song.sections) == 1
  assert song.lyrics.endswith("\n" + bad["line_content"])
  assert re.search(why, song.dropped[0])
  sections_of(row)[0] = bad
  assert reason(row, tmp_path) == "no_sections"


def test_a_second_is_a_second_of_this_song(row, tmp_path):
  """At 49 frames a second 49 frames are enough; at 51, 50 are too few."""
  sections_of(row)[1] = section(100, 149)
  row["audio_length_in_sec"] = FRAMES / 49
  assert not read(row, tmp_path).dropped
  sections_of(row)[1] = section(100, 150)
  row["audio_length_in_sec"] = FRAMES / 51
  assert read(row, tmp_path).dropped
  assert not read(row, tmp_path, min_section_seconds=0.5).dropped


@pytest.mark.parametrize(
  ("change", "expected"),
  [
    ({"id": None}, "bad_field"),
    ({"id": True}, "bad_field"),
    ({"genres": ["jazz"]}, "bad_field"),
    ({"genres": "\ud800"}, "bad_field"),
    ({"codec": None}, "bad_field"),
    ({"codec": "\0"}, "bad_file"),
    ({"codec": ""}, "bad_file"),
    ({"codec": "missing.npy"}, "missing_file"),
    ({"audio_length_in_sec": None}, "bad_field"),
    ({"audio_length_in_sec": float("nan")}, "bad_field"),
    ({"audio_length_in_sec": 0}, "bad_field"),
    ({"splitted_lyrics": []}, "bad_field"),
    ({"splitted_lyrics": {"segmented_lyrics": [7]}}, "bad_field"),
    ({"splitted_lyrics": {"segmented_lyrics": [{}]}}, "bad_field"),
    ({"splitted_lyrics": {"segmented_lyrics": []}}, "empty_lyrics"),
  ],
)
def test_bad_fields(row, tmp_path, change, expected):
  assert reason(row | change, tmp_path) == expected


@pytest.mark.parametrize(
  ("codes", "message"),
  [
    (np.zeros((2, FRAMES)), "float64"),
    (np.zeros(FRAMES, int), "shape"),
    (np.zeros((1, 0), int), "no codes"),
    (np.full((2, FRAMES), 16), r"expected 0\.\.15"),
    (np.full((2, FRAMES), -1), r"expected 0\.\.15"),
    (np.zeros((3, FRAMES), int), "3 codebooks"),
  ],
)
def test_bad_codes(row, tmp_path, codes, message):
  np.save(tmp_path / "voc.npy", codes)
  assert reason(row, tmp_path) == "bad_codes"
  with pytest.raises(SongError, match=message):
    track_from_row(row, tmp_path, track="vocal", vocab=VOCAB)


def test_pickled_arrays_are_not_opened(row, tmp_path):
  np.save(tmp_path / "voc.npy", np.array([{}]), allow_pickle=True)
  assert reason(row, tmp_path) == "bad_file"


def test_headers_are_not_believed(row, tmp_path):
  path = tmp_path / "voc.npy"
  whole = path.read_bytes()
  for shape in ("(2, 301)", "(2, 9999999999999999999999999)", "(-2, 300)"):
    path.write_bytes(whole.replace(b"(2, 300)", shape.encode().ljust(8)))
    with pytest.raises(SongError, match=r"bytes follow|header"):
      track_from_row(row, tmp_path, track="vocal", vocab=VOCAB)
    assert reason(row, tmp_path) == "bad_file"


def test_a_truncated_array_is_a_bad_file(row, tmp_path):
  whole = (tmp_path / "voc.npy").read_bytes()
  for size in (0, 5, 70, len(whole) // 2, len(whole) - 1):
    (tmp_path / "voc.npy").write_bytes(whole[:size])
    assert reason(row, tmp_path) == "bad_file"


def test_damaged_array_files_raise_nothing_but_song_errors(row, tmp_path):
  rng = random.Random(0)
  whole = (tmp_path / "voc.npy").read_bytes()
  refused = 0
  for _ in range(300):
    damaged = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
      damaged[rng.randrange(160)] = rng.randrange(256)
    (tmp_path / "voc.npy").write_bytes(damaged)
    try:
      read(row, tmp_path)
    except SongError:
      refused += 1
  assert refused > 100


JUNK = (
  None, True, -1, 0, 10**30, 0.5, float("nan"), float("inf"), "", "\0",
  "\ud800", "<SOA>", "..", "x" * 300, [], [[]], {}, {"": 0},
)  # fmt: skip


def mutate(value, rng):
  """Copies nested JSON with one place, at any depth, made junk or removed."""
  if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
    return rng.choice(JUNK)
  changed = copy.copy(value)
  keys = list(value) if isinstance(value, dict) else range(len(value))
  key = rng.choice(keys)
  if rng.random() < 0.2:
    del changed[key]
  else:
    changed[key] = mutate(value[key], rng)
  return changed


def test_mutated_rows_raise_nothing_but_song_errors(row, tmp_path):
  rng = random.Random(0)
  outcomes = []
  for _ in range(600):
    mutated = row
    for _ in range(rng.randint(1, 3)):
      mutated = mutate(mutated, rng)
    if not isinstance(mutated, dict):
      continue
    try:
      song = read(mutated, tmp_path)
    except SongError as error:
      outcomes.append(error.reason)
    else:
      outcomes.append("song")
      assert isinstance(song, Song)
      for kept in song.sections:
        assert 0 <= kept.start < kept.end <= song.vocal.shape[1]
  assert {"song", "bad_field", "missing_file", "no_sections"} <= set(outcomes)
