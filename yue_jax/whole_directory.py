"""A directory that is whole or not there, for everything written at once.

  with whole_directory(out) as partial:  # a hidden directory beside `out`
    ...                                  # write into it
                                         # its name becomes `out`

An interrupted run leaves nothing called `out`; what a killed one has written
has a hidden name of its own, which no later run takes for the whole.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import shutil


@contextlib.contextmanager
def whole_directory(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a directory that gets the name `out` when the block succeeds.

  When it fails, the directory is removed. Raises FileExistsError before
  anything is written when `out` exists.
  """
  if out.exists():
    raise FileExistsError(
      f"{out} exists already; remove it, or choose another directory"
    )
  partial = out.parent / f".{out.name}.partial-{os.urandom(4).hex()}"
  partial.mkdir(parents=True)
  try:
    yield partial
    partial.rename(out)
  except BaseException:
    shutil.rmtree(partial)
    raise
