"""Semitones against the published ones, and against plain loops."""

import csv
import itertools

import numpy as np
import pytest

from yue_jax.evaluation.vocal_range import midi_notes, vocal_range


def test_the_example():
  track = [220, 221, 219, 220, 0, 440, 440, 441, 247, 247, 246, 247, 247]
  found = vocal_range(np.array(track, float))
  assert found == (57, 59)
  assert found.semitones == 2


def test_equal_to_all_published_results(reference):
  tracks = np.load(reference / "vocal_range/f0_hz.npz", allow_pickle=False)
  with (reference / "vocal_range/published.csv").open() as file:
    published = list(csv.DictReader(file))
  assert len(published) == len(tracks.files) == 42
  for row in published:
    found = vocal_range(tracks[f"{row['system']}/{row['file']}"])
    expected = (int(float(row["min_note"])), int(float(row["max_note"])))
    assert found == expected, row
    assert found.semitones == float(row["range_semitones"])


def test_equal_to_loops():
  rng = np.random.default_rng(0)
  for _ in range(200):
    notes = rng.choice(
      [0, 50, 51, 60, 61], size=40, p=[0.1, 0.3, 0.3, 0.2, 0.1]
    )
    runs = [(n, len(list(g))) for n, g in itertools.groupby(notes.tolist())]
    held = [n for n, length in runs if length >= 4 and n]
    track = np.where(notes > 0, 440 * 2 ** ((notes - 69) / 12), 0)
    if held:
      assert vocal_range(track) == (min(held), max(held))
    else:
      with pytest.raises(ValueError, match="no note is held"):
        vocal_range(track)


def test_notes_are_the_nearest():
  semitone = 2 ** (1 / 12)
  tones = 440.0 * semitone ** np.array([-0.49, 0.49, 0.51, 12])
  assert midi_notes(tones).tolist() == [69, 69, 70, 81]
  assert midi_notes(np.zeros(2)).tolist() == [-1, -1]


@pytest.mark.parametrize(
  ("track", "message"),
  [
    (np.zeros(100), "0 of 100 frames are voiced"),
    (np.zeros(0), "shape"),
    (np.full((2, 5), 440.0), "shape"),
    (np.array(["a"]), "type"),
    (np.array([440.0, np.nan]), "1 of 2 frames"),
    (np.array([440.0, np.inf]), "1 of 2 frames"),
    (np.full(9, 0.0045), "periods"),
    (np.full(9, -440.0), "outside"),
    (np.full(9, 44_100.0), "outside"),
    (np.full(3, 440.0), "held"),  # shorter than any note
  ],
)
def test_what_is_no_track_is_refused(track, message):
  with pytest.raises(ValueError, match=message):
    vocal_range(track)
