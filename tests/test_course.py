"""The data of whole runs: phases, what they read, and where they go on."""

from collections import Counter
import json

import numpy as np
import pytest

from tests import songs_on_disk as disk
from yue_jax.data.course import Course
from yue_jax.data.dataset import open_dataset
from yue_jax.data.megatron.meaning import describe, description_path
from yue_jax.data.megatron.sequences import song_sequences
from yue_jax.data.megatron.writer import write_megatron
from yue_jax.data.preparing.prepare import prepare
from yue_jax.phases import (
  DataConfig,
  EvaluationConfig,
  PhaseConfig,
  RateConfig,
  SourceConfig,
)

SONGS = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """Two data sets: songs s0 ... in two languages, and other songs."""
  root = tmp_path_factory.mktemp("course")
  recipe = disk.small_recipe(disk.small_tokenizer(root / "tokenizer.model"))
  for name, first in (("one", 0), ("two", 1000)):
    folder = root / f"{name}_songs"
    folder.mkdir()
    rows = [
      disk.write_song(
        folder, f"s{first + i}", seed=first + i, language="de" if i % 3 else ""
      )
      for i in range(SONGS)
    ]
    prepare(disk.write_manifest(folder, rows), root / name, recipe=recipe)
  return root


def phase(name, data, *, steps=6, samples=4, context=128, **changes):
  """Reads CoT documents of data set "one" unless told otherwise."""
  songs = SourceConfig(data=str(data / "one"), kind="cot", weight=1.0)
  fields = {
    "mixture": {"songs": songs},
    "rate": RateConfig(peak=1.0),
    "tokens": steps * samples * context,
  }
  return PhaseConfig(
    name=name, context=context, samples=samples, **fields | changes
  )


def source(data, name, kind="cot", **how) -> SourceConfig:
  return SourceConfig(data=str(data / name), kind=kind, **how)


def course(data, *phases, **changes) -> Course:
  vocab = open_dataset(data / "one").vocab
  return Course(phases, DataConfig(**changes), vocab=vocab)


def read(opened, steps=None) -> list[dict]:
  count = (steps or opened.config.steps) * opened.config.samples
  return [opened.mixture.sample(n) for n in range(count)]


def first_tokens(samples) -> Counter:
  """How often every document begins, by all of its tokens in the sample."""
  found = Counter()
  for sample in samples:
    for segment in range(1, sample["segments"].max() + 1):
      here = sample["segments"] == segment
      if sample["positions"][here][0] == 0:
        found[tuple(sample["inputs"][here].tolist())] += 1
  return found


def test_reading_goes_on_in_the_next_phase(data):
  """Two phases read what one phase of both lengths reads."""
  parts = course(data, phase("a", data), phase("b", data, steps=9)).phases
  whole = course(data, phase("c", data, steps=15)).phases[0]
  both = read(parts[0]) + read(parts[1])
  for one, other in zip(both, read(whole), strict=True):
    np.testing.assert_array_equal(one["inputs"], other["inputs"])


def test_a_phase_that_ends_early_is_continued_where_it_ended(data):
  early = phase("a", data, steps=60, stop_after=6 * 512)
  parts = course(data, early, phase("b", data, steps=9)).phases
  whole = course(data, phase("c", data, steps=15)).phases[0]
  both = read(parts[0]) + read(parts[1])
  for one, other in zip(both, read(whole), strict=True):
    np.testing.assert_array_equal(one["inputs"], other["inputs"])


def test_another_context_begins_with_the_next_epoch(data):
  first, second = course(
    data, phase("a", data), phase("b", data, context=256)
  ).phases
  [line] = second.mixture.lines
  before = first.mixture.lines[0].samples
  assert line.start == 0
  assert line.samples.first_epoch == before.locate(6 * 4 - 1)[0] + 1


def test_rounds_read_every_document_so_often(data):
  one = source(data, "one", rounds=2.0)
  two = source(data, "two", rounds=1.0)
  size = course(data, phase("x", data)).phases[0].mixture.lines[0].samples
  other = phase("x", data, mixture={"songs": source(data, "two", weight=1.0)})
  other_size = course(data, other).phases[0].mixture.lines[0].samples
  samples = 2 * len(size) + len(other_size)
  [opened] = course(
    data,
    phase(
      "a", data, tokens=samples * 128, samples=1, mixture={"a": one, "b": two}
    ),
  ).phases
  assert (
    sorted(first_tokens(read(opened)).values()) == [1] * SONGS + [2] * SONGS
  )
  assert opened.passes == {"a": 2.0, "b": 1.0}


def test_what_a_phase_reads_does_not_depend_on_later_ones(data):
  first = phase("a", data)
  mixture = {
    "songs": source(data, "two", weight=1.0),
    "more": source(data, "one", "icl", weight=1.0),
  }
  second = phase("b", data, mixture=mixture)
  alone = course(data, first, heldout=0.2).phases
  both = course(data, first, second, heldout=0.2).phases
  assert alone[0].fingerprints == both[0].fingerprints
  for one, other in zip(read(alone[0]), read(both[0]), strict=True):
    np.testing.assert_array_equal(one["inputs"], other["inputs"])


@pytest.mark.parametrize(
  "changes",
  [
    {"samples": 2},
    {"context": 64},
    {"steps": 7},
    {"mixture": {"weight": 2.0}},
    {"mixture": {"kind": "plain"}},
    {"mixture": {"packing": "split"}},
    {"mixture": {"order": "length"}},
    {"mixture": {"overlong": "sections"}},
  ],
)
def test_fingerprints_change_with_what_is_read(data, changes):
  def mixture(**how):
    return {
      "songs": source(data, "one", **{"weight": 1.0} | how),
      "more": source(data, "two", weight=1.0),
    }

  changed = {"mixture": mixture(**changes.get("mixture", {}))}
  changed = {k: v for k, v in changes.items() if k != "mixture"} | changed
  [plain] = course(data, phase("a", data, mixture=mixture())).phases
  [other] = course(data, phase("a", data, **changed)).phases
  assert plain.fingerprints["songs"] != other.fingerprints["songs"]


def test_held_out_songs_are_evaluated_by_language_and_never_trained(data):
  trained = phase("a", data, steps=40)
  opened = course(data, trained, heldout=0.3)
  sets = opened.evaluations(trained, 0)
  assert set(sets) == {"songs", "songs/de"}
  held = Counter()
  for samples in sets.values():
    held += first_tokens(samples.sample(n) for n in range(len(samples)))
  seen = first_tokens(read(opened.phases[0]))
  assert not held.keys() & seen.keys()
  assert len(held) + len(seen) == SONGS
  assert 4 < len(held) < 20


def test_evaluation_may_be_cut_short(data):
  trained = phase("a", data)
  evaluation = {"x": EvaluationConfig(data=str(data / "two"), kind="plain")}
  sets = course(data, trained, evaluation=evaluation).evaluations(trained, 3)
  assert [len(samples) for samples in sets.values()] == [3]


def test_excluded_songs_are_not_read(data, tmp_path):
  path = tmp_path / "ids.txt"
  path.write_text("".join(f"s{i}\n" for i in range(10)))
  opened = course(data, phase("a", data, steps=40, exclude=str(path)))
  assert len(first_tokens(read(opened.phases[0]))) == SONGS - 10


def test_a_data_set_with_other_tokens_than_expected_is_refused(data):
  wrong = source(data, "one", weight=1.0, expected_tokens=1e9)
  with pytest.raises(ValueError, match=r"expected_tokens=1e\+09; correct"):
    course(data, phase("a", data, mixture={"songs": wrong}))


@pytest.mark.parametrize(
  ("mixture", "message"),
  [
    ({"x": ("nowhere", "cot")}, "nowhere"),
    ({"x": ("one", "caught")}, "no documents of kind 'caught'"),
    ({"x": ("one", "cot"), "y": ("one", "cot")}, "same documents in two"),
  ],
)
def test_mistakes_name_phase_and_source(data, mixture, message):
  lines = {n: source(data, *which, weight=1.0) for n, which in mixture.items()}
  with pytest.raises((ValueError, OSError), match=message):
    course(data, phase("a", data, mixture=lines))


def test_nothing_left_to_train_on_is_an_error(data, tmp_path):
  path = tmp_path / "ids.txt"
  path.write_text("".join(f"s{i}\n" for i in range(SONGS)))
  with pytest.raises(ValueError, match="held out or excluded"):
    course(data, phase("a", data, exclude=str(path)))


def test_data_sets_of_other_tokenizers_do_not_mix(data, tmp_path):
  info = json.loads((data / "two/dataset.json").read_text())
  copy = tmp_path / "two"
  copy.mkdir()
  for path in (data / "two").iterdir():
    (copy / path.name).symlink_to(path)
  (copy / "dataset.json").unlink()
  info["tokenizer_fingerprint"] = "another"
  (copy / "dataset.json").write_text(json.dumps(info))
  mixture = {
    "songs": source(data, "one", weight=1.0),
    "more": source(tmp_path, "two", weight=1.0),
  }
  with pytest.raises(ValueError, match="differ in their tokenizer"):
    _ = course(data, phase("a", data, mixture=mixture)).tokenizer


@pytest.mark.parametrize(
  "how", [{"packing": "split"}, {"order": "length"}, {"overlong": "sections"}]
)
def test_every_choice_of_a_source_changes_its_samples(data, how):
  def first(**how):
    songs = source(data, "one", weight=1.0, **how)
    opened = course(data, phase("a", data, mixture={"songs": songs})).phases[0]
    return b"".join(s["inputs"].tobytes() for s in read(opened))

  assert first(**how) != first()


def test_kept_plans_are_those_that_are_made(data, tmp_path):
  trained = phase("a", data, steps=9)
  vocab = open_dataset(data / "one").vocab
  fresh = read(course(data, trained).phases[0])
  for _ in range(2):  # written, then read
    kept = Course([trained], DataConfig(), vocab=vocab, cache=tmp_path)
    for one, other in zip(fresh, read(kept.phases[0]), strict=True):
      np.testing.assert_array_equal(one["inputs"], other["inputs"])
  assert list(tmp_path.rglob("*.npy"))


@pytest.fixture(scope="module")
def pair(data, tmp_path_factory):
  """The CoT documents of data set "one" as Megatron has them."""
  dataset = open_dataset(data / "one")
  prefix = tmp_path_factory.mktemp("megatron") / "one"
  count, documents = song_sequences(dataset, "cot", epoch=0, seed=0)
  assert count == SONGS
  description_path(prefix).write_text(describe(dataset))
  write_megatron(prefix, documents)
  return prefix


def test_a_megatron_pair_is_read_like_a_prepared_data_set(data, pair):
  songs = SourceConfig(data=str(pair), kind="megatron_dual", weight=1.0)
  theirs = course(data, phase("a", data, steps=40, mixture={"songs": songs}))
  ours = course(data, phase("a", data, steps=40))
  assert first_tokens(read(theirs.phases[0])) == first_tokens(
    read(ours.phases[0])
  )
  assert theirs.tokenizer == ""


def test_documents_of_a_megatron_pair_can_be_held_out(data, pair):
  songs = SourceConfig(data=str(pair), kind="megatron_dual", weight=1.0)
  trained = phase("a", data, steps=40, mixture={"songs": songs})
  opened = course(data, trained, heldout=0.3)
  sets = opened.evaluations(trained, 0)
  held = first_tokens(
    sets["songs"].sample(n) for n in range(len(sets["songs"]))
  )
  seen = first_tokens(read(opened.phases[0]))
  assert not held.keys() & seen.keys()
  assert len(held) + len(seen) == SONGS


@pytest.mark.parametrize(
  ("how", "message"),
  [
    ({"kind": "cot"}, "no documents of kind 'cot'; there are"),
    ({"overlong": "sections"}, "does not record sections"),
  ],
)
def test_what_a_megatron_pair_does_not_have(data, pair, how, message):
  how = {"kind": "megatron_dual", "weight": 1.0} | how
  songs = SourceConfig(data=str(pair), **how)
  with pytest.raises(ValueError, match=message):
    course(data, phase("a", data, mixture={"songs": songs}))
