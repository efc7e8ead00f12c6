"""Where the files of a run may lie: on a disk, or in a bucket (gs://).

  run_dir     disk or bucket   checkpoints, metrics.jsonl, goodput.jsonl,
                               config.json, compiled programs
  local_dir   disk             plans (mapped into memory), TensorBoard events
                               (appended to), profiles, stacks of a watchdog
  data sets   disk             ArrayRecord and .bin files are read at random;
                               a bucket is mounted for that

Checked before anything is opened, since a path that is not understood would
otherwise be taken for a local one.
"""

import importlib.util
import pathlib

from etils import epath

from yue_jax.config import RunConfig
from yue_jax.json_lines import in_bucket

_MOUNT = "mount the bucket (gcsfuse, or its CSI driver) and give that path"


def check_locations(
  cfg: RunConfig, run_dir: epath.PathLike, local_dir: epath.PathLike | None
) -> pathlib.Path:
  """Returns the directory for what needs a disk.

  Args:
    cfg: names data sets and weights.
    run_dir: of the run.
    local_dir: on this machine; None for the run's own, if that is on a disk.

  Raises:
    ValueError: something that needs a disk would lie in a bucket.
    ImportError: a bucket is named, and nothing is installed that reads it.
  """
  for name, path in _needing_a_disk(cfg).items():
    if in_bucket(path):
      raise ValueError(
        f"{name}={path!r} is read at random, which needs a file system;"
        f" {_MOUNT}"
      )
  if in_bucket(local_dir or ""):
    raise ValueError(f"local_dir={local_dir} must be on a disk of this machine")
  if in_bucket(run_dir) and local_dir is None:
    raise ValueError(
      f"run_dir={run_dir} is a bucket, and plans and TensorBoard events need a"
      f" disk; give --local_dir as well, or {_MOUNT}"
    )
  for path in (run_dir, cfg.initial_weights):
    if in_bucket(path) and importlib.util.find_spec("gcsfs") is None:
      raise ImportError(
        f"{path} needs the package gcsfs; pip install 'yue_jax[tpu]'"
      )
  return pathlib.Path(run_dir if local_dir is None else local_dir)


def _needing_a_disk(cfg: RunConfig) -> dict[str, str]:
  paths = {
    f"data.evaluation.{name}.data": line.data
    for name, line in cfg.data.evaluation.items()
  }
  for number, phase in enumerate(cfg.phases):
    paths[f"phases[{number}].exclude"] = phase.exclude
    for name, source in phase.mixture.items():
      paths[f"phases[{number}].mixture.{name}.data"] = source.data
  return paths
