"""Trains: python -m yue_jax.main --config=experiments/x.py --run_dir=runs/x.

Any field of the config can be overridden: --config.train.last_step=100. The
same command continues an interrupted run.

On several hosts the same command is started on each: Cloud TPU, Slurm and
Open MPI are found, others told by --coordinator, --num_processes and
--process_id. SIGTERM at any of them saves and stops all.

Exit codes: 0 the run is done; 75 it was asked to stop and has saved, so that
the same command goes on; 70 no step ended for train.watchdog_minutes; 1 an
error, which is the last thing said. SIGUSR1 traces the next steps of a process
to run_dir/profile.
"""

import logging
import os
import sys
import traceback
from typing import NoReturn

from absl import app, flags
import absl.logging
import jax
from ml_collections import config_flags

from yue_jax import config, processes
from yue_jax.train import loop

_log = logging.getLogger("yue_jax.main")
_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Experiment file; see experiments/.", lock_config=True
)
_RUN_DIR = flags.DEFINE_string(
  "run_dir", None, "Where checkpoints and metrics go; continued if it has any."
)
_LOCAL_DIR = flags.DEFINE_string(
  "local_dir",
  None,
  "For what needs a disk (plans, TensorBoard, traces), if run_dir is a bucket.",
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", None, "host:port of process 0, where no cluster is found."
)
_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "How many there are; 1 for this one alone.", 1
)
_PROCESS = flags.DEFINE_integer("process_id", None, "Number of this one.", 0)
_HEARTBEAT = flags.DEFINE_integer(
  "heartbeat_seconds", 100, "A process silent for so long ends all others.", 1
)
_WAIT = flags.DEFINE_integer(
  "wait_seconds", 300, "How long to wait for all processes to start.", 1
)


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments {argv[1:]}; see --help")
  if not jax.config.jax_compilation_cache_dir:  # JAX_COMPILATION_CACHE_DIR
    jax.config.update("jax_compilation_cache_dir", f"{_RUN_DIR.value}/compiled")
  try:
    opened = _open()
  except (ValueError, TypeError, OSError, ImportError) as error:
    _fail(f"main: {error}")
  except (Exception, KeyboardInterrupt):
    _fail(traceback.format_exc())
  try:
    opened.train()
  except (Exception, KeyboardInterrupt):
    _fail(traceback.format_exc())
  if opened.stopped:
    sys.exit(os.EX_TEMPFAIL)


def _open() -> loop.Run:
  _join()
  _log.info("%d devices: %s", jax.device_count(), jax.devices()[0])
  cfg = config.from_config_dict(_CONFIG.value)
  evaluators = []
  if cfg.rehearsal:
    # Here, for it imports all that it takes to sing.
    from yue_jax.rehearsal.rehearsal import Rehearsal

    evaluators = [Rehearsal(cfg, _RUN_DIR.value)]
  return loop.Run(
    cfg,
    _RUN_DIR.value,
    local_dir=_LOCAL_DIR.value,
    evaluators=evaluators,
  )


def _join() -> None:
  cluster = processes.find_cluster(
    _COORDINATOR.value,
    _PROCESSES.value,
    _PROCESS.value,
    environment=os.environ,
  )
  if cluster is not None:
    processes.join(
      cluster,
      heartbeat_seconds=_HEARTBEAT.value,
      wait_seconds=_WAIT.value,
    )
  if jax.process_index() != 0:  # one process speaks; all may warn
    logging.getLogger("yue_jax").setLevel(logging.WARNING)


def _fail(message: str) -> NoReturn:
  print(message, file=sys.stderr, flush=True)
  if jax.distributed.is_initialized():
    # A regular exit would wait for the others, and they for this one.
    os._exit(1)
  sys.exit(1)


def run() -> None:
  """Entry point."""
  # The libraries say what they do at every checkpoint; we say it once.
  absl.logging.set_verbosity(absl.logging.WARNING)
  logging.getLogger("yue_jax").setLevel(logging.INFO)
  flags.mark_flags_as_required(["config", "run_dir"])
  app.run(main)


if __name__ == "__main__":
  run()
