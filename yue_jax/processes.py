"""Joining the processes of a run, one on every host: told, found, or alone.

  told    --coordinator --num_processes --process_id, all three
  found   on a cluster that JAX knows by itself: Cloud TPU, Slurm, Open MPI
  alone   anywhere else, and with --num_processes=1

Whoever is on a cluster joins it or fails: hosts that quietly trained alone
would each write over the same run.
"""

from collections.abc import Mapping
import dataclasses
import glob
import logging

import jax

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Cluster:
  """Processes that belong together.

  Attributes:
    kind: how it was found, for messages.
    coordinator: host:port of process 0; None if JAX is to find it.
    processes: how many; None if only JAX can tell.
    process: number of this one; None if JAX is to find it.
  """

  kind: str
  coordinator: str | None = None
  processes: int | None = None
  process: int | None = None


def find_cluster(
  coordinator: str | None,
  processes: int | None,
  process: int | None,
  *,
  environment: Mapping[str, str],
  dev: str = "/dev",
) -> Cluster | None:
  """The cluster this process belongs to; None if it is alone.

  Args:
    coordinator: host:port of process 0, as told by the user.
    processes: how many there are, likewise.
    process: number of this one, likewise.
    environment: variables, in which clusters announce themselves.
    dev: where the files of TPU chips are.

  Raises:
    ValueError: only a part was told, or it contradicts itself.
  """
  told = coordinator, processes, process
  if told == (None, 1, None):
    return None
  if told == (None, None, None):
    return _announced(environment, dev)
  if None in told:
    raise ValueError(
      f"got --coordinator={coordinator} --num_processes={processes}"
      f" --process_id={process}; give all three, or none to have the cluster"
      " found, or --num_processes=1 alone"
    )
  if not 0 <= process < processes:
    raise ValueError(
      f"--process_id={process} is none of the numbers from 0 to"
      f" {processes - 1} of --num_processes={processes}"
    )
  return Cluster("told", coordinator, processes, process)


def join(
  cluster: Cluster, *, heartbeat_seconds: int, wait_seconds: int
) -> None:
  """Meets the other processes; call before anything touches a device.

  Args:
    cluster: which.
    heartbeat_seconds: a process that is silent for so long counts as dead,
      and its death ends all others.
    wait_seconds: for all to come.

  Where not all come in time, JAX ends this process.

  Raises:
    ConnectionError: there is nothing to join, or there are more or fewer than
      expected.
  """
  expected = (
    f"expected {cluster.processes or 'some'} processes ({cluster.kind})"
  )
  _log.info("%s, waiting up to %d s for all of them", expected, wait_seconds)
  try:
    jax.distributed.initialize(
      cluster.coordinator,
      cluster.processes,
      cluster.process,
      initialization_timeout=wait_seconds,
      heartbeat_timeout_seconds=heartbeat_seconds,
    )
  except (ValueError, RuntimeError) as error:
    raise ConnectionError(
      f"{expected}, but they could not be joined: {error} Start one process on"
      " every host, with the extra [tpu] installed where there are TPUs;"
      " --num_processes=1 trains on this host alone."
    ) from error
  if cluster.processes not in (None, jax.process_count()):
    raise ConnectionError(
      f"{expected}, but the devices are those of {jax.process_count()}"
    )
  _log.info(
    "process %d of %d (%s)",
    jax.process_index(),
    jax.process_count(),
    cluster.kind,
  )


def _announced(environment: Mapping[str, str], dev: str) -> Cluster | None:
  platforms = environment.get("JAX_PLATFORMS", "")
  if not platforms or "tpu" in platforms:
    hosts = environment.get("TPU_PROCESS_ADDRESSES") or environment.get(
      "TPU_WORKER_HOSTNAMES"
    )
    if hosts:  # Google Kubernetes Engine
      slices = int(environment.get("MEGASCALE_NUM_SLICES") or 1)
      return Cluster(
        f"Cloud TPU, {slices} slices of {hosts}",
        processes=slices * len(hosts.split(",")),
      )
    if glob.glob(f"{dev}/accel[0-9]*") or glob.glob(f"{dev}/vfio/[0-9]*"):
      return Cluster("Cloud TPU VM")
  tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
  if int(tasks) > 1:
    return Cluster("Slurm", processes=int(tasks))
  ranks = environment.get("OMPI_COMM_WORLD_SIZE", "1")
  if int(ranks) > 1:
    return Cluster("Open MPI", processes=int(ranks))
  return None


def cpu_environment(
  devices: int, environment: Mapping[str, str]
) -> dict[str, str]:
  """Variables of a process with so many devices, made of this machine's cores.

  A device that waits for another in a collective holds a thread of the pool
  that both share: the pool is larger than the machine, so that none is stuck.
  """
  flags = environment.get("XLA_FLAGS", "").split()
  flags.append(f"--xla_force_host_platform_device_count={devices}")
  made = {**environment, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join(flags)}
  return made if devices == 1 else {**made, "PJRT_NPROC": str(4 * devices)}
