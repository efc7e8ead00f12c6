"""Who stands still says where, and leaves; who works is left alone."""

import threading
import time

from yue_jax.train.watchdog import EXIT_CODE, Watchdog

TICK = 0.05  # seconds


class Leaving:
  def __init__(self):
    self.codes, self.left = [], threading.Event()

  def __call__(self, code: int) -> None:
    self.codes.append(code)
    self.left.set()


def stand_still(left: threading.Event) -> bool:
  return left.wait(20.0)


def test_stacks_are_dumped_when_nothing_ends(tmp_path, capfd):
  leaving, report = Leaving(), tmp_path / "stacks.txt"
  with Watchdog(4 * TICK / 60, report, leave=leaving) as watchdog:
    watchdog.beat()
    assert stand_still(leaving.left)
  assert leaving.codes == [EXIT_CODE]
  for said in (report.read_text(), capfd.readouterr().err):
    assert "no step has ended for 0 s (train.watchdog_minutes)" in said
    assert "in stand_still" in said


def test_work_compiling_and_zero_minutes_are_left_alone(tmp_path):
  leaving, report = Leaving(), tmp_path / "stacks.txt"
  with (
    Watchdog(20 * TICK / 60, report, leave=leaving) as working,
    Watchdog(2 * TICK / 60, report, leave=leaving) as compiling,
    Watchdog(2 * TICK / 60, report, leave=leaving) as starting,
    Watchdog(0.0, report, leave=leaving) as off,
  ):
    compiling.beat()
    compiling.pause()
    off.beat()
    for _ in range(30):
      working.beat()
      time.sleep(TICK)
  del starting
  assert not leaving.codes
  assert not report.exists()
