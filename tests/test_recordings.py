"""Music and speech become records with what their documents need."""

import json

import numpy as np
import pytest

from tests.songs_on_disk import (
  prepared,
  small_recipe,
  small_tokenizer,
  write_manifest,
  write_song,
  write_speech_row,
  write_track_row,
)
from yue_jax.data.dataset import open_dataset
from yue_jax.data.preparing.prepare import prepare
from yue_jax.data.records import TRACKS, decode_song_record


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  return small_tokenizer(tmp_path_factory.mktemp("t") / "tokenizer.model")


def run(root, tokenizer, rows, *, content, **changes):
  recipe = small_recipe(tokenizer, content=content, **changes)
  prepare(write_manifest(root, rows), root / "out", recipe=recipe)
  rejected = (root / "out" / "rejected.jsonl").read_text().splitlines()
  return open_dataset(root / "out"), [json.loads(line) for line in rejected]


def test_music_has_the_tracks_that_it_has(tmp_path, tokenizer):
  sets = [["mixture"], ["vocal", "backing"], list(TRACKS)]
  rows = [
    write_track_row(tmp_path, f"m{i}", seed=i, tracks=tracks)
    for i, tracks in enumerate(sets)
  ]
  dataset, rejected = run(tmp_path, tokenizer, rows, content="music")
  assert not rejected
  index = dataset.index
  assert index["tracks"].tolist() == [0b100, 0b011, 0b111]
  for number, row in enumerate(rows):
    song = decode_song_record(dataset.songs[number])
    assert (song.id, song.sections, len(song.head)) == (row["id"], (), 0)
    assert set(song.tracks) == set(sets[number])
    for track, name in (("mixture", "mix"), ("vocal", "voc")):
      if track in song.tracks:
        codes = np.load(tmp_path / f"{row['id']}.{name}.npy")
        np.testing.assert_array_equal(song.tracks[track], codes[0])
        assert index["frames"][number] == codes.shape[1]
    tags = [tokenizer.decode(tag).strip() for tag in song.tags]
    assert tags == row["genres"].split()
    assert index["tags"][number] == sum(map(len, song.tags))
  for name in ("head", "text", "plain_text", "sung", "span", "section_count"):
    assert not index[name].any()


def test_music_is_rejected_for_what_it_lacks(tmp_path, tokenizer):
  def row(name, **changes):
    return write_track_row(tmp_path, name, seed=1, **changes)

  rows = [
    row("good", genres=None),
    row("none", tracks=[]),
    row("missing", tracks=["mixture"], codec="no.npy"),
    row("rate", audio_length_in_sec=9.0),
    row("tags", genres=["pop"]),
    row("language", language=5),
    row("partly", vocals_codec="no.npy"),
  ]
  long = np.zeros((8, 200), np.int16)
  np.save(tmp_path / "long.npy", long)
  rows.append(row("long", codec="long.npy"))
  dataset, rejected = run(tmp_path, tokenizer, rows, content="music")
  assert {r["id"]: r["reason"] for r in rejected} == {
    "none": "no_tracks",
    "missing": "missing_file",
    "rate": "frame_rate",
    "tags": "bad_field",
    "language": "bad_field",
    "long": "track_difference",
  }
  assert dataset.info["songs"] == 2
  assert dataset.info["left_out"]["tracks_unusable"] == 1
  songs = dataset.index["record"] >= 0
  assert dataset.index["tracks"][songs].tolist() == [0b111, 0b110]


def test_speech_is_one_section(tmp_path, tokenizer):
  rows = [write_speech_row(tmp_path, f"t{i}", seed=i) for i in range(3)]
  dataset, rejected = run(tmp_path, tokenizer, rows, content="speech")
  assert not rejected
  for number, row in enumerate(rows):
    song = decode_song_record(dataset.songs[number])
    frames = np.load(tmp_path / row["codec"]).shape[1]
    [section] = song.sections
    assert (section.start, section.end, section.chorus) == (0, frames, False)
    assert list(section.text) == tokenizer.encode(row["transcript"])
    plain = tokenizer.encode(f"Generate speech: {row['transcript']}")
    assert list(section.plain_text) == plain
    assert set(song.tracks) == {"mixture"}
    expected = {
      "frames": frames, "tracks": 0b100, "head": 0, "tags": 0,
      "text": len(section.text), "plain_text": len(plain), "sung": frames,
      "span": frames, "section_count": 1,
    }  # fmt: skip
    for name, value in expected.items():
      assert dataset.index[name][number] == value


def test_speech_without_words_is_rejected(tmp_path, tokenizer):
  rows = [
    write_speech_row(tmp_path, f"t{i}", seed=i, transcript=transcript)
    for i, transcript in enumerate(["", " \n", None, 7, "mo"])
  ]
  dataset, rejected = run(tmp_path, tokenizer, rows, content="speech")
  assert [r["reason"] for r in rejected] == ["bad_field"] * 4
  assert dataset.info["songs"] == 1


@pytest.mark.parametrize("content", ["songs", "music", "speech"])
def test_every_content_gives_windows(tmp_path, content):
  dataset = open_dataset(prepared(tmp_path, 4, content=content))
  assert dataset.info["content"] == content
  assert dataset.info["windows"]["mixture"] > 0
  assert (dataset.info["windows"]["vocal"] > 0) == (content != "speech")


def test_languages_are_numbered(tmp_path, tokenizer):
  names = ["en", None, "zh", "en", ""]
  rows = [
    write_song(tmp_path, f"s{i}", seed=i, language=name)
    for i, name in enumerate(names)
  ]
  dataset, _ = run(tmp_path, tokenizer, rows, content="songs")
  assert dataset.languages == ("", "en", "zh")
  assert dataset.index["language"].tolist() == [1, 0, 2, 1, 0]


def test_too_many_languages_are_an_error(tmp_path, tokenizer):
  row = write_speech_row(tmp_path, "t", seed=0)
  rows = [row | {"id": str(i), "language": f"l{i}"} for i in range(256)]
  dataset, _ = run(tmp_path, tokenizer, rows[1:], content="speech")
  assert len(dataset.languages) == 256
  recipe = small_recipe(tokenizer, content="speech")
  for size in (9, 999):
    with pytest.raises(ValueError, match="more than 255 languages, among"):
      prepare(
        write_manifest(tmp_path, rows),
        tmp_path / f"more-{size}",
        recipe=recipe,
        songs_per_shard=size,
      )


def test_songs_with_a_track_in_common_are_a_group(tmp_path, tokenizer):
  def row(i, **changes):
    return write_song(tmp_path, f"s{i}", seed=i, codes=64, longer=4, **changes)

  rows = [row(i) for i in range(5)]
  rows[1] = row(1, instrumental_codec=rows[3]["codec"])  # as its mixture
  np.save(tmp_path / "silence.npy", np.zeros((8, 100), np.int16))
  for i in (0, 2):
    rows[i] |= {"codec": "silence.npy", "audio_length_in_sec": 2.0}
  rows[4] |= {"codec": rows[0]["vocals_codec"], "splitted_lyrics": {}}
  dataset, _ = run(tmp_path, tokenizer, rows, content="songs", codes=64)
  groups, ids = dataset.index["group"], dataset.index["id_hash"]
  assert groups[1] == groups[3] == min(ids[1], ids[3])
  assert groups[0] == groups[4] == min(ids[0], ids[4])
  assert groups[2] == ids[2]


@pytest.mark.parametrize("name", ["content", "windows_per_record"])
def test_recipe_refuses_what_it_cannot_be(tokenizer, name):
  value = {"content": "noise", "windows_per_record": 256}[name]
  with pytest.raises(ValueError, match=f"^{name}={value!r}, expected"):
    small_recipe(tokenizer, **{name: value})
