"""Tasks on a pool of threads or processes, a few of them ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
import concurrent.futures
from typing import TypeVar

_Task, _Result = TypeVar("_Task"), TypeVar("_Result")


def in_order(
  pool: concurrent.futures.Executor,
  function: Callable[[_Task], _Result],
  tasks: Iterable[_Task],
  ahead: int,
) -> Iterator[_Result]:
  """Results in the order of the tasks; at most `ahead` wait to be taken.

  Whoever may stop early closes the iterator inside the pool: what has not
  begun is then not done.
  """
  waiting = deque()
  try:
    for task in tasks:
      waiting.append(pool.submit(function, task))
      if len(waiting) > ahead:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()
  finally:  # an interruption need not wait for all of them
    for future in waiting:
      future.cancel()
