"""Samples hold whole documents, every target once, and nothing leaks."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.songs_on_disk import WINDOW, prepared
from yue_jax.data import samples as samples_module
from yue_jax.data.dataset import open_dataset
from yue_jax.data.samples import FIELDS, PlannedSamples, empty_sample
from yue_jax.data.sources.kinds import KINDS
from yue_jax.data.sources.make import make_source
from yue_jax.data.sources.source import Part
from yue_jax.vocab import Stream

CONTEXT = 256
SETTINGS = [  # kind, packing
  ("cot", "best_fit"),
  ("cot", "split"),
  ("plain", "split"),
  ("icl", "best_fit"),
  ("icl", "split"),
  ("window", "best_fit"),
  ("speech", "best_fit"),
]


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
  return {
    content: prepared(tmp_path_factory.mktemp(content), 30, content=content)
    for content in ("songs", "speech")
  }


@pytest.fixture(scope="module")
def directory(directories):
  return directories["songs"]


def open_samples(directory, kind="cot", *, longest=None, **changes):
  seed = changes.get("seed", 0)
  source = make_source(
    open_dataset(directory), kind, seed=seed, longest=longest
  )
  fields = {"context": CONTEXT, "seed": 0} | changes
  return PlannedSamples(source, **fields)


def open_kind(directories, kind, **changes):
  content = "speech" if kind == "speech" else "songs"
  return open_samples(directories[content], kind, **changes)


def part(*ids, start=0, more=()):
  values = np.array([*ids, *more], np.int32)
  return Part(values, (values // 10).astype(np.uint8), start, len(ids))


def as_lists(sample):
  assert {name: values.dtype for name, values in sample.items()} == FIELDS
  return {name: values.tolist() for name, values in sample.items()}


def assert_same(one, other):
  for name in FIELDS:
    np.testing.assert_array_equal(one[name], other[name])


def test_example():
  parts = [part(41, 42, 43, 44), part(51, 52, 53)]
  assert as_lists(samples_module.join_apart(parts, 8)) == {
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


def test_example_of_a_document_that_begins_the_next_sample():
  parts = [part(41, 42), part(51, 52), part(more=[61])]
  assert as_lists(samples_module._join_running_on(parts, 4)) == {
    "inputs": [41, 42, 51, 52],
    "targets": [42, 51, 52, 61],
    "streams": [4, 5, 5, 6],
    "segments": [1, 1, 1, 1],
    "positions": [0, 1, 2, 3],
  }


def test_example_of_a_cut_document():
  """The piece knows the token after it, and where it is in the document."""
  piece = part(12, 13, 24, start=1, more=[35])
  assert as_lists(samples_module.join_apart([piece], 4)) == {
    "inputs": [12, 13, 24, 0],
    "targets": [13, 24, 35, 0],
    "streams": [1, 2, 3, 0],
    "segments": [1, 1, 1, 0],
    "positions": [1, 2, 3, 0],
  }


def test_example_of_joined_documents():
  """Each is followed by the next, the last by the end of the document."""
  parts = [part(41, 42, 43, 44), part(51, 52, 53)]
  assert as_lists(samples_module._join_as_one(parts, 8, eod=7)) == {
    "inputs": [41, 42, 43, 44, 51, 52, 53, 0],
    "targets": [42, 43, 44, 51, 52, 53, 7, 0],
    "streams": [4, 4, 4, 5, 5, 5, Stream.MARK, 0],
    "segments": [1, 1, 1, 1, 1, 1, 1, 0],
    "positions": [0, 1, 2, 3, 4, 5, 6, 0],
  }
  cut = part(41, 42, more=[43])
  joined = samples_module._join_as_one([cut], 2, eod=7)
  assert as_lists(joined)["targets"] == [42, 43]


def targets_of(sample):
  """(input, target, position) wherever there is a target."""
  has = sample["streams"] > 0
  names = ("inputs", "targets", "positions")
  return zip(*(sample[name][has].tolist() for name in names), strict=True)


def assert_targets_are_next(sample, rests):
  """But not where the rest of a cut document follows, (used - 1,) bool."""
  used = len(rests) + 1
  targets, streams = (
    sample["targets"][: used - 1],
    sample["streams"][: used - 1],
  )
  following = np.where(rests, 0, sample["inputs"][1:used])
  np.testing.assert_array_equal(targets, following)
  np.testing.assert_array_equal(streams > 0, ~rests)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packing", ["best_fit", "split"])
@pytest.mark.parametrize("context", [100, 333])
def test_every_target_once_per_epoch(directories, kind, packing, context):
  if kind == "speech":
    return  # of another form: see below
  samples = open_kind(directories, kind, context=context, packing=packing)
  source = samples.source
  number = 0
  for epoch in range(2):
    expected, found = [], []
    for document, length in enumerate(source.lengths(epoch).tolist()):
      for whole in source.read(epoch, document, start=0, length=length):
        ids = whole.ids.tolist()
        expected += zip(ids[:-1], ids[1:], range(len(ids) - 1), strict=True)
    for _ in range(samples.samples_in(epoch)):
      found += targets_of(samples.sample(number))
      number += 1
    assert sorted(found) == sorted(expected)
  assert samples.locate(number) == (2, 0)


@pytest.mark.parametrize("kind", ["cot", "plain", "icl", "window"])
@pytest.mark.parametrize("packing", ["best_fit", "split"])
@pytest.mark.parametrize("longest", [None, 150])
def test_running_on_every_token_is_a_target_once(
  directory, kind, packing, longest
):
  """But those that nothing stands before: in their sample, or in the row."""
  if kind == "window":
    longest = None
  samples = open_samples(
    directory,
    kind,
    context=150,
    packing=packing,
    longest=longest,
    attend_across_documents=True,
  )
  source = samples.source
  expected, found, firsts = Counter(), Counter(), Counter()
  for document, length in enumerate(source.lengths(0).tolist()):
    for whole in source.read(0, document, start=0, length=length):
      expected.update(whole.ids.tolist())
  for number in range(len(samples)):
    sample = samples.sample(number)
    found.update(sample["targets"][sample["streams"] > 0].tolist())
    first = samples.plan(0).pieces(number)[0]
    if kind == "window":
      begins = True
    elif packing == "split":
      begins = first[:2] == (samples.plan(0).documents[0], 0)
    else:  # the first token of a sample is a target only where it goes on
      begins = first.start == 0
    if begins:
      firsts[int(sample["inputs"][0])] += 1
  assert found + firsts == expected


@pytest.mark.parametrize("kind", ["cot", "plain", "icl", "tags_dual"])
@pytest.mark.parametrize("order", ["random", "length"])
def test_split_samples_continue_each_other(directory, kind, order):
  """Inputs, and the last target of all, are the row of documents."""
  samples = open_samples(
    directory,
    kind,
    context=10,  # so small that many documents end with a sample
    packing="split",
    order=order,
    attend_across_documents=True,
  )
  for epoch in range(2):
    plan, before = (
      samples.plan(epoch),
      sum(map(samples.samples_in, range(epoch))),
    )
    row, streams = _row_of_documents(samples.source, epoch, plan)
    ends_with_one = 0
    for number in range(len(plan)):
      at = plan._first_place(number)
      sample = samples.sample(before + number)
      expected = row[at : at + 11]
      used = min(len(expected), 10)
      np.testing.assert_array_equal(sample["inputs"][:used], expected[:used])
      targets = len(expected) - 1
      np.testing.assert_array_equal(sample["targets"][:targets], expected[1:])
      np.testing.assert_array_equal(
        sample["streams"][:targets], streams[at + 1 : at + 11]
      )
      for name in ("targets", "streams"):
        assert not sample[name][targets:].any()
      ends_with_one += len(plan.following(number))
    assert ends_with_one > 0


def _row_of_documents(source, epoch, plan):
  lengths = source.lengths(epoch)
  documents = [
    part
    for document in plan.documents.tolist()
    for part in source.read(
      epoch, document, start=0, length=int(lengths[document])
    )
  ]
  ids = np.concatenate([part.ids for part in documents])
  return ids, np.concatenate([part.streams for part in documents])


@pytest.mark.parametrize("context", [60, 150, 1000])
@pytest.mark.parametrize("across", [False, True])
def test_speech_is_one_document_a_sample(directories, context, across):
  """Pairs one after the other, every token once, EOD behind the last one."""
  samples = open_kind(
    directories, "speech", context=context, attend_across_documents=across
  )
  source, eod = samples.source, samples.source.eod
  number = 0
  for epoch in range(2):
    expected, found = Counter(), Counter()
    for document, length in enumerate(source.lengths(epoch).tolist()):
      [whole] = source.read(epoch, document, start=0, length=length)
      assert eod not in whole.ids
      expected[tuple(whole.ids.tolist())] += 1
    ends = 0
    for _ in range(samples.samples_in(epoch)):
      sample = samples.sample(number)
      used = int(np.sum(sample["segments"] > 0))
      np.testing.assert_array_equal(
        sample["segments"] > 0, np.arange(context) < used
      )
      assert set(sample["segments"][:used]) == {1}
      np.testing.assert_array_equal(sample["positions"][:used], np.arange(used))
      pieces = samples.plan(epoch).pieces(samples.locate(number)[1])
      rests = np.zeros(used - 1, bool)
      at = 0
      for piece in pieces:
        if at and piece.start:
          rests[at - 1] = True
        at += piece.length
      assert_targets_are_next(sample, rests)
      ended = sample["targets"][used - 1] == eod
      assert ended == (eod in sample["targets"])
      assert sample["streams"][used - 1] > 0
      if ended:
        ends += 1
        assert sample["streams"][used - 1] == Stream.MARK
      at = 0
      for document, start, length in pieces:
        if length == source.lengths(epoch)[document]:
          ids = sample["inputs"][at : at + length]
          found[tuple(ids.tolist())] += 1
        else:
          assert start + length <= source.lengths(epoch)[document]
        at += length
      number += 1
    assert not found - expected
    longest = max(map(len, expected))
    assert (found == expected) == (context >= longest)
    assert ends > 0
    assert (ends == samples.samples_in(epoch)) == (context >= longest)


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
    # The rest of a cut document is a target where it was cut.
    begins = np.diff(one["segments"][:used]) == 1
    rests = begins & (one["positions"][1:used] > 0)
    assert_targets_are_next(other, rests)
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
    assert_same(one.sample(number), same.sample(number))


@pytest.mark.parametrize(("kind", "packing"), SETTINGS)
@pytest.mark.parametrize("order", ["random", "length"])
def test_samples_are_the_same_whoever_asks(
  directories, kind, packing, order, tmp_path
):
  """In any order, from threads, with a cache that is cold or warm."""
  options = {"packing": packing, "order": order, "context": 300}
  plain = open_kind(directories, kind, **options)
  count = plain.samples_in(0) + plain.samples_in(1) + 5
  expected = [plain.sample(number) for number in range(count)]
  for _ in range(2):
    cached = open_kind(directories, kind, cache=tmp_path, **options)
    assert cached.fingerprint == plain.fingerprint
    numbers = np.random.default_rng(0).permutation(count)
    with ThreadPoolExecutor(4) as pool:
      found = list(pool.map(cached.sample, numbers.tolist()))
    for number, sample in zip(numbers, found, strict=True):
      assert_same(sample, expected[number])


_OTHER_PROCESS = """
import sys
import numpy as np
from yue_jax.data.dataset import open_dataset
from yue_jax.data.samples import PlannedSamples
from yue_jax.data.sources.make import make_source
source = make_source(open_dataset(sys.argv[1]), "icl", seed=0)
samples = PlannedSamples(source, context=300, seed=0, cache=sys.argv[2])
np.savez(sys.argv[3], **samples.sample(int(sys.argv[4])))
"""


def test_another_process_reads_the_same(directory, tmp_path):
  samples = open_samples(directory, "icl", context=300, cache=tmp_path / "c")
  number = 3 * len(samples)
  expected = samples.sample(number)
  for cache in ("c", "other"):
    out = tmp_path / f"{cache}.npz"
    arguments = [directory, tmp_path / cache, out, number]
    subprocess.run(
      [sys.executable, "-c", _OTHER_PROCESS, *map(str, arguments)], check=True
    )
    with np.load(out, allow_pickle=False) as arrays:
      assert_same(arrays, expected)


class Forbidden:
  """A source that can be read, but whose lengths are not asked for."""

  def __init__(self, source):
    self._source = source

  def __getattr__(self, name):
    return getattr(self._source, name)

  def __len__(self):
    return len(self._source)

  def lengths(self, epoch):
    raise AssertionError("planned again")


@pytest.mark.parametrize(("kind", "packing"), SETTINGS)
def test_what_is_planned_is_not_planned_again(
  directories, kind, packing, tmp_path
):
  if kind == "window":
    return  # of which nothing is kept
  options = {"packing": packing, "context": 300, "cache": tmp_path}
  first = open_kind(directories, kind, **options)
  far = sum(first.samples_in(epoch) for epoch in range(9)) + 1
  expected = first.sample(far)
  fields = {"context": 300, "seed": 0, "packing": packing, "cache": tmp_path}
  later = PlannedSamples(Forbidden(first.source), **fields)
  assert_same(later.sample(far), expected)
  assert len(later) == len(first)


def test_old_plans_are_removed_and_settings_kept_apart(directory, tmp_path):
  samples = open_samples(directory, cache=tmp_path)
  for epoch in range(6):
    samples.plan(epoch)
  [folder] = tmp_path.iterdir()
  plans = sorted(path.name for path in folder.glob("epoch-*"))
  assert plans == [f"epoch-{epoch:08}" for epoch in (3, 4, 5)]
  for changes in ({"seed": 1}, {"packing": "split"}, {"order": "length"}):
    open_samples(directory, cache=tmp_path, **changes).plan(0)
  assert len(list(tmp_path.iterdir())) == 4
  assert not list(tmp_path.glob("*/.*"))  # nothing half written


def test_the_next_plan_is_made_while_an_epoch_is_read(directory):
  made = []

  class Watched(Forbidden):
    def lengths(self, epoch):
      made.append((epoch, threading.current_thread().name))
      return self._source.lengths(epoch)

  source = make_source(open_dataset(directory), "icl", seed=0)
  samples = PlannedSamples(Watched(source), context=300, seed=0)
  count = len(samples)
  made.clear()
  samples.sample(0)
  assert [epoch for epoch, _ in made] == [0]
  samples.sample(count - 1)
  samples._plans[1].result()
  assert [epoch for epoch, _ in made] == [0, 1]
  assert {name for _, name in made} == {"plan_0"}


def test_fill_is_the_share_of_places_with_a_token(directories):
  for kind, packing in SETTINGS:
    samples = open_kind(directories, kind, packing=packing, context=333)
    used = sum(
      int(np.sum(samples.sample(number)["segments"] > 0))
      for number in range(len(samples))
    )
    assert samples.fill(0) == used / (len(samples) * 333)
    assert 0 < samples.fill(0) <= 1


@pytest.mark.parametrize(
  ("packing", "context"), [("best_fit", 500), ("split", 100)]
)
@pytest.mark.parametrize("first_epoch", [0, 5])
def test_epochs_follow_each_other_though_their_sizes_vary(
  directory, packing, context, first_epoch
):
  options = {
    "kind": "icl",
    "context": context,
    "packing": packing,
    "first_epoch": first_epoch,
  }
  samples = open_samples(directory, **options)
  sizes = [
    len(samples.plan(epoch)) for epoch in range(first_epoch, first_epoch + 12)
  ]
  assert len(set(sizes)) > 1
  expected = [
    (first_epoch + e, n) for e, size in enumerate(sizes) for n in range(size)
  ]
  jump = open_samples(directory, **options)
  assert jump.locate(len(expected) - 1) == expected[-1]
  assert [samples.locate(n) for n in range(len(expected))] == expected
  assert len(samples) == sizes[0]
  assert [samples.samples_in(first_epoch + e) for e in range(12)] == sizes
  with pytest.raises(IndexError, match="sample -1"):
    samples.locate(-1)


def test_later_epochs_can_come_first(directory):
  base = open_samples(directory, "icl")
  later = open_samples(directory, "icl", first_epoch=2)
  before = base.samples_in(0) + base.samples_in(1)
  for number in (0, 1, len(later) + 3):
    assert_same(later.sample(number), base.sample(before + number))
  assert later.fingerprint != base.fingerprint


def test_settings_change_the_fingerprint(directory):
  changes = [
    {},
    {"context": 255},
    {"seed": 1},
    {"packing": "split"},
    {"order": "length"},
    {"attend_across_documents": True},
    {"first_epoch": 1},
    {"kind": "plain"},
  ]
  opened = [open_samples(directory, **change) for change in changes]
  assert len({samples.fingerprint for samples in opened}) == len(changes)
  assert opened[0].fingerprint == open_samples(directory).fingerprint
  # What begins elsewhere can still go on with the other's samples.
  assert len({samples.recipe for samples in opened}) == len(changes) - 1
  assert opened[0].recipe == open_samples(directory, first_epoch=1).recipe


def test_few_plans_are_kept(directory):
  samples = open_samples(directory)
  for epoch in (0, 1, 2, 3, 2, 0):
    samples.plan(epoch)
  assert len(samples._plans) <= 3


def test_an_empty_sample_is_padding():
  assert as_lists(empty_sample(3)) == {name: [0, 0, 0] for name in FIELDS}


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"context": 1}, "context=1 is too small, expected 2 or more"),
    ({"kind": "window", "context": 93}, "takes 94 tokens; enlarge"),
    ({"packing": "first_fit"}, "packing='first_fit', expected one of"),
    ({"order": "alphabet"}, "order='alphabet', expected one of"),
    ({"first_epoch": -1}, "first_epoch=-1, expected 0 or more"),
    ({"kind": "speech"}, "no documents, so there are no samples"),
  ],
)
def test_bad_settings_are_named(directory, changes, message):
  assert WINDOW == 10  # 4 + 10 * 9 = 94
  with pytest.raises(ValueError, match=message):
    open_samples(directory, **changes)


def test_curriculum_goes_from_short_to_long(directory):
  samples = open_samples(directory, order="length")
  longest = [
    max(
      int(samples.source.lengths(0)[piece.document])
      for piece in samples.plan(0).pieces(number)
    )
    for number in range(len(samples))
  ]
  assert longest == sorted(longest)
  assert longest[0] < longest[-1]
