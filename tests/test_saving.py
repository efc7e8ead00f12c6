"""Checkpoints by step and by time, with a clock that the test turns."""

import datetime

import jax
import pytest

from tests import tiny
from tests.test_checkpoint import DATA, config_of, make_state
from yue_jax import checkpoint
from yue_jax.config import TrainConfig
from yue_jax.train.saving import SaveTimes


class Clock:
  def __init__(self):
    self.minutes = 0.0

  def __call__(self) -> datetime.datetime:
    start = datetime.datetime(2026, 1, 1)
    return start + datetime.timedelta(minutes=self.minutes)


def saves(minutes_a_step: float, steps: int, **fields) -> list[int]:
  clock = Clock()
  times = SaveTimes(TrainConfig(**fields), clock=clock)
  found = []
  for step in range(1, steps + 1):
    clock.minutes += minutes_a_step
    if times.due(step):
      times.saved(step)
      found.append(step)
  return found


@pytest.mark.parametrize(
  ("every", "after", "expected"),
  [
    (10, 0.0, [10, 20]),
    (10, 3.0, [3, 6, 9, 10, 13, 16, 19, 20]),
    (10, 2.5, [3, 6, 9, 10, 13, 16, 19, 20]),
    (10, 15.0, [10, 20]),
    (100, 15.0, [15]),
  ],
)
def test_a_minute_a_step(every, after, expected):
  fields = {"checkpoint_every": every, "checkpoint_minutes": after}
  assert saves(1.0, 20, **fields) == expected


@pytest.mark.parametrize(
  ("keep", "keep_every", "expected"),
  [(1, 0, [12]), (2, 0, [10, 12]), (2, 6, [6, 10, 12]), (1, 3, [3, 6, 9, 12])],
)
def test_what_is_kept(tmp_path, keep, keep_every, expected):
  """Saved by step at 3, 6, 9, 12, by time at 2, 5, 8, 10."""
  train = {
    "checkpoint_every": 3,
    "keep_checkpoints": keep,
    "keep_every": keep_every,
  }
  cfg, mesh = config_of(train=train), tiny.mesh(tiny.MESHES["one"])
  state = make_state(cfg, mesh)
  saver = checkpoint.Checkpointer(tmp_path, cfg, data=DATA)
  with jax.set_mesh(mesh):
    for step in (2, 3, 5, 6, 8, 9, 10, 12):
      saver.save(state, step)
  saver.close()
  there = (tmp_path / "checkpoints").iterdir()
  assert sorted(int(p.name) for p in there) == expected
