"""What the files of a checkpoint were when it was written, and what became.

    checkpoints/<step>/files.json   size of every file, CRC-32 of small ones

The list is written when all processes have written their arrays and before
the directory gets its name: a finished checkpoint has one. Sizes find what a
full disk, a copy that was broken off or a removed file leave behind; checksums
what else may happen to the files that describe the arrays. The bytes of the
arrays themselves are not read twice.
"""

from collections.abc import Iterable, Iterator
import hashlib
import json
import logging
import zlib

from etils import epath

_NAME = "files.json"
# Written once more after the list, with the time of the commit.
_NOT_LISTED = (_NAME, "_CHECKPOINT_METADATA", "commit_success.txt")
_SMALL = 2**20
_log = logging.getLogger(__name__)


def write_list(root: epath.Path, step: int) -> None:
  """Lists the files of a checkpoint that is about to be finished.

  Args:
    root: directory of checkpoints by step.
    step: its directory still has a temporary name, unless it is in a bucket.
  """
  unnamed = list(root.glob(f"{step}.orbax-checkpoint-tmp*"))
  step_dir = unnamed[0] if unnamed else root / str(step)
  listed = {name: _describe(step_dir / name) for name in _names(step_dir)}
  (step_dir / _NAME).write_text(json.dumps(listed, indent=1) + "\n")


def find_damage(step_dir: epath.PathLike) -> list[str]:
  """What is not as it was written, one line each; nothing if all is well.

  A checkpoint without a list, of an earlier version, cannot be judged.
  """
  step_dir = epath.Path(step_dir)
  path = step_dir / _NAME
  if not path.exists():
    return []
  try:
    listed = json.loads(path.read_text())
  except ValueError as error:
    return [f"{_NAME} is damaged: {error}"]
  there = set(_names(step_dir))
  found = [f"{name} is missing" for name in sorted(listed.keys() - there)]
  for name in sorted(listed.keys() & there):
    now = _describe(step_dir / name)
    if now["bytes"] != listed[name]["bytes"]:
      found.append(
        f"{name} has {now['bytes']} bytes of {listed[name]['bytes']}"
      )
    elif now != listed[name]:
      found.append(f"{name} was changed")
  return found


def fingerprint(step_dir: epath.PathLike) -> str:
  """Tells a checkpoint from all others: SHA-256 of its files that are small.

  Among them are those that name the files of its arrays, by random names.
  """
  sha256, step_dir = hashlib.sha256(), epath.Path(step_dir)
  for name in sorted(_names(step_dir)):
    described = _describe(step_dir / name)
    sha256.update(json.dumps([name, described]).encode())
  return sha256.hexdigest()


def set_damaged_aside(root: epath.Path, steps: Iterable[int]) -> None:
  """Moves damaged checkpoints out of the way of the newest good one.

  Args:
    root: directory of checkpoints by step.
    steps: those that were finished.

  Raises:
    OSError: there are checkpoints, and all of them are damaged.
  """
  damaged = {}
  for step in sorted(steps, reverse=True):
    step_dir = root / str(step)
    wrong = find_damage(step_dir)
    if not wrong:
      break
    damaged[step_dir] = wrong
  else:
    if damaged:
      raise OSError(
        f"all checkpoints in {root} are damaged: "
        + "; ".join(f"{d.name}: {w[0]}" for d, w in damaged.items())
        + ". Restore one from a copy, or use another run directory."
      )
  for step_dir, wrong in damaged.items():
    set_aside(step_dir, "; ".join(wrong))


def set_aside(step_dir: epath.Path, reason: str) -> None:
  """Moves a checkpoint to RUN/damaged, where nothing looks for one."""
  folder = step_dir.parent.parent / "damaged"
  folder.mkdir(parents=True, exist_ok=True)
  times = sum(1 for path in folder.glob(f"{step_dir.name}-*"))
  target = folder / f"{step_dir.name}-{times + 1}"
  step_dir.rename(target)
  _log.error(
    "the checkpoint of step %s is damaged and was moved to %s: %s",
    step_dir.name,
    target,
    reason,
  )


def unfinished(root: epath.Path, steps: Iterable[int]) -> list[int]:
  """Steps whose saving was broken off; Orbax removes what is left of them.

  Args:
    root: directory of checkpoints by step.
    steps: those that were finished. Others have a temporary name on a disk,
      and their own in a bucket.
  """
  if not root.exists():
    return []
  begun = {
    path.name.partition(".orbax-checkpoint-tmp")[0] for path in root.iterdir()
  }
  return sorted({int(n) for n in begun if n.isdigit()} - set(steps))


def _names(step_dir: epath.Path) -> Iterator[str]:
  for folder, _, files in step_dir.walk():
    for name in files:
      relative = str(folder / name)[len(str(step_dir)) + 1 :]
      if relative not in _NOT_LISTED:
        yield relative


def _describe(path: epath.Path) -> dict[str, int]:
  size = path.stat().length
  if size > _SMALL:
    return {"bytes": size}
  return {"bytes": size, "crc32": zlib.crc32(path.read_bytes())}
