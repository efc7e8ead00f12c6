"""What needs a disk is given none but a disk, or the run does not start."""

import importlib.util
import pathlib

import pytest

from tests import tiny
from yue_jax import config
from yue_jax.locations import check_locations


def run_config(**changes) -> config.RunConfig:
  tree = tiny.run_dict()
  for path, value in changes.items():
    *parents, name = path.split("__")
    table = tree
    for parent in parents:
      table = table[int(parent) if parent.isdigit() else parent]
    table[name] = value
  return config.from_config_dict(tree)


@pytest.fixture(params=[True, False], ids=["gcsfs", "no_gcsfs"])
def installed(request, monkeypatch) -> bool:
  found = object() if request.param else None
  monkeypatch.setattr(importlib.util, "find_spec", lambda _: found)
  return request.param


@pytest.mark.parametrize(
  ("run_dir", "local_dir", "expected"),
  [
    ("runs/x", None, "runs/x"),
    ("runs/x", "/scratch", "/scratch"),
    ("gs://b/x", "/scratch", "/scratch"),
  ],
)
def test_places_that_will_do(run_dir, local_dir, expected, installed):
  weights = {"initial_weights": "gs://b/w"} if installed else {}
  if run_dir.startswith("gs:") and not installed:
    with pytest.raises(ImportError, match="gs://b/x needs the package gcsfs"):
      check_locations(run_config(), run_dir, local_dir)
    return
  found = check_locations(run_config(**weights), run_dir, local_dir)
  assert found == pathlib.Path(expected)


def test_weights_in_a_bucket_need_a_reader(installed):
  if not installed:
    with pytest.raises(ImportError, match="gs://b/w needs the package gcsfs"):
      check_locations(run_config(initial_weights="gs://b/w"), "runs/x", None)


@pytest.mark.parametrize(
  ("run_dir", "local_dir", "message"),
  [
    ("gs://b/x", None, "give --local_dir as well, or mount the bucket"),
    ("gs://b/x", "gs://b/y", "local_dir=gs://b/y must be on a disk"),
  ],
)
def test_places_that_will_not_do(run_dir, local_dir, message):
  with pytest.raises(ValueError, match=message):
    check_locations(run_config(), run_dir, local_dir)


@pytest.mark.parametrize(
  ("path", "value", "name"),
  [
    (
      "phases__0__mixture__songs__data",
      "gs://b/d",
      r"phases\[0\]\.mixture\.songs\.data='gs://b/d'",
    ),
    ("phases__0__exclude", "gs://b/e", r"phases\[0\]\.exclude='gs://b/e'"),
    (
      "data__evaluation",
      {"held": {"data": "gs://b/h", "kind": "cot"}},
      r"data\.evaluation\.held\.data='gs://b/h'",
    ),
  ],
)
def test_data_sets_must_be_mounted(path, value, name):
  with pytest.raises(ValueError, match=name + " .*mount the bucket"):
    check_locations(run_config(**{path: value}), "runs/x", None)
