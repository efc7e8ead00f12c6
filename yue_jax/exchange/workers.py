"""Work on many tensors by a few threads; arrays are copied outside the GIL."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from yue_jax.progress import Progress

_T = TypeVar("_T")


def for_each(
  items: Sequence[_T],
  work: Callable[[_T], None],
  *,
  workers: int,
  progress: Progress,
) -> None:
  """Calls `work` for every item; the first error ends all and is raised."""
  with ThreadPoolExecutor(workers) as pool:
    futures = [pool.submit(work, item) for item in items]
    try:
      for future in as_completed(futures):
        future.result()
        progress.advance()
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise
