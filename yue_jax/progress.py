"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

from collections.abc import Iterable, Iterator
import sys
import time
from typing import Self, TextIO, TypeVar

import tqdm

_T = TypeVar("_T")
_SECONDS_BETWEEN_LINES = 10.0


class Progress:
  """Counts work done and shows rate and time left on standard error.

  Use as a context manager:

      with Progress(len(songs), "songs", "preparing") as progress:
        ...
        progress.advance(1, note="3 rejected")
  """

  def __init__(
    self,
    total: int,
    unit: str,
    title: str,
    *,
    start: int = 0,
    shown: bool = True,
    stream: TextIO | None = None,
  ):
    self._total, self._unit, self._title = total, unit, title
    self._done = self._start = start
    self._shown = shown  # of several processes, one speaks
    self._stream = sys.stderr if stream is None else stream
    self._began = self._spoke = time.monotonic()
    self._bar = None
    if shown and self._stream.isatty():
      self._bar = tqdm.tqdm(
        total=total,
        unit=f" {unit}",
        desc=title,
        initial=start,
        file=self._stream,
        dynamic_ncols=True,
      )

  def advance(self, count: int = 1, *, note: str = "") -> None:
    """Reports `count` more units done; `note` is shown beside them."""
    self._done += count
    if self._bar is not None:
      if note:
        self._bar.set_postfix_str(note, refresh=not count)
      self._bar.update(count)
    elif self._shown and (
      self._done >= self._total
      or time.monotonic() - self._spoke > _SECONDS_BETWEEN_LINES
    ):
      self._spoke = time.monotonic()
      print(self._line(note), file=self._stream, flush=True)

  def _line(self, note: str) -> str:
    seconds = max(time.monotonic() - self._began, 1e-9)
    rate = (self._done - self._start) / seconds
    left = (self._total - self._done) / rate if rate else float("inf")
    line = (
      f"{self._title}: {self._done}/{self._total} {self._unit},"
      f" {rate:.4g}/s, {_clock(left)} left"
    )
    return f"{line}, {note}" if note else line

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_) -> None:
    if self._bar is not None:
      self._bar.close()


def track(
  items: Iterable[_T], total: int, unit: str, title: str
) -> Iterator[_T]:
  """Yields the items and shows how far they are."""
  with Progress(total, unit, title) as progress:
    for item in items:
      yield item
      progress.advance()


def _clock(seconds: float) -> str:
  if seconds == float("inf"):
    return "unknown time"
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return (
    f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
  )
