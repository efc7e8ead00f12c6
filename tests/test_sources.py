"""Lengths from the index are those of the documents that are read."""

import numpy as np
import pytest

from tests.songs_on_disk import (
  WINDOW,
  prepared,
  small_recipe,
  small_tokenizer,
  write_manifest,
  write_song,
)
from yue_jax.data.dataset import open_dataset
from yue_jax.data.prepare import prepare
from yue_jax.data.sources import KINDS, REFERENCE_MODES, make_source
from yue_jax.references import MODE_TRACKS
from yue_jax.vocab import Stream


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  root = tmp_path_factory.mktemp("sources")
  return open_dataset(prepared(root, 12, windows_per_record=3))


def read_whole(source, epoch, number):
  length = int(source.lengths(epoch)[number])
  return source.read(epoch, number, start=0, length=length)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epoch", [0, 5])
def test_lengths_are_those_of_the_documents(dataset, kind, epoch):
  source = make_source(dataset, kind, seed=1)
  lengths = source.lengths(epoch)
  assert lengths.shape == (len(source),)
  for number, length in enumerate(lengths):
    parts = read_whole(source, epoch, number)
    assert sum(part.stop - part.start for part in parts) == length
    assert sum(len(part.document) for part in parts) == length


@pytest.mark.parametrize("kind", KINDS)
def test_only_references_vary(dataset, kind):
  source = make_source(dataset, kind, seed=1)
  same = np.array_equal(source.lengths(0), source.lengths(1))
  assert source.varies == (kind in REFERENCE_MODES)
  # In songs this short a clip is half the song: only its tracks can vary.
  assert same == (kind != "icl")
  documents = [read_whole(source, e, 3)[0].document.ids for e in range(9)]
  equal = [np.array_equal(documents[0], other) for other in documents]
  assert all(equal) == (not source.varies)


def test_clips_of_long_songs_differ_in_length(tmp_path):
  rows = [write_song(tmp_path, f"l{i}", seed=i, longer=200) for i in range(3)]
  recipe = small_recipe(small_tokenizer(tmp_path / "tokenizer.model"))
  prepare(write_manifest(tmp_path, rows), tmp_path / "out", recipe=recipe)
  source = make_source(open_dataset(tmp_path / "out"), "icl_vocal", seed=0)
  lengths = [source.lengths(epoch).tolist() for epoch in range(4)]
  assert len({tuple(epoch) for epoch in lengths}) == 4
  for epoch, expected in enumerate(lengths):
    for number, length in enumerate(expected):
      [whole] = read_whole(source, epoch, number)
      assert len(whole.document) == length
      assert 1000 <= clip_of(whole.document) <= 2000  # 20 to 40 s


def clip_of(document) -> int:
  return int(np.sum(document.streams == Stream.REFERENCE))


@pytest.mark.parametrize("kind", list(REFERENCE_MODES)[1:])
def test_references_have_the_tracks_of_their_kind(dataset, kind):
  source = make_source(dataset, kind, seed=1)
  [mode] = REFERENCE_MODES[kind]
  index, offsets = dataset.index, dataset.section_offsets
  for number in range(len(source)):
    [part] = read_whole(source, 0, number)
    span = int(index["section_end"][offsets[number + 1] - 1])
    tracks = len(MODE_TRACKS[mode])
    assert clip_of(part.document) == max(span // 2, 1) * tracks


def test_modes_are_drawn_by_seed_epoch_and_song(dataset):
  """Half the draws of a dual clip double it; they differ in all three."""
  one, other = (make_source(dataset, "icl", seed=seed) for seed in (0, 1))
  base = make_source(dataset, "icl_vocal", seed=0)
  dual = np.array([one.lengths(e) > base.lengths(e) for e in range(40)])
  assert 0.1 < dual.mean() < 0.4  # one mode of four is dual
  assert all(0 < column.sum() < 40 for column in dual.T)
  assert not np.array_equal(one.lengths(0), other.lengths(0))


def test_windows_are_never_cut(dataset):
  source = make_source(dataset, "window", seed=0)
  size = 4 + 9 * WINDOW
  assert source.cut_at(2 * size + 5) == 2 * size
  [run] = np.flatnonzero(source.lengths(0) == 3 * size)[:1]
  whole = read_whole(source, 0, run)
  assert [len(part.document) for part in whole] == [size] * 3
  [last] = source.read(0, run, start=2 * size, length=size)
  np.testing.assert_array_equal(last.document.ids, whole[2].document.ids)
  with pytest.raises(ValueError, match=f"context={size - 1} is too small"):
    source.cut_at(size - 1)


def test_windows_name_their_track(dataset):
  source = make_source(dataset, "window", seed=0)
  streams = {
    int(read_whole(source, 0, run)[0].document.streams[2])
    for run in range(len(source))
  }
  assert streams == {Stream.VOCAL, Stream.BACKING, Stream.MIXTURE}


def test_unknown_kind_is_named(dataset):
  with pytest.raises(ValueError, match=r"'cots'; there are \('plain', 'cot'"):
    make_source(dataset, "cots", seed=0)
