"""A directory or a file that is whole or not there.

  with whole_directory(out) as partial:  # a hidden directory beside `out`
    ...                                  # write into it
                                         # its name becomes `out`

An interrupted run leaves nothing called `out`; what a killed one has written
has a hidden name of its own, which no later run takes for the whole.

  with resumable_directory(out, fingerprint) as partial:
    ...                       # may find what an earlier block has written

is the same for long work: what was written stays for the next block with the
same fingerprint, which has to see for itself what of it is whole.

  with whole_file(path) as partial:  # a hidden path beside `path`
    ...                              # write that file; it becomes `path`
"""

from collections.abc import Iterator
import contextlib
import fcntl
import os
import pathlib
import shutil


@contextlib.contextmanager
def whole_directory(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a directory that gets the name `out` when the block succeeds.

  When it fails, the directory is removed. Raises FileExistsError before
  anything is written when `out` exists.
  """
  _refuse_existing(out)
  partial = out.parent / f".{out.name}.partial-{os.urandom(4).hex()}"
  partial.mkdir(parents=True)
  try:
    yield partial
    partial.rename(out)
  except BaseException:
    shutil.rmtree(partial)
    raise


@contextlib.contextmanager
def resumable_directory(
  out: pathlib.Path, fingerprint: str
) -> Iterator[pathlib.Path]:
  """Yields a directory that gets the name `out` when the block succeeds.

  When the block is interrupted or the machine fails it (a full disk), the
  directory stays for the next block; after a ValueError, which the same input
  would raise again, and when it is empty, it is removed.

  Args:
    out: must not exist.
    fingerprint: hexadecimal, of all that decides what is written.

  Raises:
    FileExistsError: `out` exists, or another process is writing it.
  """
  _refuse_existing(out)
  partial = out.parent / f".{out.name}.partial-{fingerprint[:16]}"
  partial.mkdir(parents=True, exist_ok=True)
  with _only_one(partial):
    try:
      yield partial
      partial.rename(out)
    except BaseException as error:
      if isinstance(error, ValueError) or not any(partial.iterdir()):
        shutil.rmtree(partial)
      raise


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a path whose file gets the name `path` when the block succeeds.

  What was there is replaced; when the block fails, it stays. Raises OSError
  that names `path`: that of a full disk may name no file.
  """
  partial = path.with_name(f".{path.name}.partial")
  try:
    yield partial
    partial.replace(path)
  except OSError as error:
    raise OSError(f"{path} could not be written: {error}") from error
  finally:
    partial.unlink(missing_ok=True)


def _refuse_existing(out: pathlib.Path) -> None:
  if out.exists():
    raise FileExistsError(
      f"{out} exists already; remove it, or choose another directory"
    )


@contextlib.contextmanager
def _only_one(directory: pathlib.Path) -> Iterator[None]:
  """Holds a lock on a directory; the system releases those of dead owners."""
  handle = os.open(directory, os.O_RDONLY)
  try:
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise FileExistsError(
        f"another process is writing {directory}; wait for it"
      ) from None
    yield
  finally:
    os.close(handle)
