"""Lengths from the columns are those of the documents that are read."""

import itertools

import numpy as np
import pytest

from tests.songs_on_disk import (
  WINDOW,
  WRITERS,
  prepared,
  small_recipe,
  small_tokenizer,
  write_manifest,
  write_song,
)
from yue_jax.data.dataset import open_dataset
from yue_jax.data.preparing.prepare import prepare
from yue_jax.data.records import decode_song_record
from yue_jax.data.sources.kinds import (
  KIND_TRACKS,
  KINDS,
  REFERENCE_MODES,
  SECTION_KINDS,
  eligible,
)
from yue_jax.data.sources.make import make_source, open_source
from yue_jax.references import MODE_TRACKS
from yue_jax.vocab import Stream, Vocab

CONTENTS = {
  kind: "speech" if kind == "speech" else "songs" for kind in KINDS
} | {"tags_dual": "music", "vocal": "music", "mixture": "music"}
DRAWN = {*REFERENCE_MODES, "speech"}  # in length


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
  made = {
    content: open_dataset(
      prepared(tmp_path_factory.mktemp(content), 12, content=content)
    )
    for content in ("songs", "speech", "music")
  }
  return {kind: made[content] for kind, content in CONTENTS.items()}


@pytest.fixture(scope="module")
def dataset(datasets):
  return datasets["cot"]


def read_whole(source, epoch, number):
  length = int(source.lengths(epoch)[number])
  return source.read(epoch, number, start=0, length=length)


def long_songs(folder, *, count=6):
  """Sections of 4 to 10 seconds: clips are not always half the song."""
  rows = [write_song(folder, f"l{i}", seed=i, longer=90) for i in range(count)]
  recipe = small_recipe(small_tokenizer(folder / "tokenizer.model"))
  prepare(write_manifest(folder, rows), folder / "out", recipe=recipe)
  return open_dataset(folder / "out")


@pytest.fixture(scope="module")
def long_dataset(tmp_path_factory):
  return long_songs(tmp_path_factory.mktemp("long"))


def assert_lengths_are_right(source, epochs=4):
  for epoch in range(epochs):
    lengths = source.lengths(epoch)
    assert lengths.shape == (len(source),)
    assert lengths.dtype == np.int32
    for number, length in enumerate(lengths.tolist()):
      parts = source.read(epoch, number, start=0, length=length)
      assert sum(part.length for part in parts) == length
      for ids, streams, start, tokens in parts:
        assert len(ids) == len(streams) == tokens  # there is none after
        assert (ids.dtype, streams.dtype, start) == (np.int32, np.uint8, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_are_those_of_the_documents(datasets, kind):
  assert_lengths_are_right(make_source(datasets[kind], kind, seed=1))


@pytest.mark.parametrize("kind", SECTION_KINDS)
@pytest.mark.parametrize("longest", [40, 100, 10_000])
def test_lengths_of_divided_songs(dataset, kind, longest):
  source = make_source(dataset, kind, seed=1, longest=longest)
  assert_lengths_are_right(source)


@pytest.mark.parametrize("kind", ["cot", *REFERENCE_MODES])
def test_lengths_of_long_songs(long_dataset, kind):
  for longest in (None, 6000):
    source = make_source(long_dataset, kind, seed=1, longest=longest)
    assert_lengths_are_right(source, epochs=2)


@pytest.mark.parametrize("kind", KINDS)
def test_any_piece_is_that_of_the_whole(datasets, kind):
  source = make_source(datasets[kind], kind, seed=1)
  unit = source.unit
  for number in range(0, len(source), 3):
    whole = read_whole(source, 2, number)
    ids = np.concatenate([part.ids for part in whole])
    pieces = len(ids) // unit
    for start, stop in itertools.combinations(
      sorted({0, pieces // 3, pieces // 2, pieces}), 2
    ):
      start, length = start * unit, (stop - start) * unit
      parts = source.read(2, number, start=start, length=length)
      if unit > 1:
        found = np.concatenate([part.ids for part in parts])
        np.testing.assert_array_equal(found, ids[start : start + length])
        continue
      [part] = parts
      assert (part.start, part.length) == (start, length)
      np.testing.assert_array_equal(part.ids, ids[start : start + length + 1])


@pytest.mark.parametrize("kind", KINDS)
def test_only_clips_and_instructions_vary(datasets, kind):
  source = make_source(datasets[kind], kind, seed=1)
  lengths = [source.lengths(epoch).tolist() for epoch in range(4)]
  assert source.varies == (kind in DRAWN)
  # In songs this short a clip is half the song: only its tracks can vary.
  varied = kind in ("icl", "speech")
  assert (lengths.count(lengths[0]) == len(lengths)) == (not varied)
  read = [
    [read_whole(source, epoch, n)[0].ids.tolist() for n in range(len(source))]
    for epoch in range(9)
  ]
  # Songs on disk have one tag, music has several.
  drawn = source.varies or kind == "tags_dual"
  assert (read.count(read[0]) == len(read)) == (not drawn)


def test_clips_of_long_songs_differ_in_length(long_dataset):
  source = make_source(long_dataset, "icl_vocal", seed=0)
  clips = {
    clip_of(read_whole(source, epoch, number)[0])
    for epoch in range(3)
    for number in range(len(source))
  }
  assert all(1000 <= clip <= 2000 for clip in clips)  # 20 to 40 s
  assert len(clips) > 6


def clip_of(part) -> int:
  return int(np.sum(part.streams == Stream.REFERENCE))


@pytest.mark.parametrize("kind", list(REFERENCE_MODES)[1:])
def test_references_have_the_tracks_of_their_kind(dataset, kind):
  source = make_source(dataset, kind, seed=1)
  [mode] = REFERENCE_MODES[kind]
  for number in range(len(source)):
    [part] = read_whole(source, 0, number)
    span = int(dataset.index["span"][number])
    tracks = len(MODE_TRACKS[mode])
    assert clip_of(part) == max(span // 2, 1) * tracks


def test_modes_are_drawn_by_seed_epoch_and_song(dataset):
  """Half the draws of a dual clip double it; they differ in all three."""
  one, other = (make_source(dataset, "icl", seed=seed) for seed in (0, 1))
  base = make_source(dataset, "icl_vocal", seed=0)
  dual = np.array([one.lengths(e) > base.lengths(e) for e in range(40)])
  assert 0.1 < dual.mean() < 0.4  # one mode of four is dual
  assert all(0 < column.sum() < 40 for column in dual.T)
  assert not np.array_equal(one.lengths(0), other.lengths(0))


def test_half_of_speech_has_its_instruction(datasets):
  source = make_source(datasets["speech"], "speech", seed=0)
  index = datasets["speech"].index
  short = index["text"] + index["frames"] + 3
  more = index["plain_text"] - index["text"]
  instructed = []
  for epoch in range(40):
    extra = source.lengths(epoch) - short.astype(np.int64)
    assert np.all((extra == 0) | (extra == more))
    instructed.append(extra > 0)
  assert 0.4 < np.mean(instructed) < 0.6
  assert all(0 < column.sum() < 40 for column in np.transpose(instructed))


@pytest.mark.parametrize("kind", ["tags_mixture", "tags_dual"])
def test_tags_are_all_there_in_many_orders(datasets, kind):
  source = make_source(datasets["tags_dual"], kind, seed=0)
  dataset = datasets["tags_dual"]
  phrase = len(getattr(dataset.phrases, kind.replace("mixture", "single")))
  song = decode_song_record(dataset.songs[0])
  number = 0
  while len(song.tags) < 3:
    number += 1
    song = decode_song_record(dataset.songs[number])
  tags = int(dataset.index["tags"][number])
  found = set()
  for epoch in range(30):
    [part] = read_whole(source, epoch, number)
    found.add(tuple(part.ids[phrase : phrase + tags].tolist()))
  orders = {
    tuple(np.concatenate(order).tolist())
    for order in itertools.permutations(song.tags)
  }
  assert found == orders


def test_divided_songs_are_whole_sections(dataset):
  """Every section once; each document with the head, one EOD a song."""
  divided = make_source(dataset, "cot", seed=0, longest=100)
  whole = make_source(dataset, "cot", seed=0)
  assert len(divided) > len(whole) == 12
  index = dataset.index
  sections = ends = 0
  for number in range(len(divided)):
    [part] = read_whole(divided, 0, number)
    head = decode_song_record(dataset.songs[ends]).head
    np.testing.assert_array_equal(part.ids[: len(head)], head)
    sections += int(np.sum(part.ids == dataset.vocab.xcodec))
    eods = np.flatnonzero(part.ids == dataset.vocab.eod)
    assert set(eods) <= {part.length - 1}
    ends += len(eods)
  assert ends == 12
  assert sections == index["section_count"].sum()
  lengths = divided.lengths(0)
  assert divided.overlong(0, 100)[0] == np.sum(whole.lengths(0) > 101)
  cut = divided.overlong(0, 100)[1]
  assert cut == np.sum(np.maximum(lengths - 2, 0) // 100)
  fitting = make_source(dataset, "cot", seed=0, longest=10_000)
  np.testing.assert_array_equal(fitting.lengths(0), whole.lengths(0))
  assert fitting.overlong(0, 10_000) == (0, 0)


def test_a_part_is_too_long_only_if_its_section_is(long_dataset):
  for kind in SECTION_KINDS:
    source = make_source(long_dataset, kind, seed=0, longest=6000)
    for epoch in range(2):
      for number, length in enumerate(source.lengths(epoch).tolist()):
        if length > 6000:
          parts = source.read(epoch, number, start=0, length=length)
          xcodec = int(np.sum(parts[0].ids == long_dataset.vocab.xcodec))
          assert xcodec == 1 + (kind in REFERENCE_MODES)


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_a_part_of_the_songs(datasets, kind):
  """A song is the same document whoever else is used."""
  dataset = datasets[kind]
  songs = np.flatnonzero(eligible(dataset, kind))
  members = songs[1::3]
  every = make_source(dataset, kind, seed=4)
  some = make_source(dataset, kind, seed=4, members=members)
  assert some.fingerprint != every.fingerprint
  places = np.flatnonzero(np.isin(songs, members))
  if kind == "window":
    places = np.flatnonzero(np.isin(dataset.index["run_song"], members))
  assert len(some) == len(places) < len(every)
  for epoch in range(2):
    np.testing.assert_array_equal(
      some.lengths(epoch), every.lengths(epoch)[places]
    )
    for number, place in enumerate(places.tolist()):
      [one, *_], [other, *_] = (
        read_whole(source, epoch, n)
        for source, n in ((some, number), (every, place))
      )
      np.testing.assert_array_equal(one.ids, other.ids)


def test_fingerprints_differ_by_what_documents_depend_on(dataset):
  members = np.arange(11)
  sources = [
    make_source(dataset, "icl", seed=0),
    make_source(dataset, "icl_dual", seed=0),
    make_source(dataset, "icl", seed=1),
    make_source(dataset, "icl", seed=0, longest=500),
    make_source(dataset, "icl", seed=0, members=members),
  ]
  assert len({source.fingerprint for source in sources}) == len(sources)
  again = make_source(dataset, "icl", seed=0, members=np.arange(12))
  assert again.fingerprint == sources[0].fingerprint


def test_who_is_eligible(datasets, tmp_path):
  rows = [
    write_song(tmp_path, "whole", seed=0),
    write_song(tmp_path, "no lyrics", seed=1, splitted_lyrics={}),
  ]
  recipe = small_recipe(small_tokenizer(tmp_path / "tokenizer.model"))
  prepare(write_manifest(tmp_path, rows), tmp_path / "out", recipe=recipe)
  dataset = open_dataset(tmp_path / "out")
  for kind in KINDS:
    expected = [kind != "speech", kind == "window"]
    assert eligible(dataset, kind).tolist() == expected
  for content, written in {
    "music": {"tags_mixture", "tags_dual", "dual", "mixture"},
    "speech": {"speech", "mixture"},
  }.items():
    data = datasets["tags_dual" if content == "music" else "speech"]
    for kind in written:
      assert eligible(data, kind).all()
    for kind in ("plain", "cot_mixture", "icl"):
      assert not eligible(data, kind).any()


def test_music_with_some_tracks_or_no_tags(tmp_path):
  write = WRITERS["music"]
  rows = [
    write(tmp_path, "v", seed=0, tracks=["vocal"]),
    write(tmp_path, "m", seed=1, tracks=["mixture"], genres=""),
    write(tmp_path, "vb", seed=2, tracks=["vocal", "backing"]),
  ]
  tokenizer = small_tokenizer(tmp_path / "tokenizer.model")
  recipe = small_recipe(tokenizer, content="music")
  prepare(write_manifest(tmp_path, rows), tmp_path / "out", recipe=recipe)
  dataset = open_dataset(tmp_path / "out")
  songs = {
    kind: np.flatnonzero(eligible(dataset, kind)).tolist()
    for kind in ("vocal", "backing", "dual", "mixture", "tags_mixture",
                 "tags_dual", "window")
  }  # fmt: skip
  assert songs == {
    "vocal": [0, 2],
    "backing": [2],
    "dual": [2],
    "mixture": [1],
    "tags_mixture": [],
    "tags_dual": [2],
    "window": [0, 1, 2],
  }
  for kind in ("vocal", "backing", "mixture"):
    source = make_source(dataset, kind, seed=0)
    assert_lengths_are_right(source, epochs=1)
    [part] = read_whole(source, 0, 0)
    [stream] = {Stream[t.upper()] for t in KIND_TRACKS[kind]}
    assert set(part.streams) == {Stream.MARK, stream}


def test_windows_are_read_whole(dataset):
  source = make_source(dataset, "window", seed=0)
  size = 4 + 9 * WINDOW
  assert source.unit == size
  [run, *_] = np.flatnonzero(source.lengths(0) == 2 * size)
  whole = read_whole(source, 0, run)
  assert [part.length for part in whole] == [size] * 2
  assert [part.start for part in whole] == [0, 0]
  [last] = source.read(0, run, start=size, length=size)
  np.testing.assert_array_equal(last.ids, whole[1].ids)
  assert source.overlong(0, 100) == (0, 0)


def test_windows_name_their_track(dataset):
  source = make_source(dataset, "window", seed=0)
  streams = {
    int(read_whole(source, 0, run)[0].streams[2]) for run in range(len(source))
  }
  assert streams == {Stream.VOCAL, Stream.BACKING, Stream.MIXTURE}


def test_large_data_sets_are_counted_in_blocks(dataset, monkeypatch):
  for kind, longest in (("cot", 100), ("icl", None), ("icl", 200)):
    whole = make_source(dataset, kind, seed=0, longest=longest)
    monkeypatch.setattr("yue_jax.data.sources.songs._ROWS", 5)
    blocks = make_source(dataset, kind, seed=0, longest=longest)
    np.testing.assert_array_equal(blocks.lengths(3), whole.lengths(3))
    assert blocks.overlong(1, 60) == whole.overlong(1, 60)
    monkeypatch.undo()


@pytest.mark.parametrize(
  ("kind", "changes", "message"),
  [
    ("cots", {}, r"'cots'; there are \('plain', 'cot'"),
    ("prefix", {"longest": 100}, "'prefix' cannot be divided by section"),
    ("window", {"longest": 100}, "'window' cannot be divided by section"),
    ("cot", {"longest": 0}, "longest=0, expected 1 or more"),
    ("cot", {"members": np.array([2, 1])}, "expected ascending numbers below"),
    ("cot", {"members": np.array([0, 12])}, "numbers below 12"),
    ("cot", {"members": np.array([-1, 1])}, "numbers below 12"),
    ("cot", {"members": np.array([0.0, 1.0])}, "numbers below 12"),
    (
      "speech",
      {"members": np.array([3, 4])},
      "2 of 2 members have no",
    ),
  ],
)
def test_bad_arguments_are_named(dataset, kind, changes, message):
  with pytest.raises(ValueError, match=message):
    make_source(dataset, kind, seed=0, **changes)


def test_opening_a_source(dataset):
  opened = open_source(dataset.directory, "cot", seed=0, vocab=dataset.vocab)
  assert len(opened) == 12
  with pytest.raises(ValueError, match=r"'speech'. It was prepared as 'songs'"):
    open_source(dataset.directory, "speech", seed=0, vocab=dataset.vocab)
  with pytest.raises(ValueError, match="is not that of the data set"):
    open_source(dataset.directory, "cot", seed=0, vocab=Vocab())


def test_nobody_is_no_member(dataset):
  nobody = np.zeros(0, np.int64)
  for kind in ("cot", "icl", "window"):
    source = make_source(dataset, kind, seed=0, members=nobody)
    assert len(source) == len(source.lengths(0)) == 0
  empty = make_source(dataset, "cot", seed=0, members=nobody, longest=50)
  assert len(empty.lengths(0)) == 0
