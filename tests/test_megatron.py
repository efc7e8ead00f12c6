"""Megatron's documents are read as those that were written."""

import json
import pathlib

import numpy as np
import pytest

from tests.songs_on_disk import prepared
from yue_jax.data.dataset import open_dataset
from yue_jax.data.megatron.meaning import describe, description_path
from yue_jax.data.megatron.sequences import song_sequences, track_sequences
from yue_jax.data.megatron.source import (
  KINDS,
  make_megatron_source,
  megatron_ids,
)
from yue_jax.data.megatron.writer import write_megatron
from yue_jax.data.samples import PlannedSamples
from yue_jax.data.sources.make import make_source
from yue_jax.vocab import RELEASED, Stream, Vocab


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  return open_dataset(prepared(tmp_path_factory.mktemp("songs"), 7))


@pytest.fixture
def write(dataset, tmp_path):
  """write(documents, meaning=True) -> prefix."""

  def write_documents(documents, meaning=True) -> pathlib.Path:
    if meaning:
      description_path(tmp_path / "a").write_text(describe(dataset))
    write_megatron(tmp_path / "a", documents)
    return tmp_path / "a"

  return write_documents


def read_whole(source, number, epoch=0):
  length = int(source.lengths(epoch)[number])
  [part] = source.read(epoch, number, start=0, length=length)
  assert (part.start, part.length) == (0, length) == (0, len(part.ids))
  return part


@pytest.mark.parametrize("kind", ["plain", "cot", "icl"])
def test_documents_of_songs(dataset, write, kind):
  prefix = write(song_sequences(dataset, kind, epoch=2, seed=0)[1])
  ours = make_source(dataset, kind, seed=0)
  theirs = make_megatron_source(prefix, "megatron_dual", vocab=dataset.vocab)
  assert len(theirs) == len(ours) == 7
  assert theirs.eod == dataset.vocab.eod
  np.testing.assert_array_equal(theirs.lengths(0), ours.lengths(2))
  np.testing.assert_array_equal(theirs.lengths(5), ours.lengths(2))
  for number in range(len(ours)):
    expected = read_whole(ours, number, epoch=2)
    found = read_whole(theirs, number)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.streams, expected.streams)
    assert (found.ids.dtype, found.streams.dtype) == (np.int32, np.uint8)
    [part] = theirs.read(0, number, start=3, length=4)
    assert (part.start, part.length) == (3, 4)
    np.testing.assert_array_equal(part.ids, expected.ids[3:8])
    np.testing.assert_array_equal(part.streams, expected.streams[3:8])


@pytest.mark.parametrize("packing", ["best_fit", "split"])
def test_samples_are_those_of_the_songs(dataset, write, packing):
  """The plan depends on lengths only, so even the order is the same."""
  prefix = write(song_sequences(dataset, "cot", epoch=0, seed=0)[1])
  theirs = make_megatron_source(prefix, "megatron_dual", vocab=dataset.vocab)
  ours = make_source(dataset, "cot", seed=0)
  settings = {"context": 32, "seed": 4, "packing": packing}
  theirs, ours = (PlannedSamples(s, **settings) for s in (theirs, ours))
  assert len(theirs) == len(ours) > 1
  for number in range(len(ours)):
    expected = ours.sample(number)
    for name, values in theirs.sample(number).items():
      np.testing.assert_array_equal(values, expected[name], err_msg=name)


def gpt_dataset(documents, context):
  """Inputs and labels of Megatron's GPTDataset, in the order of documents.

  A sample is context + 1 tokens of the row of documents, the last of which is
  the first of the next sample; what is left over at the end is not read.
  """
  row = np.concatenate(documents)
  samples = (len(row) - 1) // context
  cut = [row[i * context : (i + 1) * context + 1] for i in range(samples)]
  return [(sample[:-1], sample[1:]) for sample in cut]


@pytest.mark.parametrize("context", [8, 10, 25])
def test_split_samples_are_those_of_megatron(dataset, write, context):
  rng = np.random.default_rng(context)
  ids = iter(range(1, dataset.vocab.text_size))  # every id occurs once
  lengths = rng.integers(1, 20, 12)
  documents = [[next(ids) for _ in range(length)] for length in lengths]
  prefix = write([[document] for document in documents])
  samples = PlannedSamples(
    make_megatron_source(prefix, "megatron_dual", vocab=dataset.vocab),
    context=context,
    seed=0,
    packing="split",
    attend_across_documents=True,
  )
  plan = samples.plan(0)
  order = plan.documents  # drawn; Megatron gets the same
  expected = gpt_dataset([documents[number] for number in order], context)
  found = sorted(
    (samples.sample(number) for number in range(len(samples))),
    key=lambda sample: np.flatnonzero(
      np.concatenate([documents[n] for n in order]) == sample["inputs"][0]
    )[0],
  )
  assert len(found) - len(expected) in (0, 1)  # the rest, padded here
  assert not np.all(np.cumsum(lengths[order]) % context)  # one ends a sample
  for number, (inputs, labels) in enumerate(expected):
    np.testing.assert_array_equal(found[number]["inputs"], inputs)
    np.testing.assert_array_equal(found[number]["targets"], labels)
    assert (found[number]["segments"] == 1).all()
    np.testing.assert_array_equal(
      found[number]["positions"], np.arange(context)
    )
  assert sorted(order) == list(range(12))


def test_documents_longer_than_a_sample_are_counted(dataset, write):
  prefix = write([[[1] * length] for length in (5, 6, 13)])
  source = make_megatron_source(prefix, "megatron_dual", vocab=dataset.vocab)
  assert source.overlong(0, context=4) == (2, 3)


def test_documents_of_windows(dataset, write):
  count, documents = track_sequences(dataset)
  prefix = write(documents)
  source = make_megatron_source(prefix, "megatron_window", vocab=dataset.vocab)
  assert len(source) == count
  for number in range(count):
    streams = read_whole(source, number).streams
    counts = np.bincount(streams, minlength=16)
    windows = len(streams) // (4 + 10 * 9)
    books = counts[Stream.CODEBOOK_0 : Stream.CODEBOOK_7 + 1]
    assert counts[Stream.MIXTURE] == 10 * windows
    assert books.tolist() == [10 * windows] * 8
    assert counts[Stream.MARK] == 4 * windows + 1


@pytest.mark.parametrize("track", ["mixture", "vocal", "backing"])
def test_single_tracks(dataset, write, track):
  vocab = dataset.vocab
  sound = [vocab.soa, vocab.xcodec, *vocab.codebook(0)[:3], vocab.eoa]
  prefix = write([[[7, *sound, vocab.eod]]])
  source = make_megatron_source(prefix, f"megatron_{track}", vocab=vocab)
  streams = read_whole(source, 0).streams.tolist()
  assert streams == [1, 2, 2, *[Stream[track.upper()]] * 3, 2, 2]


def test_members_and_empty_documents(dataset, write):
  prefix = write([[[1, 2]], [], [[3], [4, 5]], [[6]], [[]]])
  make = make_megatron_source
  options = {"kind": "megatron_dual", "vocab": dataset.vocab}
  assert make(prefix, **options).lengths(0).tolist() == [2, 3, 1]
  some = make(prefix, **options, members=np.array([1, 2, 3]))
  assert some.lengths(0).tolist() == [3, 1]
  assert read_whole(some, 0).ids.tolist() == [3, 4, 5]
  assert len(make(prefix, **options, members=np.zeros(0, int))) == 0
  for members in ([2, 1], [0, 0], [-1], [0, 5]):
    with pytest.raises(ValueError, match="expected ascending numbers of the 5"):
      make(prefix, **options, members=np.array(members))


def test_fingerprint(dataset, write, tmp_path):
  prefix = write([[[1, 2]], [[3]], [[4]]])
  make = make_megatron_source
  options = {"kind": "megatron_dual", "vocab": dataset.vocab}
  every = np.arange(3)
  assert (
    make(prefix, **options).fingerprint
    == make(prefix, **options, members=every).fingerprint
  )
  different = [
    make(prefix, **options),
    make(prefix, **options, members=every[1:]),
    make(prefix, **options | {"kind": "megatron_vocal"}),
  ]
  pathlib.Path(f"{prefix}.bin").write_bytes(np.int32([1, 2, 3, 5]).tobytes())
  different.append(make(prefix, **options))
  path = description_path(prefix)
  description = json.loads(path.read_text())
  description["phrases"]["segment_end"] = [1]
  path.write_text(json.dumps(description))
  different.append(make(prefix, **options))
  assert len({source.fingerprint for source in different}) == 5


def test_errors_name_document_and_token(dataset, write):
  documents = [[[1, 2]] for _ in range(40)]
  documents[39] = [[1], [2, dataset.vocab.size]]
  prefix = write(documents)
  make = make_megatron_source
  options = {"kind": "megatron_dual", "vocab": dataset.vocab}
  message = f"{prefix}, document 39, token 2: id {dataset.vocab.size} is not"
  with pytest.raises(ValueError, match=message):
    make(prefix, **options)
  last = make(prefix, **options, members=np.arange(39))
  assert len(last) == 39
  with pytest.raises(ValueError, match="document 39, token 2"):
    make(prefix, **options, members=np.array([39]))
  with pytest.raises(ValueError, match=r"'cot'; there are \('megatron_dual'"):
    make(prefix, "cot", vocab=dataset.vocab)


def test_the_vocabulary_has_to_fit(dataset, write):
  prefix = write([[[1, 2]]])
  with pytest.raises(ValueError, match=r"as .*a\.json says"):
    make_megatron_source(prefix, "megatron_dual", vocab=Vocab.small(40))
  description_path(prefix).unlink()
  with pytest.raises(ValueError, match="taken for the released"):
    make_megatron_source(prefix, "megatron_dual", vocab=dataset.vocab)
  assert len(make_megatron_source(prefix, "megatron_dual", vocab=RELEASED)) == 1


def test_ids_are_hashes_of_numbers(write, tmp_path):
  ids = megatron_ids(write([[[1]], [], [[2]]]))
  assert ids.dtype == np.uint64
  assert len(set(ids.tolist())) == 3
  write_megatron(tmp_path / "b", [[[3]]] * 2)
  np.testing.assert_array_equal(megatron_ids(tmp_path / "b"), ids[:2])


def test_kinds():
  sounds = ("dual", "mixture", "vocal", "backing", "window")
  assert tuple(f"megatron_{sound}" for sound in sounds) == KINDS


def test_released_documents(reference):
  """Each document of the released files, with the streams that add up."""
  prefix = reference / "songs" / "golden" / "megatron_stage1_cot"
  source = make_megatron_source(prefix, "megatron_dual", vocab=RELEASED)
  for number, sections in enumerate([4, 7, 2, 1, 8, 4]):
    counts = np.bincount(read_whole(source, number).streams, minlength=16)
    assert counts[Stream.VOCAL] == counts[Stream.BACKING] > 0
    # 7 ids for either phrase, <SOA> <xcodec> <EOA>, and the <EOD>; song 4
    # names a special token in its tags.
    marks = sections * (2 * 7 + 3) + 1 + (number == 4)
    assert counts[Stream.MARK] == marks
    assert counts[Stream.RESTATED] > 0
