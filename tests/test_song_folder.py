"""Folders of songs: whole, unfinished, damaged, on a full disk."""

import contextlib
import json
import resource

import numpy as np
import pytest

from yue_jax.sampling import song_folder
from yue_jax.sampling.song import SongSection

TEXTS = ("[verse]\nla\n\n", "[chorus]\nli\n\n")
DECIDING = {name: name for name in song_folder._DECIDING}


def section(frames: int) -> SongSection:
  return SongSection(
    np.arange(frames, dtype=np.uint16), np.arange(frames, dtype=np.uint16) + 7
  )


@contextlib.contextmanager
def full_disk(size: int):
  """No file can become larger than `size` bytes."""
  old = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


def files(folder):
  return sorted(
    str(path.relative_to(folder))
    for path in folder.rglob("*")
    if path.is_file()
  )


def test_what_is_written_is_read(tmp_path):
  assert song_folder.read_song(tmp_path / "song") is None
  sections = []
  for frames in (0, 3, 5):
    sections += [section(frames)] if frames else []
    song_folder.write_sections(tmp_path / "song", DECIDING, TEXTS, sections)
    stored = song_folder.read_song(tmp_path / "song")
    assert not stored.whole
    assert stored.texts == list(TEXTS)
    assert len(stored.sections) == len(sections)
    for ours, theirs in zip(stored.sections, sections, strict=True):
      np.testing.assert_array_equal(np.stack(ours), np.stack(theirs))
  codes = np.zeros((8, 8), np.uint16)
  song_folder.write_whole(
    tmp_path / "song", DECIDING, TEXTS, sections, [codes, codes]
  )
  stored = song_folder.read_song(tmp_path / "song")
  assert stored.whole
  assert stored.description["sections"][1] == {
    "text": TEXTS[1],
    "start": 3,
    "end": 8,
  }
  assert files(tmp_path / "song") == [
    "song.json",
    *("stage1/itrack.npy", "stage1/vtrack.npy"),
    *("stage2/itrack.npy", "stage2/vtrack.npy"),
  ]


def test_a_full_disk_leaves_what_was_there(tmp_path):
  song_folder.write_sections(tmp_path, DECIDING, TEXTS, [section(9)])
  before = files(tmp_path)
  with (
    full_disk(2000),
    pytest.raises(OSError, match=r"stage1/vtrack.npy could not be written"),
  ):
    song_folder.write_sections(
      tmp_path, DECIDING, TEXTS, [section(9), section(4000)]
    )
  codes = np.zeros((8, 4000), np.uint16)
  with full_disk(2000), pytest.raises(OSError, match=r"stage2/vtrack\.npy"):
    song_folder.write_whole(
      tmp_path, DECIDING, TEXTS, [section(9), section(4000)], [codes, codes]
    )
  assert files(tmp_path) == before
  (sung,) = song_folder.read_song(tmp_path).sections
  np.testing.assert_array_equal(sung.vocal, section(9).vocal)


def test_arrays_ahead_of_their_description_are_cut(tmp_path):
  """Killed between the two: the section that is not described is lost."""
  song_folder.write_sections(tmp_path, DECIDING, TEXTS, [section(3)])
  described = (tmp_path / "song.json.unfinished").read_bytes()
  song_folder.write_sections(
    tmp_path, DECIDING, TEXTS, [section(3), section(4)]
  )
  (tmp_path / "song.json.unfinished").write_bytes(described)
  (sung,) = song_folder.read_song(tmp_path).sections
  np.testing.assert_array_equal(sung.backing, section(3).backing)


def test_damage_is_named(tmp_path):
  song_folder.write_sections(tmp_path, DECIDING, TEXTS, [section(3)])
  np.save(tmp_path / "stage1/vtrack.npy", np.zeros((1, 2), np.uint16))
  with pytest.raises(ValueError, match="has 2 frames, its description 3"):
    song_folder.read_song(tmp_path)
  (tmp_path / "song.json.unfinished").write_text("{")
  with pytest.raises(ValueError, match="unfinished is damaged"):
    song_folder.read_song(tmp_path)
  (tmp_path / "song.json.unfinished").write_text(json.dumps({"sections": []}))
  with pytest.raises(ValueError, match=r"says nothing of .*'seed'"):
    song_folder.read_song(tmp_path)


def test_only_what_decides_a_song_must_be_the_same(tmp_path):
  settings = {"window": 6, "shape": (1, 2)}
  description = {**DECIDING, "settings": settings, "seconds": 3}
  song_folder.write_sections(tmp_path, description, TEXTS, [section(3)])
  stored = song_folder.read_song(tmp_path)
  song_folder.check_same(stored, {**description, "seconds": 4}, TEXTS)
  with pytest.raises(ValueError, match=r"settings was .*6.* is .*7"):
    other = {**description, "settings": {**settings, "window": 7}}
    song_folder.check_same(stored, other, TEXTS)
  with pytest.raises(ValueError, match="another song: other lyrics"):
    song_folder.check_same(stored, description, TEXTS[::-1])


def test_fingerprints_tell_shapes_and_values():
  one = np.arange(6, dtype=np.uint16)
  prints = [
    song_folder.fingerprint(arrays)
    for arrays in ([one], [one + 1], [one[:3], one[3:]], [one[None]], [])
  ]
  assert len(set(prints)) == 5
  assert song_folder.fingerprint([one.astype(np.int32)]) == prints[0]
