"""Probes find what is there, in the layer that has it, and nothing else."""

import numpy as np
import pytest

from yue_jax.evaluation.probes import probe_classes, probe_numbers, split

SONGS, LAYERS, WIDTH = 240, 3, 6


def _states(rng, codes, layer: int) -> np.ndarray:
  """Noise in all layers, and (songs, k) codes in one."""
  states = rng.normal(size=(len(codes), LAYERS, WIDTH))
  states[:, layer, : codes.shape[1]] += 3 * codes
  return states


def test_the_layer_that_knows_is_found():
  rng = np.random.default_rng(0)
  classes = rng.integers(3, size=SONGS)
  states = _states(rng, np.eye(3)[classes], layer=1)
  groups = [str(n // 2) for n in range(SONGS)]
  found = probe_classes(states, [f"class {c}" for c in classes], groups)
  assert found.layer == 1 and np.argmax(found.layers) == 1
  assert found.test.low > 0.85 > found.layers[0]
  assert 0.2 < found.chance < 0.5
  assert found.songs == {"train": 144, "validation": 48, "test": 48}
  assert found.test.songs == 24  # groups are drawn


def test_numbers_are_regressed():
  rng = np.random.default_rng(0)
  values = rng.normal(size=SONGS)
  states = _states(rng, values[:, None], layer=2)
  found = probe_numbers(states, values, [str(n) for n in range(SONGS)])
  assert found.layer == 2
  # 3 x + noise of variance 1: 9 of 10 parts of the variance are known
  assert found.test.low < 0.9 < found.test.high
  assert found.chance <= 0
  assert found.layers[0] < 0.2


def test_groups_that_tell_nothing_are_not_learnt():
  """States name the artist, and artists were given labels by chance.

  A split that divides artists would see them again and score 1.
  """
  rng = np.random.default_rng(0)
  artists = np.repeat(np.arange(60), 4)
  labels = rng.integers(2, size=60)[artists]
  names = rng.normal(size=(60, 40))
  states = names[artists][:, None] + 0.01 * rng.normal(size=(SONGS, 1, 40))
  found = probe_classes(states, labels.astype(str).tolist(), artists.tolist())
  assert found.test.value < 0.8
  alone = probe_classes(states, labels.astype(str).tolist(), range(SONGS))
  assert alone.test.value > 0.95  # what would have been believed


def test_parts_share_no_group():
  rng = np.random.default_rng(0)
  groups = rng.integers(30, size=SONGS).tolist()
  parts = split(np.zeros((SONGS, 1, 1)), groups)
  sets = [{groups[i] for i in part} for part in parts]
  assert sum(map(len, sets)) == len(set.union(*sets)) == len(set(groups))
  assert sorted(np.concatenate(parts).tolist()) == list(range(SONGS))
  assert [len(s) for s in sets] == [18, 6, 6]


@pytest.mark.parametrize(
  ("states", "labels", "groups", "message"),
  [
    (np.zeros((20, 2)), ["a"] * 20, range(20), "shape"),
    (np.zeros((20, 1, 2)), ["a"] * 20, range(19), "19 songs"),
    (np.full((20, 1, 2), np.nan), ["a"] * 20, range(20), "not finite"),
    (np.zeros((20, 1, 2)), ["a"] * 20, [0] * 20, "1 groups"),
    (np.zeros((20, 1, 2)), ["a"] * 20, range(20), "one class"),
    (
      np.zeros((20, 1, 2)),
      [str(n) for n in range(20)],
      range(20),
      "no training song",
    ),
  ],
)
def test_what_cannot_be_probed_is_refused(states, labels, groups, message):
  with pytest.raises(ValueError, match=message):
    probe_classes(states, labels, list(groups))


def test_numbers_must_be_numbers():
  with pytest.raises(ValueError, match="1 targets"):
    probe_numbers(np.zeros((20, 1, 2)), [np.nan] + [0.0] * 19, list(range(20)))
