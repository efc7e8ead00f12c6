"""What is launched, written down for Kubernetes, for xpk and for TPU VMs."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import os
import pathlib
import re
import shlex
from typing import Any

from slices import Slices
import yaml

from yue_jax import config, sharding

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# Of Dockerfile. Experiments name data sets relative to it, as in data/songs.
WORKSPACE = "/workspace"
# With a TPU that does not answer JAX would train on the CPU.
ENVIRONMENT = {"JAX_PLATFORMS": "tpu,cpu"}
LOCAL_DIR = "/tmp/yue_jax"  # of every host, for what cannot lie in a bucket
STOPPED = os.EX_TEMPFAIL  # exit code of a run that was asked to stop
_FAILED = (1, os.EX_SOFTWARE)  # errors, those of hardware among them
_CONTAINER = "train"
# What a mount may remember for ever, since data sets do not change.
_MOUNT_OPTIONS = "implicit-dirs,metadata-cache:ttl-secs:-1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
  """One run on some slices.

  Attributes:
    name: of the workload.
    slices: what it runs on.
    command: started on every host.
    image: of the container.
    data_bucket: mounted at data/, read only.
    max_restarts: after failures; being taken away does not count.
    grace_seconds: between SIGTERM and SIGKILL, to save in.
    spot: on machines that may be taken away at any time.
    service_account: of Kubernetes, that may read and write the buckets.
  """

  name: str
  slices: Slices
  command: Sequence[str]
  image: str
  data_bucket: str
  max_restarts: int
  grace_seconds: int
  spot: bool
  service_account: str

  def __post_init__(self):
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", self.name):
      raise ValueError(
        f"{self.name!r} cannot name a workload: up to 40 of a-z, 0-9 and -,"
        " beginning with a letter; give another --name"
      )
    if not re.fullmatch(r"[a-z0-9][-_.a-z0-9]+", self.data_bucket):
      raise ValueError(
        f"--data_bucket={self.data_bucket} is not the name of a bucket; whole"
        " buckets are mounted, so that gs://BUCKET/songs is read as data/songs"
      )


def check(cfg: config.RunConfig, slices: Slices) -> None:
  """Refuses what would fail only after TPUs are paid for.

  Raises:
    ValueError: the mesh does not fit the devices, or the model the mesh; or a
      path of the config will not be there.
  """
  sharding.check_divisible(cfg.model, cfg.mesh)
  try:
    sharding.check_devices(cfg.mesh, slices.devices, slices.count)
  except ValueError as error:
    raise ValueError(f"{slices}: {error}") from error
  for field, path in _read_paths(cfg):
    parts = pathlib.PurePosixPath(path).parts
    if parts[:1] != ("data",) or ".." in parts:
      raise ValueError(
        f"{field}={path!r} is not below data/, where --data_bucket is mounted;"
        " copy it to the bucket, and give its path as data/..."
      )
  weights = cfg.initial_weights
  if weights and not weights.startswith(("gs://", "data/")):
    raise ValueError(
      f"initial_weights={weights!r} is on this machine; copy it to a bucket,"
      " and give gs://... or data/..."
    )


def _read_paths(cfg: config.RunConfig) -> Iterator[tuple[str, str]]:
  for name, line in cfg.data.evaluation.items():
    yield f"data.evaluation.{name}.data", line.data
  for number, phase in enumerate(cfg.phases):
    if phase.exclude:
      yield f"phases[{number}].exclude", phase.exclude
    for name, source in phase.mixture.items():
      yield f"phases[{number}].mixture.{name}.data", source.data


def command(
  experiment: str, overrides: Sequence[str], run_dir: str
) -> list[str]:
  """What every host runs: training, as it would be started here.

  Args:
    experiment: as given here to --config.
    overrides: of its fields, such as --config.mesh.fsdp=8.
    run_dir: of the run.

  Raises:
    ValueError: the hosts would not have the experiment, or lose the run.
  """
  file, *variant = experiment.split(":", 1)
  path = pathlib.Path(file).resolve()
  if not path.is_relative_to(ROOT / "experiments"):
    raise ValueError(
      f"--config={file} is not in {ROOT / 'experiments'}, and only that is"
      " brought to the hosts; move it there"
    )
  for override in overrides:
    if "=" not in override:
      raise ValueError(f"give {override} its value in one, as {override}=VALUE")
  if not re.fullmatch(r"gs://[^/]+/.*[^/]", run_dir):
    raise ValueError(
      f"--run_dir={run_dir} would be lost with the hosts; give a folder of a"
      " bucket, as gs://BUCKET/runs/NAME"
    )
  return [
    "python",
    "-m",
    "yue_jax.main",
    f"--config={':'.join([path.relative_to(ROOT).as_posix(), *variant])}",
    *overrides,
    f"--run_dir={run_dir}",
    f"--local_dir={LOCAL_DIR}",
  ]


def jobset(launch: Launch) -> dict[str, Any]:
  """A JobSet: one job a slice, one pod a host.

  JobSet makes the headless service in which hosts find each other, and from
  it Google Kubernetes Engine sets TPU_WORKER_ID and TPU_WORKER_HOSTNAMES, and
  MEGASCALE_* where there are several slices; `yue_jax.processes` reads them.
  """
  hosts = launch.slices.hosts
  job = {
    "completionMode": "Indexed",
    "parallelism": hosts,
    "completions": hosts,
    "backoffLimit": 0,  # one host that fails ends the step of all
    "podFailurePolicy": {
      "rules": [
        {
          "action": "FailJob",
          "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
        {
          "action": "FailJob",
          "onExitCodes": {
            "containerName": _CONTAINER,
            "operator": "In",
            "values": [STOPPED],
          },
        },
      ]
    },
    "template": {
      "metadata": {"annotations": {"gke-gcsfuse/volumes": "true"}},
      "spec": _pod(launch),
    },
  }
  return {
    "apiVersion": "jobset.x-k8s.io/v1alpha2",
    "kind": "JobSet",
    "metadata": {
      "name": launch.name,
      "annotations": {  # a node pool is a slice
        "alpha.jobset.sigs.k8s.io/exclusive-topology": (
          "cloud.google.com/gke-nodepool"
        )
      },
    },
    "spec": {
      "network": {"enableDNSHostnames": True},
      "failurePolicy": {
        "maxRestarts": launch.max_restarts,
        "rules": [
          {
            "name": "taken_away",
            "action": "RestartJobSetAndIgnoreMaxRestarts",
            "onJobFailureReasons": ["PodFailurePolicy"],
          }
        ],
      },
      "replicatedJobs": [
        {
          "name": "slice",
          "replicas": launch.slices.count,
          "template": {"spec": job},
        }
      ],
    },
  }


def _pod(launch: Launch) -> dict[str, Any]:
  slices = launch.slices
  selector = {
    "cloud.google.com/gke-tpu-accelerator": slices.generation.accelerator,
    "cloud.google.com/gke-tpu-topology": slices.topology,
  }
  tolerations = [{"key": "google.com/tpu", "operator": "Exists"}]
  if launch.spot:
    selector["cloud.google.com/gke-spot"] = "true"
    tolerations.append(
      {"key": "cloud.google.com/gke-spot", "operator": "Exists"}
    )
  bucket = {
    "bucketName": launch.data_bucket,
    "mountOptions": _MOUNT_OPTIONS,
  }
  network = {}
  if slices.count > 1:  # slices talk over the network of the hosts
    network = {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    bucket["hostNetworkPodKSA"] = "true"
  return {
    **network,
    "restartPolicy": "Never",
    "terminationGracePeriodSeconds": launch.grace_seconds,
    "serviceAccountName": launch.service_account,
    "nodeSelector": selector,
    "tolerations": tolerations,
    "containers": [
      {
        "name": _CONTAINER,
        "image": launch.image,
        "workingDir": WORKSPACE,
        "command": list(launch.command),
        "env": [{"name": k, "value": v} for k, v in ENVIRONMENT.items()],
        "securityContext": {"privileged": True},  # to reach the chips
        "resources": {"limits": {"google.com/tpu": slices.chips_per_host}},
        "volumeMounts": [
          {"name": "data", "mountPath": f"{WORKSPACE}/data", "readOnly": True}
        ],
      }
    ],
    "volumes": [
      {
        "name": "data",
        "csi": {
          "driver": "gcsfuse.csi.storage.gke.io",
          "readOnly": True,
          "volumeAttributes": bucket,
        },
      }
    ],
  }


def jobset_yaml(launch: Launch) -> str:
  text = yaml.safe_dump(jobset(launch), sort_keys=False, width=1000)
  return f"# {headline(launch)}\n#   kubectl apply -f jobset.yaml\n{text}"


def xpk_script(launch: Launch) -> str:
  """Shell script with the commands of xpk; body in xpk.sh."""
  slices = launch.slices
  # xpk starts the command in a subshell and sends SIGTERM to that; exec makes
  # the trainer take its place.
  command = f"exec {shlex.join(launch.command)}"
  create = [
    f"--workload={launch.name}",
    # By shape: several shapes may have as many cores.
    f"--tpu-type={slices.generation.product}-{slices.topology}",
    f"--num-slices={slices.count}",
    f"--docker-image={launch.image}",
    f"--storage={launch.data_bucket}",
    *(f"--env={name}={value}" for name, value in ENVIRONMENT.items()),
    f"--max-restarts={launch.max_restarts}",
    # xpk takes codes below 127 for the end of the run, unless told.
    f"--restart-on-exit-codes={','.join(map(str, (*_FAILED, STOPPED)))}",
    f"--termination-grace-period-seconds={launch.grace_seconds}",
    f"--command={command}",
  ]
  if slices.grid.chip.devices > 1:
    create.append("--no-use-parallel-containers")  # a process a host
  attach = [
    launch.data_bucket,
    "--type=gcsfuse",
    f"--bucket={launch.data_bucket}",
    f"--mount-point={WORKSPACE}/data",
    f"--mount-options={_MOUNT_OPTIONS}",
    "--size=1",  # asked for, and of no effect on a bucket
    "--readonly=true",
    "--auto-mount=false",
  ]
  variables = {"NAME": launch.name, "ATTACH": attach, "CREATE": create}
  return _script(launch, "xpk.sh", variables)


def vm_script(launch: Launch) -> str:
  """Shell script for TPU VMs without Kubernetes; body in vm.sh.

  Raises:
    ValueError: there are no TPU VMs of this kind.
  """
  slices = launch.slices
  if slices.generation.software is None:
    raise ValueError(f"{slices.grid.chip.name} is only to be had on Kubernetes")
  if not slices.is_default:
    raise ValueError(
      f"TPU VMs are asked for by the number of cores, which for {slices} means"
      " another shape"
    )
  create = [
    f"--accelerator-type={slices.type_name}",
    f"--runtime-version={slices.generation.software}",
    "--scopes=cloud-platform",
  ]
  if slices.count == 1:
    create.append(f"--node-id={launch.name}")
  else:
    create += [
      f"--node-count={slices.count}",
      f"--node-prefix={launch.name}",
    ]
  if launch.spot:
    create.append("--spot")
  properties = {
    "Restart": "on-failure",
    "RestartSec": 30,
    "StartLimitBurst": launch.max_restarts,
    "StartLimitIntervalSec": 86400,
    "TimeoutStopSec": launch.grace_seconds,
    "LimitMEMLOCK": "infinity",
  }
  service = [
    *(f"--property={name}={value}" for name, value in properties.items()),
    *(f"--setenv={name}={value}" for name, value in ENVIRONMENT.items()),
  ]
  variables = {
    "NAME": launch.name,
    "DATA_BUCKET": launch.data_bucket,
    "CREATE": create,
    "SERVICE": service,
    "COMMAND": launch.command[1:],
  }
  return _script(launch, "vm.sh", variables)


def headline(launch: Launch) -> str:
  """What it takes, in one line."""
  slices = launch.slices
  return (
    f"{launch.name} on {slices} ({slices.type_name}):"
    f" {slices.chips * slices.count} chips, {slices.hosts * slices.count} hosts"
  )


def write(launch: Launch, out: pathlib.Path) -> None:
  """Writes all ways to launch it into a directory, and says what it wrote."""
  out.mkdir(parents=True, exist_ok=True)
  for name, render in (
    ("xpk.sh", xpk_script),
    ("jobset.yaml", jobset_yaml),
    ("vm.sh", vm_script),
  ):
    try:
      text = render(launch)
    except ValueError as error:
      (out / name).unlink(missing_ok=True)  # of other chips
      print(f"  no {name}: {error}")
    else:
      (out / name).write_text(text)
      print(f"  {out / name}")


def _script(
  launch: Launch, body: str, variables: Mapping[str, str | Sequence[str]]
) -> str:
  """A body of this directory, below the variables that it reads."""
  lines = ["#!/usr/bin/env bash", f"# {headline(launch)}"]
  for name, value in variables.items():
    if isinstance(value, str):
      lines.append(f"{name}={shlex.quote(value)}")
    else:
      words = "".join(f"  {shlex.quote(word)}\n" for word in value)
      lines.append(f"{name}=(\n{words})")
  return "\n".join([*lines, "", (HERE / body).read_text()])
