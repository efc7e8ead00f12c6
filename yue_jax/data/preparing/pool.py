"""Tasks on processes of this machine."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
import concurrent.futures
import multiprocessing
from typing import TypeVar

_Task, _Result = TypeVar("_Task"), TypeVar("_Result")


def map_on_processes(
  function: Callable[[_Task], _Result], tasks: Iterable[_Task], workers: int
) -> Iterator[_Result]:
  """Results in the order of the tasks, with few of them waiting in memory.

  With one worker, tasks are done in this process.
  """
  if workers == 1:
    yield from map(function, tasks)
    return
  # Forked children may inherit locks that another thread holds: spawn.
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
    waiting = deque()
    for task in tasks:
      waiting.append(pool.submit(function, task))
      if len(waiting) > 2 * workers:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()
