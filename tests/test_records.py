"""Records come back as they were written, and nothing else is read."""

from array_record.python import array_record_module
import grain
import numpy as np
import pytest

from yue_jax.data.records import (
  ShardWriter,
  decode_song_record,
  decode_windows_record,
  encode_song_record,
  encode_windows_record,
)
from yue_jax.encoding import EncodedSection, EncodedSong


def random_song(seed: int) -> EncodedSong:
  rng = np.random.default_rng(seed)

  def text() -> np.ndarray:
    return rng.integers(0, 90_000, rng.integers(0, 9)).astype(np.int32)

  def track() -> np.ndarray:
    return rng.integers(0, 2**16, 50 + seed).astype(np.uint16)

  sections = tuple(
    EncodedSection(text(), text(), start, start + 7, bool(start % 3))
    for start in range(seed)
  )
  tags = tuple(text() for _ in range(3 - seed))
  tracks = {name: track() for name in ("vocal", "backing", "mixture")}
  return EncodedSong("Lied-№" * seed, text(), tags, sections, tracks)


def assert_equal_songs(one: EncodedSong, other: EncodedSong) -> None:
  assert one.id == other.id
  np.testing.assert_array_equal(one.head, other.head)
  assert one.head.dtype == other.head.dtype
  for tag, same in zip(one.tags, other.tags, strict=True):
    np.testing.assert_array_equal(tag, same)
    assert tag.dtype == same.dtype
  for a, b in zip(one.sections, other.sections, strict=True):
    np.testing.assert_array_equal(a.text, b.text)
    np.testing.assert_array_equal(a.plain_text, b.plain_text)
    assert (a.start, a.end, a.chorus) == (b.start, b.end, b.chorus)
  assert one.tracks.keys() == other.tracks.keys()
  for name in one.tracks:
    np.testing.assert_array_equal(one.tracks[name], other.tracks[name])
    assert one.tracks[name].dtype == other.tracks[name].dtype


@pytest.mark.parametrize("seed", range(5))
def test_song_comes_back(seed):
  song = random_song(seed)
  assert_equal_songs(song, decode_song_record(encode_song_record(song)))


def test_song_without_a_track():
  song = random_song(2)
  del song.tracks["backing"]
  assert_equal_songs(song, decode_song_record(encode_song_record(song)))


@pytest.mark.parametrize("shape", [(1, 8, 25), (3, 8, 300), (2, 4, 1)])
def test_windows_come_back(shape):
  codes = np.random.default_rng(0).integers(0, 2**16, shape).astype(np.uint16)
  read = decode_windows_record(encode_windows_record(codes))
  np.testing.assert_array_equal(read, codes)
  assert read.dtype == np.uint16


def test_other_bytes_are_refused():
  song = encode_song_record(random_song(2))
  windows = encode_windows_record(np.ones((2, 8, 5), np.uint16))
  for whole, decode in (
    (song, decode_song_record),
    (windows, decode_windows_record),
  ):
    for size in range(len(whole)):
      with pytest.raises(ValueError, match="record"):
        decode(whole[:size])
    with pytest.raises(ValueError, match="its header says"):
      decode(whole + b"x")
  with pytest.raises(ValueError, match="expected a song record"):
    decode_song_record(windows + bytes(100))
  with pytest.raises(ValueError, match="expected a run of windows record"):
    decode_windows_record(song)


def write_shard(path, records):
  with ShardWriter(path) as writer:
    for record in records:
      writer.write(record)
    return writer.close()


def test_shard_holds_its_records_in_order(tmp_path):
  records = [bytes([i]) * i for i in range(1, 30)]
  shard = write_shard(tmp_path / "a", records)
  source = grain.sources.ArrayRecordDataSource([str(tmp_path / "a")])
  assert shard.records == len(records)
  assert [source[i] for i in range(len(source))] == records


def test_shards_are_fit_for_random_access(tmp_path):
  write_shard(tmp_path / "a", [b"a", b"b"])
  reader = array_record_module.ArrayRecordReader(str(tmp_path / "a"))
  options = reader.writer_options_string().split(",")
  assert {"group_size:1", "uncompressed"} <= set(options)


def test_checksum_is_of_the_records(tmp_path):
  sums = {
    write_shard(tmp_path / str(number), records).sha256
    for number, records in enumerate(
      [[b"ab", b"c"], [b"ab", b"c"], [b"a", b"bc"], [b"c", b"ab"], [b"ab"]]
    )
  }
  assert len(sums) == 4
