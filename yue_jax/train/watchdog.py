"""A watchdog: a run that stands still says where, and ends.

A collective that one process never enters, or a file system that does not
answer, leaves all others waiting without a word. When no step has ended for
too long, the stacks of all threads are written down and the process is ended,
so that whoever launched it can start it again.
"""

from collections.abc import Callable
import faulthandler
import os
import pathlib
import sys
import threading
import time
from typing import Self, TextIO

EXIT_CODE = 70  # EX_SOFTWARE


class Watchdog:
  """Use as a context manager; watches from the first `beat` on."""

  def __init__(
    self,
    minutes: float,
    report: pathlib.Path,
    *,
    leave: Callable[[int], None] = os._exit,
  ):
    """Watches nothing if `minutes` is 0; stacks go to `report` and stderr."""
    self._seconds, self._report, self._leave = 60 * minutes, report, leave
    self._last_beat = None
    self._closed = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)

  def beat(self) -> None:
    """Something ended: a step, a part of an evaluation."""
    self._last_beat = time.monotonic()

  def pause(self) -> None:
    """Until the next beat nothing is expected, as when steps are compiled."""
    self._last_beat = None

  def _watch(self) -> None:
    while not self._closed.wait(self._seconds / 20):
      last_beat = self._last_beat
      if last_beat is None:
        continue
      silent = time.monotonic() - last_beat
      if silent > self._seconds:
        with open(self._report, "a") as file:
          for target in (file, sys.stderr):
            _dump_stacks(target, silent)
        self._leave(EXIT_CODE)
        return

  def __enter__(self) -> Self:
    if self._seconds:
      self._thread.start()
    return self

  def __exit__(self, *_) -> None:
    self._closed.set()


def _dump_stacks(file: TextIO, silent: float) -> None:
  print(
    f"no step has ended for {silent:.0f} s (train.watchdog_minutes);"
    f" the threads of process {os.getpid()} are at:",
    file=file,
    flush=True,
  )
  faulthandler.dump_traceback(file, all_threads=True)
