"""Work on many tensors by a few threads; arrays are copied outside the GIL."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
import ctypes
from typing import TypeVar

from yue_jax.progress import Progress

_T = TypeVar("_T")


def for_each(
  items: Sequence[_T],
  work: Callable[[_T], None],
  *,
  workers: int,
  progress: Progress,
  after: Callable[[], None] = lambda: None,
) -> None:
  """Calls `work` for every item; the first error ends all and is raised.

  Args:
    after: called when an item is done, while others are worked on.
  """
  with ThreadPoolExecutor(workers) as pool:
    futures = [pool.submit(work, item) for item in items]
    try:
      for future in as_completed(futures):
        future.result()
        after()
        _give_back()
        progress.advance()
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise


def _give_back() -> None:
  """Hands memory that was freed back to the system, where it is glibc's.

  Each of its threads' arenas else keeps the blocks of the largest tensor.
  """
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
  if trim is not None:
    trim(0)
