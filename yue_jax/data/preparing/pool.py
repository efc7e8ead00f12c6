"""Tasks on processes of this machine."""

from collections.abc import Callable, Iterable, Iterator
import concurrent.futures
import multiprocessing
from typing import TypeVar

from yue_jax.pools import in_order

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
    yield from in_order(pool, function, tasks, 2 * workers)
