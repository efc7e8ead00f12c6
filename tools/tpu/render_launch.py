"""Writes down how an experiment is launched on Cloud TPUs.

  python tools/tpu/render_launch.py \
    --config=experiments/stage1_pretrain.py:7b --topology=v5p:4x4x4 \
    --run_dir=gs://BUCKET/runs/stage1-7b --data_bucket=DATA_BUCKET \
    --image=REGION-docker.pkg.dev/PROJECT/REPOSITORY/yue_jax

checks that the experiment fits so many chips and finds its data, and writes
to --out, for whichever way is at hand:

  xpk.sh       xpk, on a cluster of Google Kubernetes Engine that it made
  jobset.yaml  kubectl, on a cluster with JobSet and the Cloud Storage driver
  vm.sh        gcloud, on TPU VMs of a queued resource, without Kubernetes

Any field of the config can be overridden, as in training, and is then
overridden in the launched command. Nothing is launched.
"""

import pathlib
import re
import sys

from absl import app, flags
import launch
from ml_collections import config_flags
import slices

from yue_jax import config

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Experiment file; see experiments/.", lock_config=True
)
_TOPOLOGY = flags.DEFINE_string(
  "topology", None, "Chips of one slice, such as v5e:16x16 or v5p:4x4x4."
)
_SLICES = flags.DEFINE_integer("slices", 1, "How many such slices.")
_RUN_DIR = flags.DEFINE_string(
  "run_dir", None, "Where checkpoints and metrics go, as in training: gs://..."
)
_DATA_BUCKET = flags.DEFINE_string(
  "data_bucket", None, "Bucket that is mounted at data/ on every host."
)
_IMAGE = flags.DEFINE_string(
  "image", None, "Where the image of tools/tpu/Dockerfile was pushed to."
)
_NAME = flags.DEFINE_string(
  "name", None, "Of the workload; default: the last part of --run_dir."
)
_SPOT = flags.DEFINE_bool("spot", False, "On TPUs that may be taken away.")
_RESTARTS = flags.DEFINE_integer(
  "max_restarts", 50, "After failures; for xpk after preemptions as well.", 0
)
_GRACE = flags.DEFINE_integer(
  "grace_seconds", 600, "Between SIGTERM and SIGKILL, to save in.", 1
)
_ACCOUNT = flags.DEFINE_string(
  "service_account", "default", "Of Kubernetes; may use both buckets."
)
_OUT = flags.DEFINE_string("out", None, "Default: runs/launch/NAME.")


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments {argv[1:]}; see --help")
  try:
    where = slices.parse(_TOPOLOGY.value, _SLICES.value)
    launch.check(config.from_config_dict(_CONFIG.value), where)
    run = launch.Launch(
      name=_NAME.value or _RUN_DIR.value.rstrip("/").rsplit("/", 1)[-1],
      slices=where,
      command=launch.command(
        config_flags.get_config_filename(flags.FLAGS["config"]),
        [a for a in sys.argv if re.match(r"--?(no)?config\.", a)],
        _RUN_DIR.value,
      ),
      image=_IMAGE.value,
      data_bucket=_DATA_BUCKET.value.removeprefix("gs://").rstrip("/"),
      max_restarts=_RESTARTS.value,
      grace_seconds=_GRACE.value,
      spot=_SPOT.value,
      service_account=_ACCOUNT.value,
    )
  except (ValueError, TypeError, OSError) as error:
    sys.exit(f"render_launch: {error}")
  print(launch.headline(run))
  launch.write(run, pathlib.Path(_OUT.value or f"runs/launch/{run.name}"))


if __name__ == "__main__":
  flags.mark_flags_as_required(
    ["config", "topology", "run_dir", "data_bucket", "image"]
  )
  app.run(main)
