"""Samples hold whole documents, every target once, and nothing leaks."""

import numpy as np
import pytest

from tests.songs_on_disk import WINDOW, prepared
from yue_jax.data import samples as samples_module
from yue_jax.data.dataset import open_dataset
from yue_jax.data.samples import FIELDS, PlannedSamples, empty_sample
from yue_jax.data.sources import KINDS, Part, make_source, open_source
from yue_jax.documents import Document
from yue_jax.vocab import Vocab

CONTEXT = 256


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  return prepared(tmp_path_factory.mktemp("samples"), 30)


def open_samples(directory, kind="cot", **changes):
  fields = {"context": CONTEXT, "seed": 0} | changes
  vocab = open_dataset(directory).vocab
  source = open_source(directory, kind, seed=fields["seed"], vocab=vocab)
  return PlannedSamples(source, **fields)


def part(*ids, start=0, stop=None):
  values = np.array(ids, np.int32)
  document = Document(values, (values // 10).astype(np.uint8))
  return Part(document, start, len(ids) if stop is None else stop)


def as_lists(sample):
  assert {name: values.dtype for name, values in sample.items()} == FIELDS
  return {name: values.tolist() for name, values in sample.items()}


def test_example():
  parts = [part(41, 42, 43, 44), part(51, 52, 53)]
  assert as_lists(samples_module._join_apart(parts, 8)) == {
    "inputs": [41, 42, 43, 44, 51, 52, 53, 0],
    "targets": [42, 43, 44, 0, 52, 53, 0, 0],
    "streams": [4, 4, 4, 0, 5, 5, 0, 0],
    "segments": [1, 1, 1, 1, 2, 2, 2, 0],
    "positions": [0, 1, 2, 3, 0, 1, 2, 0],
  }


def test_example_of_running_on():
  parts = [part(41, 42, 43, 44), part(51, 52, 53)]
  assert as_lists(samples_module._join_running_on(parts, 8)) == {
    "inputs": [41, 42, 43, 44, 51, 52, 53, 0],
    "targets": [42, 43, 44, 51, 52, 53, 0, 0],
    "streams": [4, 4, 4, 5, 5, 5, 0, 0],
    "segments": [1, 1, 1, 1, 1, 1, 1, 0],
    "positions": [0, 1, 2, 3, 4, 5, 6, 0],
  }


def test_example_of_a_cut_document():
  """The piece knows the token after it, and where it is in the document."""
  piece = part(11, 12, 13, 24, 35, start=1, stop=4)
  assert as_lists(samples_module._join_apart([piece], 4)) == {
    "inputs": [12, 13, 24, 0],
    "targets": [13, 24, 35, 0],
    "streams": [1, 2, 3, 0],
    "segments": [1, 1, 1, 0],
    "positions": [1, 2, 3, 0],
  }


def targets_of(sample):
  """(input, target, position) wherever there is a target."""
  has = sample["streams"] > 0
  names = ("inputs", "targets", "positions")
  return zip(*(sample[name][has].tolist() for name in names), strict=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", [100, 333])
def test_every_target_once_per_epoch(directory, kind, context):
  samples = open_samples(directory, kind, context=context)
  source = make_source(open_dataset(directory), kind, seed=0)
  number = 0
  for epoch in range(2):
    expected, found = [], []
    for document, length in enumerate(source.lengths(epoch)):
      for whole in source.read(epoch, document, start=0, length=int(length)):
        ids = whole.document.ids.tolist()
        expected += zip(ids[:-1], ids[1:], range(len(ids) - 1), strict=True)
    for _ in range(len(samples.plan(epoch))):
      found += targets_of(samples.sample(number))
      number += 1
    assert sorted(found) == sorted(expected)
  assert samples.locate(number) == (2, 0)


@pytest.mark.parametrize("kind", ["cot", "window"])
def test_documents_are_segments_with_their_own_positions(directory, kind):
  samples = open_samples(directory, kind)
  for number in range(len(samples)):
    sample = samples.sample(number)
    used = int(np.sum(sample["segments"] > 0))
    segments, positions = sample["segments"][:used], sample["positions"][:used]
    begins = np.diff(segments, prepend=0)
    assert set(begins.tolist()) <= {0, 1}
    # A document that was cut goes on from where it was cut.
    goes_on = positions[begins == 1] % CONTEXT == 0
    assert goes_on.all()
    assert np.all(np.diff(positions)[begins[1:] == 0] == 1)
    for name in FIELDS:
      assert not sample[name][used:].any()


@pytest.mark.parametrize("kind", ["plain", "window", "icl"])
def test_running_on_changes_what_is_seen_not_what_is_there(directory, kind):
  apart = open_samples(directory, kind, context=500)
  running = open_samples(
    directory, kind, context=500, attend_across_documents=True
  )
  joints = 0
  for number in range(len(apart)):
    one, other = apart.sample(number), running.sample(number)
    used = int(np.sum(one["segments"] > 0))
    np.testing.assert_array_equal(one["inputs"], other["inputs"])
    np.testing.assert_array_equal(other["segments"], np.arange(500) < used)
    np.testing.assert_array_equal(other["positions"][:used], np.arange(used))
    has = one["streams"] > 0
    for name in ("targets", "streams"):
      np.testing.assert_array_equal(one[name][has], other[name][has])
    np.testing.assert_array_equal(
      other["targets"][: used - 1], other["inputs"][1:used]
    )
    assert np.all(other["streams"][: used - 1] > 0)
    joints += int(np.sum(other["streams"] > 0) - np.sum(has))
  assert joints > 0


def test_samples_depend_on_seed_and_number_only(directory):
  one, same, other = (open_samples(directory, seed=seed) for seed in (3, 3, 4))
  numbers = [5, 0, len(one) + 2, 3 * len(one)]
  for number in numbers[::-1]:
    one.sample(number)  # asking in another order
  equal = [
    np.array_equal(one.sample(n)["inputs"], other.sample(n)["inputs"])
    for n in range(20)
  ]
  assert sum(equal) < 10
  for number in numbers:
    for name in FIELDS:
      np.testing.assert_array_equal(
        one.sample(number)[name], same.sample(number)[name]
      )


def test_epochs_follow_each_other_though_their_sizes_vary(directory):
  samples = open_samples(directory, "icl", context=500)
  sizes = [len(samples.plan(epoch)) for epoch in range(12)]
  assert len(set(sizes)) > 1
  expected = [(e, n) for e, size in enumerate(sizes) for n in range(size)]
  jump = open_samples(directory, "icl", context=500)
  assert jump.locate(len(expected) - 1) == expected[-1]
  assert [samples.locate(n) for n in range(len(expected))] == expected
  assert len(samples) == sizes[0]


def test_few_plans_are_kept(directory):
  samples = open_samples(directory)
  for epoch in (0, 1, 2, 3, 2, 0):
    samples.plan(epoch)
  assert len(samples._plans) <= 2


def test_an_empty_sample_is_padding():
  assert as_lists(empty_sample(3)) == {name: [0, 0, 0] for name in FIELDS}


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"context": 1}, "context=1 is too small, expected 2 or more"),
    ({"kind": "window", "context": 93}, "takes 94 tokens; enlarge"),
    ({"kind": "song"}, "no documents of kind 'song'; there are"),
  ],
)
def test_bad_settings_are_named(directory, changes, message):
  assert WINDOW == 10  # 4 + 10 * 9 = 94
  with pytest.raises(ValueError, match=message):
    open_samples(directory, **changes)


def test_vocabulary_of_another_model_is_refused(directory):
  with pytest.raises(ValueError, match="is not that of the data set"):
    open_source(directory, "cot", seed=0, vocab=Vocab())


def test_no_windows_is_an_error_for_windows_only(tmp_path):
  directory = prepared(tmp_path, 2, window=1000)
  open_samples(directory, "cot")
  with pytest.raises(ValueError, match="has no documents of kind 'window'"):
    open_samples(directory, "window", context=10_000)


def test_fingerprints_tell_what_is_read(directory):
  plain = open_samples(directory)
  assert open_samples(directory).fingerprint == plain.fingerprint
  others = [
    open_samples(directory, **change).fingerprint
    for change in (
      {"seed": 1},
      {"context": 64},
      {"kind": "plain"},
      {"kind": "icl"},
      {"first_epoch": 1},
      {"attend_across_documents": True},
    )
  ]
  assert len({plain.fingerprint, *others}) == 7


def test_epochs_may_begin_later(directory):
  whole = open_samples(directory, kind="icl")
  later = open_samples(directory, kind="icl", first_epoch=1)
  for number in range(3):
    expected = whole.sample(len(whole) + number)
    for name, values in later.sample(number).items():
      np.testing.assert_array_equal(values, expected[name])
  assert later.locate(0) == whole.locate(len(whole)) == (1, 0)
