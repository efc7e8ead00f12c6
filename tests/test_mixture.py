"""Mixtures: every sample of every source once, each stretch in its shares."""

import numpy as np
import pytest

from yue_jax.data.mixture import (
  Line,
  Mixture,
  allot,
  counts_before,
  interleave,
)
from yue_jax.phases import PhaseConfig, RateConfig, SourceConfig


def whole_row(counts):
  """The definition: places in [0, 1], sorted."""
  counts = np.asarray(counts)
  source = np.repeat(np.arange(len(counts)), counts)
  number = np.concatenate([np.arange(c) for c in counts])
  offset = (source + 0.5) / len(counts)
  order = np.lexsort((source, (number + offset) / counts[source]))
  return source[order], number[order]


def random_counts(seed) -> np.ndarray:
  rng = np.random.default_rng(seed)
  sources = rng.integers(1, 13)
  return np.maximum(1, rng.lognormal(2, 2, sources)).astype(int)


def test_example():
  sources, numbers = interleave([4, 2], 0, 6)
  assert sources.tolist() == [0, 0, 1, 0, 0, 1]
  assert numbers.tolist() == [0, 1, 0, 2, 3, 1]


@pytest.mark.parametrize("seed", range(40))
def test_any_stretch_is_a_stretch_of_the_whole_row(seed):
  counts = random_counts(seed)
  source, number = whole_row(counts)
  rng = np.random.default_rng(seed)
  for first in rng.integers(0, counts.sum() + 1, 10):
    length = int(rng.integers(0, min(60, counts.sum() - first) + 1))
    got = interleave(counts, first, length)
    np.testing.assert_array_equal(got[0], source[first : first + length])
    np.testing.assert_array_equal(got[1], number[first : first + length])
    np.testing.assert_array_equal(
      counts_before(counts, first),
      np.bincount(source[:first], minlength=len(counts)),
    )


def test_every_stretch_holds_every_source_in_its_share():
  counts = np.array([7000, 2000, 900, 100])
  source, _ = whole_row(counts)
  for first in range(0, 10_000, 500):
    got = np.bincount(source[first : first + 500], minlength=4)
    assert np.abs(got - counts / 20).max() <= 2


class Numbers:
  """Sample n of a source is (name, n)."""

  def __init__(self, name):
    self.name = name

  def sample(self, number):
    return self.name, number


def test_a_mixture_reads_each_sample_of_each_line_once_in_order():
  lines = [Line("a", Numbers("a"), 5, 3000), Line("b", Numbers("b"), 0, 777)]
  mixture = Mixture(lines, context=8)
  read = [mixture.sample(n) for n in range(len(mixture))]
  assert [n for name, n in read if name == "a"] == list(range(5, 3005))
  assert [n for name, n in read if name == "b"] == list(range(777))
  for stop in (0, 1, 1024, 2000, 3777):
    names = [name for name, _ in read[:stop]]
    assert mixture.read_before(stop) == [names.count("a"), names.count("b")]
  with pytest.raises(IndexError, match="sample 3777 of a mixture of 3777"):
    mixture.sample(3777)


def phase(tokens: int, **sources) -> PhaseConfig:
  """Steps of 10 samples of 10 tokens; a source is its weight or rounds."""
  return PhaseConfig(
    name="x",
    tokens=tokens,
    context=10,
    samples=10,
    rate=RateConfig(peak=1.0),
    mixture={
      name: SourceConfig(data=name, kind="cot", **how)
      for name, how in sources.items()
    },
  )


def test_weights_share_what_rounds_leave():
  mixed = phase(10_000, a={"weight": 3.0}, b={"weight": 1.0}, c={"rounds": 2.0})
  assert allot(mixed, {"c": 200}) == {"a": 600, "b": 200, "c": 200}


def test_shares_are_rounded_to_fill_the_steps():
  thirds = phase(10_000, **{n: {"weight": 1.0} for n in "abc"})
  counts = allot(thirds, {})
  assert sum(counts.values()) == 1000
  assert sorted(counts.values()) == [333, 333, 334]


def test_rounds_alone_fill_up_their_last_step():
  rounds = phase(1_234, a={"rounds": 1.0}, b={"rounds": 1.0})
  assert allot(rounds, {"a": 100, "b": 24}) == {"a": 106, "b": 24}


@pytest.mark.parametrize("samples", [131, 120])
def test_rounds_that_do_not_fit_the_phase_are_an_error(samples):
  rounds = phase(1_234, a={"rounds": 1.0})
  with pytest.raises(ValueError, match=f"make {samples} samples, {samples}0 "):
    allot(rounds, {"a": samples})


def test_a_source_that_would_give_nothing_is_an_error():
  mixed = phase(1000, a={"weight": 1.0}, b={"weight": 1e-6})
  with pytest.raises(ValueError, match=r"\['b'\] would give no sample"):
    allot(mixed, {})
