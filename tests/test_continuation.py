"""A run goes on with what it has begun, or not at all."""

import dataclasses
import json

import pytest

from tests import tiny
from yue_jax import config
from yue_jax.checkpoint import DataDescription
from yue_jax.continuation import check_continuation

DATA = DataDescription(tokenizer="t", window=25)


def course(fingerprints=("a", "b"), **changes) -> dict:
  """What is saved of a run of two phases, of 10 and 5 steps."""
  phases = [
    tiny.phase_dict(name="first"),
    tiny.phase_dict(name="second", steps=5, rate={"peak": 1.0}),
  ]
  cfg = config.from_config_dict(
    tiny.run_dict(phases=phases[: len(fingerprints)])
  )
  data = dataclasses.replace(
    DATA, phases=tuple({"songs": f} for f in fingerprints)
  )
  run = {"config": config.to_json(cfg), "data": dataclasses.asdict(data)}
  return json.loads(json.dumps(run), object_hook=_changed(changes))


def _changed(changes):
  return lambda table: {k: changes.get(k, v) for k, v in table.items()}


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("fsdp", 4),
    ("microbatches", 2),
    ("last_step", 9),
    ("log_every", 1),
    ("remat", "full"),
    ("attention", "blocked"),
    ("chunk", 64),
    ("data", "elsewhere"),
    ("evaluation", {"x": {"data": "y", "kind": "cot"}}),
  ],
)
def test_a_continuation_may_change_how_it_runs(name, value):
  given = course()
  if name == "data":
    for phase in given["config"]["phases"]:
      phase["mixture"]["songs"]["data"] = value
  else:
    given = course(**{name: value})
  assert given != course()
  check_continuation(course(), given, step=12)


def test_activations_may_be_offloaded_from_now_on():
  given = course(remat="full", offload=["qkv", "mlp"])
  check_continuation(course(), given, step=12)
  check_continuation(given, course(), step=12)


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("layers", 4, r"model\.layers: saved 2, given 4"),
    ("peak", 0.5, r"phases\[0\]\.rate\.peak: saved 0.01, given 0.5"),
    ("samples", 16, r"phases\[0\]\.samples: saved 8, given 16"),
    ("seed", 3, "data.seed: saved 0, given 3"),
    ("weights", {"vocal": 2.0}, "loss.weights"),
    ("fingerprints", ("a", "c"), "songs: saved 'b', given 'c'"),
    ("fingerprints", ("a",), r"phases\[1\]"),
    ("fingerprints", ("c", "b"), "songs: saved 'a', given 'c'"),
  ],
)
def test_a_continuation_may_not_change_its_course(name, value, message):
  with pytest.raises(ValueError, match=message):
    check_continuation(course(), course(**{name: value}), step=12)


def test_a_continuation_keeps_its_parametrisation():
  base = {"base_width": 16, "base_mlp_width": 32, "head_width": 8}
  saved, given = course(mup=base), course(mup=base | {"base_width": 8})
  check_continuation(saved, saved, step=12)
  with pytest.raises(ValueError, match=r"mup\.base_width: saved 16, given 8"):
    check_continuation(saved, given, step=12)
  with pytest.raises(ValueError, match=r"mup\.base_width: saved None, given 8"):
    check_continuation(course(), given, step=12)
  del given["config"]["mup"]  # as runs were saved before there was any
  check_continuation(given, course(), step=12)


def test_phases_to_come_may_change():
  """At step 10 the second phase has not begun."""
  one, other = course(("a",)), course(("a", "c"))
  for saved, given in ((course(), other), (one, other), (other, one)):
    check_continuation(saved, given, step=10)
    if len(saved["data"]["phases"]) > 1:
      with pytest.raises(ValueError, match="another course"):
        check_continuation(saved, given, step=11)


def test_the_phase_under_way_may_end_early_but_not_before_now():
  saved, given = course(), course()
  given["config"]["phases"][1]["stop_after"] = 4 * 128
  check_continuation(saved, given, step=13)
  with pytest.raises(ValueError, match="the run is at 15"):
    check_continuation(saved, given, step=15)
  given["config"]["phases"][0]["stop_after"] = 4 * 128
  with pytest.raises(ValueError, match="phases begin at steps"):
    check_continuation(saved, given, step=13)
