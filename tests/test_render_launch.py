"""What is launched on TPUs, up to the command that every host runs."""

import dataclasses
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT
from yue_jax import config

sys.path.insert(0, str(ROOT / "tools" / "tpu"))
import launch
import slices

EXPERIMENT = "experiments/stage1_pretrain.py:7b"
OVERRIDES = (
  "--config.mesh.replica=2",
  "--config.phases[0].microbatches=6",
  "--config.phases[1].microbatches=6",
  "--config.phases[0].exclude=data/not (these) $ongs.txt",  # for the shells
)
RUN_DIR = "gs://runs/stage1-7b"


def described(topology: str, count: int = 1, **changes) -> launch.Launch:
  made = launch.Launch(
    name="stage1-7b",
    slices=slices.parse(topology, count),
    command=launch.command(EXPERIMENT, OVERRIDES, RUN_DIR),
    image="registry/yue_jax",
    data_bucket="songs",
    max_restarts=7,
    grace_seconds=300,
    spot=False,
    service_account="trainer",
  )
  return dataclasses.replace(made, **changes)


def seven_billion(**mesh: int) -> config.RunConfig:
  from experiments import stage1_pretrain

  plain = stage1_pretrain.get_config("7b")
  plain.mesh.update(mesh)
  for phase in plain.phases:
    phase["microbatches"] = 6
  return config.from_config_dict(plain)


@pytest.fixture
def machine(tmp_path):
  """Runs a script where the cloud is this machine, and writes down calls."""
  programs = tmp_path / "bin"
  programs.mkdir()
  note = (
    f'printf "%s\\0" "$0" "$@" >> {tmp_path}/calls; echo >> {tmp_path}/calls'
  )
  here = 'case "$*" in *" ssh "*) bash -c "${!##--command=}";; esac'
  active = 'case "$*" in *" describe "*) echo ACTIVE;; esac'
  for name, rest in {
    "gcloud": f"{active}\n{here}",
    "xpk": 'for a; do [[ "$a" != --command=* ]] || bash -c "(${a#*=})"; done',
    "python": "",
    "sudo": "",
    "mountpoint": "",
  }.items():
    program = programs / name
    program.write_text(f"#!/usr/bin/env bash\n{note}\n{rest}\n")
    program.chmod(0o755)

  def run(script: str, *words: str) -> list[list[str]]:
    (tmp_path / "script.sh").write_text(script)
    (tmp_path / "calls").unlink(missing_ok=True)
    done = subprocess.run(
      ["bash", str(tmp_path / "script.sh"), *words],
      capture_output=True,
      text=True,
      cwd=ROOT,
      env={
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": "/home/user",
        **dict.fromkeys(("PROJECT", "ZONE", "CLUSTER"), "there"),
      },
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "calls").read_text().split("\n")[:-1]
    calls = [line.split("\0")[:-1] for line in lines]
    return [[pathlib.Path(c[0]).name, *c[1:]] for c in calls]

  return run


@pytest.mark.parametrize(
  ("topology", "hosts", "chips", "devices", "type_name", "accelerator"),
  [
    ("v5p:4x4x4", 16, 4, 64, "v5p-128", "tpu-v5p-slice"),
    ("v5p:2x2x1", 1, 4, 4, "v5p-8", "tpu-v5p-slice"),
    ("v5e:16x16", 64, 4, 256, "v5litepod-256", "tpu-v5-lite-podslice"),
    ("v6e:4x4", 4, 4, 16, "v6e-16", "tpu-v6e-slice"),
    ("v6e:1x1", 1, 1, 1, "v6e-1", "tpu-v6e-slice"),
    ("v4:2x2x4", 4, 4, 16, "v4-32", "tpu-v4-podslice"),
    ("tpu7x:4x4x4", 16, 4, 128, "tpu7x-128", "tpu7x"),
  ],
)
def test_hosts_and_names_of_a_slice(
  topology, hosts, chips, devices, type_name, accelerator
):
  found = slices.parse(topology)
  assert (found.hosts, found.chips_per_host) == (hosts, chips)
  assert (found.devices, found.type_name) == (devices, type_name)
  assert found.generation.accelerator == accelerator


@pytest.mark.parametrize(
  ("topology", "default"),
  [("v5p:4x4x16", False), ("v5p:4x8x8", True), ("v5p:8x8x8", True),
   ("v5p:4x8x16", False), ("v5p:2x2x4", True), ("v5e:8x16", True)],
)  # fmt: skip
def test_a_number_of_cores_means_one_shape(topology, default):
  assert slices.parse(topology).is_default == default


@pytest.mark.parametrize(
  ("topology", "count", "message"),
  [
    ("v5p-128", 1, "such as v5e:16x16"),
    ("h100:8x8", 1, "is none of"),
    ("v5e:4x6", 1, "v5e slices are 1x1, 2x2"),
    ("v5e:4x4x4", 1, "v5e slices are 1x1, 2x2"),
    ("v5p:4x4", 1, "three multiples of 4"),
    ("v5p:8x4x4", 1, "from the smallest to the largest"),
    ("v5p:4x4x6", 1, "three multiples of 4"),
    ("v5p:4x4x4", 0, "at least one"),
    ("v6e:2x2", 2, "more than 4 chips"),
  ],
)
def test_slices_that_do_not_exist(topology, count, message):
  with pytest.raises(ValueError, match=message):
    slices.parse(topology, count)


@pytest.mark.parametrize(
  ("topology", "count"), [("v5p:4x4x4", 1), ("v5e:16x16", 1), ("v6e:8x8", 4)]
)
def test_a_jobset_has_a_job_a_slice_and_a_pod_a_host(topology, count):
  run = described(topology, count)
  read = yaml.safe_load(launch.jobset_yaml(run))
  assert read["kind"] == "JobSet"
  (group,) = read["spec"]["replicatedJobs"]
  assert group["replicas"] == count
  job = group["template"]["spec"]
  assert job["parallelism"] == job["completions"] == run.slices.hosts
  assert (job["completionMode"], job["backoffLimit"]) == ("Indexed", 0)
  pod = job["template"]["spec"]
  assert pod["nodeSelector"] == {
    "cloud.google.com/gke-tpu-accelerator": run.slices.generation.accelerator,
    "cloud.google.com/gke-tpu-topology": topology.split(":")[1],
  }
  (container,) = pod["containers"]
  assert container["resources"]["limits"] == {"google.com/tpu": 4}
  assert container["command"] == list(run.command)
  assert container["env"] == [{"name": "JAX_PLATFORMS", "value": "tpu,cpu"}]
  assert pod["serviceAccountName"] == "trainer"
  assert pod.get("hostNetwork", False) == (count > 1)


def test_a_jobset_mounts_the_data_where_experiments_read_them():
  job = launch.jobset(described("v5p:4x4x4"))["spec"]["replicatedJobs"][0]
  template = job["template"]["spec"]["template"]
  assert template["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}
  (volume,) = template["spec"]["volumes"]
  assert volume["csi"]["driver"] == "gcsfuse.csi.storage.gke.io"
  assert volume["csi"]["volumeAttributes"]["bucketName"] == "songs"
  (container,) = template["spec"]["containers"]
  (mount,) = container["volumeMounts"]
  assert mount["name"] == volume["name"]
  assert mount["mountPath"] == f"{container['workingDir']}/data"
  assert mount["readOnly"] and volume["csi"]["readOnly"]


def test_a_jobset_restarts_for_ever_when_taken_away_and_rarely_on_errors():
  spec = launch.jobset(described("v5p:4x4x4"))["spec"]
  job = spec["replicatedJobs"][0]["template"]["spec"]
  pod = job["template"]["spec"]
  disrupted, stopped = job["podFailurePolicy"]["rules"]
  assert disrupted["onPodConditions"][0]["type"] == "DisruptionTarget"
  assert stopped["onExitCodes"]["values"] == [75]
  assert stopped["onExitCodes"]["containerName"] == pod["containers"][0]["name"]
  (rule,) = spec["failurePolicy"]["rules"]
  assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
  assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
  assert spec["failurePolicy"]["maxRestarts"] == 7
  assert pod["terminationGracePeriodSeconds"] == 300
  assert pod["restartPolicy"] == "Never"


def test_spot_machines_are_chosen_and_tolerated():
  run = described("v5p:4x4x4", spot=True)
  job = launch.jobset(run)["spec"]["replicatedJobs"][0]["template"]["spec"]
  pod = job["template"]["spec"]
  assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
  keys = [toleration["key"] for toleration in pod["tolerations"]]
  assert keys == ["google.com/tpu", "cloud.google.com/gke-spot"]
  assert "  --spot\n" in launch.vm_script(run)


def test_xpk_starts_the_command_on_every_host(machine):
  run = described("v5p:4x4x16", 2)
  xpk, python = machine(launch.xpk_script(run), "start")
  assert python == list(run.command)  # through two shells
  # The shell that xpk sends SIGTERM to has to be the trainer itself.
  assert any(word.startswith("--command=exec python ") for word in xpk)
  assert xpk[:3] == ["xpk", "workload", "create"]
  assert {
    "--workload=stage1-7b",
    "--tpu-type=v5p-4x4x16",
    "--num-slices=2",
    "--docker-image=registry/yue_jax",
    "--storage=songs",
    "--env=JAX_PLATFORMS=tpu,cpu",
    "--max-restarts=7",
    "--restart-on-exit-codes=1,70,75",
    "--termination-grace-period-seconds=300",
    "--cluster=there",
  } <= set(xpk)


def test_xpk_attaches_the_data_under_the_name_that_is_used(machine):
  (attach,) = machine(launch.xpk_script(described("v5p:4x4x4")), "attach")
  assert attach[:4] == ["xpk", "storage", "attach", "songs"]
  assert {"--bucket=songs", "--mount-point=/workspace/data"} <= set(attach)


def test_xpk_runs_one_process_a_host_where_a_chip_is_two_devices():
  flag = "--no-use-parallel-containers"
  assert flag in launch.xpk_script(described("tpu7x:4x4x4"))
  assert flag not in launch.xpk_script(described("v5p:4x4x4"))


@pytest.mark.parametrize(
  ("count", "nodes"),
  [
    (1, ["--node-id=stage1-7b"]),
    (2, ["--node-count=2", "--node-prefix=stage1-7b"]),
  ],
)
def test_tpu_vms_are_asked_for_by_cores(machine, count, nodes):
  script = launch.vm_script(described("v5p:4x4x4", count))
  create, describe = machine(script, "create")
  assert create[1:6] == [
    "compute", "tpus", "queued-resources", "create", "stage1-7b"
  ]  # fmt: skip
  flags = ["--accelerator-type=v5p-128", "--runtime-version=v2-alpha-tpuv5"]
  assert {*flags, *nodes, "--zone=there"} <= set(create)
  assert "describe" in describe


def test_tpu_vms_start_the_command_as_a_service(machine):
  run = described("v5p:4x4x4")
  calls = machine(launch.vm_script(run), "start")
  ssh, service = calls[0], calls[-1]
  assert {"--node=all", "--worker=all"} <= set(ssh)
  assert service[:3] == ["sudo", "systemd-run", "--unit=stage1-7b"]
  python = service.index("/home/user/yue_jax/.venv/bin/python")
  assert service[python + 1 :] == list(run.command[1:])
  assert {
    "--working-directory=/home/user/yue_jax",
    "--property=Restart=on-failure",
    "--property=StartLimitBurst=7",
    "--property=TimeoutStopSec=300",
    "--setenv=JAX_PLATFORMS=tpu,cpu",
  } <= set(service[:python])


@pytest.mark.parametrize(
  ("topology", "message"),
  [("tpu7x:4x4x4", "only to be had on Kubernetes"), ("v5p:4x4x16", "cores")],
)
def test_tpu_vms_that_do_not_exist(topology, message):
  with pytest.raises(ValueError, match=message):
    launch.vm_script(described(topology))


@pytest.mark.parametrize("count", [1, 2])
def test_scripts_have_no_errors_of_syntax(count, tmp_path):
  run = described("v6e:4x4", count)
  on_install = launch.vm_script(run).split("<<'HOST'\n")[1].split("HOST\n")[0]
  for text in (launch.xpk_script(run), launch.vm_script(run), on_install):
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_the_launched_command_is_understood_by_the_trainer():
  parse = (
    "import json, sys; from absl import flags;"
    "from yue_jax import config, main;"
    "rest = flags.FLAGS(sys.argv); f = flags.FLAGS;"
    "cfg = config.from_config_dict(f.config);"
    "print(json.dumps([rest[1:], f.run_dir, f.local_dir, cfg.mesh.shape,"
    " [p.microbatches for p in cfg.phases]]))"
  )
  _, _, module, *flags = described("v5p:4x4x4", 2).command
  assert module == "yue_jax.main"
  out = subprocess.check_output([sys.executable, "-c", parse, *flags], cwd=ROOT)
  assert json.loads(out) == [
    [],
    RUN_DIR,
    launch.LOCAL_DIR,
    [2, 64, 1, 1],
    [6, 6],
  ]


def test_the_mesh_must_be_that_of_the_slices():
  launch.check(seven_billion(), slices.parse("v5p:4x4x4"))
  launch.check(seven_billion(replica=2), slices.parse("v6e:8x8", 2))
  with pytest.raises(
    ValueError, match=r"v5e:8x8: mesh .*needs 32 devices.* 64"
  ):
    launch.check(seven_billion(fsdp=32), slices.parse("v5e:8x8"))
  with pytest.raises(ValueError, match="replica=1 is not a multiple of the 2"):
    launch.check(seven_billion(), slices.parse("v5p:2x4x4", 2))
  with pytest.raises(ValueError, match="heads=32 is not divisible by"):
    launch.check(seven_billion(fsdp=1, tensor=64), slices.parse("v5p:4x4x4"))


def test_data_that_hosts_would_not_find():
  cfg, where = seven_billion(), slices.parse("v5p:4x4x4")
  mixture = cfg.phases[0].mixture
  for path in ("/home/songs", "songs", "data/../songs"):
    there = {"cot": dataclasses.replace(mixture["cot"], data=path)}
    phase = dataclasses.replace(cfg.phases[0], mixture=there)
    changed = dataclasses.replace(cfg, phases=(phase,))
    with pytest.raises(ValueError, match="not below data/, where"):
      launch.check(changed, where)
  here = dataclasses.replace(cfg, initial_weights="runs/imported")
  with pytest.raises(ValueError, match="initial_weights='runs/imported' is on"):
    launch.check(here, where)


@pytest.mark.parametrize(
  ("experiment", "overrides", "run_dir", "message"),
  [
    ("/tmp/mine.py", (), RUN_DIR, "is not in .*experiments"),
    (EXPERIMENT, ("--config.seed",), RUN_DIR, "--config.seed=VALUE"),
    (EXPERIMENT, (), "runs/stage1", "would be lost"),
    (EXPERIMENT, (), "gs://bucket", "would be lost"),
  ],
)
def test_commands_that_hosts_could_not_run(
  experiment, overrides, run_dir, message
):
  with pytest.raises(ValueError, match=message):
    launch.command(experiment, overrides, run_dir)


def test_names_that_clouds_refuse():
  for name in ("Stage1", "1st", "a" * 41, "stage1_7b", "stage1-"):
    with pytest.raises(ValueError, match="cannot name a workload"):
      described("v5p:4x4x4", name=name)
  with pytest.raises(ValueError, match="whole buckets are mounted"):
    described("v5p:4x4x4", data_bucket="songs/2026")


def test_the_image_has_what_the_launch_expects():
  text = (ROOT / "tools" / "tpu" / "Dockerfile").read_text()
  assert f"\nWORKDIR {launch.WORKSPACE}\n" in text
  (extras,) = re.findall(r"pip install .*'\.\[(.*)\]'", text)
  setup = (ROOT / "setup.py").read_text()
  assert all(f'"{extra}":' in setup for extra in extras.split(","))
  assert "tpu" in extras.split(",")
  copied = [shlex.split(line)[1] for line in re.findall("COPY .*", text)]
  assert {"setup.py", "yue_jax", "experiments"} <= set(copied)
  ignore = (ROOT / "tools" / "tpu" / "Dockerfile.dockerignore").read_text()
  for path in copied:
    assert (ROOT / path).exists() and f"!{path}\n" in ignore


def test_the_tool_writes_what_can_be_launched(tmp_path):
  def render(topology, *flags):
    return subprocess.run(
      [
        sys.executable,
        "tools/tpu/render_launch.py",
        f"--config={EXPERIMENT}",
        f"--topology={topology}",
        f"--run_dir={RUN_DIR}",
        "--data_bucket=gs://songs/",
        "--image=registry/yue_jax",
        f"--out={tmp_path}",
        *flags,
      ],
      capture_output=True,
      text=True,
      cwd=ROOT,
      env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

  done = render("v5p:4x4x4", "--slices=2", *OVERRIDES)
  assert done.returncode == 0, done.stderr
  assert "2 slices of v5p:4x4x4 (v5p-128): 128 chips, 32 hosts" in done.stdout
  written = yaml.safe_load((tmp_path / "jobset.yaml").read_text())
  job = written["spec"]["replicatedJobs"][0]["template"]["spec"]
  (container,) = job["template"]["spec"]["containers"]
  assert container["command"] == list(described("v5p:4x4x4", 2).command)
  assert written["metadata"]["name"] == "stage1-7b"
  assert (tmp_path / "xpk.sh").exists() and (tmp_path / "vm.sh").exists()

  done = render("tpu7x:2x4x4")
  assert done.returncode == 0, done.stderr
  assert "no vm.sh: tpu7x is only to be had" in done.stdout
  assert not (tmp_path / "vm.sh").exists()

  done = render("v5e:16x16")
  assert done.returncode == 1
  assert "needs 64 devices, but there are 256; change mesh.*" in done.stderr
