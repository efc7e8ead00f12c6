"""What is kept comes back whole, mapped, or not at all."""

import mmap

import numpy as np
import pytest

from yue_jax.data.planning.cache import PlanCache
from yue_jax.data.planning.plan import Counts


def arrays(first=0):
  return {
    "documents": np.arange(first, first + 1000, dtype=np.uint32),
    "order": np.zeros(0, np.uint32),
  }


def base_of(array):
  while isinstance(array, np.ndarray) and array.base is not None:
    array = array.base
  return array


def test_plans_come_back_mapped(tmp_path):
  cache = PlanCache(tmp_path, "abc")
  assert cache.load(3) is None
  cache.save(3, arrays())
  loaded = PlanCache(tmp_path, "abc").load(3)
  assert set(loaded) == {"documents", "order"}
  for name, expected in arrays().items():
    np.testing.assert_array_equal(loaded[name], expected)
    assert loaded[name].dtype == expected.dtype
  assert isinstance(base_of(loaded["documents"]), mmap.mmap)
  assert PlanCache(tmp_path, "other").load(3) is None


def test_whoever_is_later_keeps_the_first(tmp_path):
  one, other = PlanCache(tmp_path, "abc"), PlanCache(tmp_path, "abc")
  one.save(0, arrays())
  other.save(0, arrays(5))
  assert other.load(0)["documents"][0] == 0
  assert not list(tmp_path.glob("*/.*"))


def test_an_interrupted_plan_is_none(tmp_path):
  cache = PlanCache(tmp_path, "abc")
  with pytest.raises(AttributeError):
    cache.save(0, {"documents": np.arange(3), "order": Unwritable()})
  assert cache.load(0) is None
  assert not list(tmp_path.glob("abc/*"))


class Unwritable:
  """Interrupts whoever writes it."""

  def __array__(self, *_, **__):
    raise AttributeError("interrupted")


def test_a_full_disk_is_an_error(tmp_path):
  (tmp_path / "abc").write_text("a file where a folder should be")
  with pytest.raises(OSError):
    PlanCache(tmp_path, "abc").save(0, arrays())


def test_counts_come_back(tmp_path):
  cache = PlanCache(tmp_path, "abc")
  assert cache.load_counts() == {}
  counts = {4: Counts(10, 99), 0: Counts(11, 100)}
  cache.save_counts(counts)
  assert PlanCache(tmp_path, "abc").load_counts() == counts
  assert not list(tmp_path.glob("*/.*"))


def test_damage_is_named(tmp_path):
  cache = PlanCache(tmp_path, "abc")
  cache.save(0, arrays())
  path = tmp_path / "abc" / "epoch-00000000" / "documents.npy"
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(ValueError, match=r"documents\.npy is damaged"):
    cache.load(0)
