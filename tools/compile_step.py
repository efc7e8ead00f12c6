"""Compiles the train step of an experiment for TPUs that are not there.

  JAX_PLATFORMS=cpu python tools/compile_step.py \
    --config=experiments/stage1_pretrain.py:7b --topology=v5p:4x4x4

runs the real TPU compiler (libtpu, the [tpu] extra) on this machine and
prints the memory of one device. --config.mesh must fit the topology.
--lower_only stops before the compiler, which takes minutes for large models.
"""

import os
import time

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")

from absl import app, flags
from jax.experimental import topologies
from ml_collections import config_flags

from yue_jax import config, sharding
from yue_jax.train.step import lower_train_step

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment file.")
_TOPOLOGY = flags.DEFINE_string("topology", None, "Such as v5e:4x4.")
_SLICES = flags.DEFINE_integer("slices", 1, "How many such slices.")
_LOWER_ONLY = flags.DEFINE_bool("lower_only", False, "Do not compile.")
GIB = 2**30


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments {argv[1:]}; see --help")
  cfg = config.from_config_dict(_CONFIG.value)
  sharding.check_divisible(cfg.model, cfg.mesh)
  devices = topologies.get_topology_desc(
    platform="tpu",
    topology_name=_TOPOLOGY.value,
    num_slices=_SLICES.value,
  ).devices
  mesh = sharding.make_mesh(cfg.mesh, devices)
  began = time.monotonic()
  lowered = lower_train_step(cfg, mesh)
  print(f"lowered in {time.monotonic() - began:.1f} s for {devices[0]}")
  if _LOWER_ONLY.value:
    return
  memory = lowered.compile().memory_analysis()
  print(f"compiled after {time.monotonic() - began:.1f} s")
  print(
    f"per device: state {memory.alias_size_in_bytes / GIB:.3f} GiB,"
    f" arguments {memory.argument_size_in_bytes / GIB:.3f} GiB,"
    f" temporaries {memory.temp_size_in_bytes / GIB:.3f} GiB"
  )


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "topology"])
  app.run(main)
