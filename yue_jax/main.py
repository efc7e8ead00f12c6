"""Trains: python -m yue_jax.main --config=experiments/x.py --run_dir=runs/x.

Any field of the config can be overridden: --config.train.last_step=100. The
same command continues an interrupted run.
"""

import logging
import sys

from absl import app, flags
import absl.logging
import jax
from ml_collections import config_flags

from yue_jax import config
from yue_jax.train import loop

_log = logging.getLogger("yue_jax.main")
_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Experiment file; see experiments/.", lock_config=True
)
_RUN_DIR = flags.DEFINE_string(
  "run_dir", None, "Where checkpoints and metrics go; continued if it has any."
)
_DISTRIBUTED = flags.DEFINE_bool(
  "distributed", False, "One process of several: call jax.distributed first."
)


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments {argv[1:]}; see --help")
  if _DISTRIBUTED.value:
    jax.distributed.initialize()
  _log.info("%d devices: %s", jax.device_count(), jax.devices()[0])
  try:
    opened = loop.Run(config.from_config_dict(_CONFIG.value), _RUN_DIR.value)
  except (ValueError, TypeError, OSError) as error:
    sys.exit(f"main: {error}")
  opened.train()


def run() -> None:
  """Entry point."""
  # The libraries say what they do at every checkpoint; we say it once.
  absl.logging.set_verbosity(absl.logging.WARNING)
  logging.getLogger("yue_jax").setLevel(logging.INFO)
  flags.mark_flags_as_required(["config", "run_dir"])
  app.run(main)


if __name__ == "__main__":
  run()
