"""What takes the memory of a device: by shape, at the moment of the peak."""

import dataclasses

import pytest

from tests import tiny
from yue_jax import accounting, config
from yue_jax.planner import hlo, memory
from yue_jax.planner.compiler import Compiled

# Three temporaries: `early` and `late` never live together, and share a place.
BUFFERS = """BufferAssignment:
allocation 0: size 512, parameter 0, shape |f32[8]| at ShapeIndex {}:
 value: <1 param.0 @0> (size=512,offset=0): f32[8]{0}
allocation 1: size 9000, preallocated-temp:
 value: <2 early @0> (size=4000,offset=0): bf16[1,1000,2]{2,1,0:T(8,128)}
 value: <3 late{0} @0> (size=3000,offset=0): bf16[2,1,16,32]{3,2,1,0}
 value: <4 late.alias{} (phi) @0> (size=3000,offset=0): bf16[2,1,16,32]{3,2,1,0}
 value: <5 long @0> (size=5000,offset=4000): f32[2,32,64]{2,1,0}
 value: <6 pair{} @0> (size=512,offset=9000): (f32[2], f32[2])
allocation 2: size 70000, color 1, preallocated-temp:
 value: <7 near @1> (size=70000,offset=0): f32[2]{0:S(1)}
"""
LIFETIMES = """  BufferLiveRange:
    early{}:1-4
    late{0}:5-9
    late.alias{}:6-8
    long{}:2-7
    near{}:0-9
    pair{}:0-9
"""
CFG = config.from_config_dict(tiny.run_dict(mesh={"fsdp": 4}))


def compiled(**memory_):
  texts = {"buffers": BUFFERS, "lifetimes": LIFETIMES}
  return Compiled(
    key="",
    seconds=0.0,
    refused="",
    memory=memory_,
    versions={},
    text=texts.get,
  )


def test_the_peak_is_the_moment_when_most_is_alive():
  its = memory.State(100, 100, 200, 10, frozenset(), frozenset(), frozenset())
  said = {"argument_size": 310, "output_size": 300, "alias_size": 290}
  measured = memory.measure(
    compiled(**said, temp_size=9500, peak_memory=9310),
    its,
    CFG.model,
    usable=20_000,
  )
  # `early` and `long`; `late` is smaller, and is one under two names.
  assert {k: v for k, v in measured.temporaries.items() if v} == {
    "work": 4000,
    "kept activations": 5000,
  }
  assert measured.needed == 310 + 300 - 290 + 9500
  assert measured.headroom == 20_000 - measured.needed


@pytest.mark.parametrize(
  ("dtype", "shape", "kind"),
  [
    ("f32", (2, 8, 64), "gradients"),  # as `up` is on one of four devices
    ("bf16", (2, 8, 64), "weights in use"),  # the same, cast
    ("bf16", (64, 32), "weights in use"),  # gathered, transposed
    ("bf16", (32, 32), "weights in use"),  # of all heads
    ("bf16", (192, 32), "weights in use"),  # the head
    ("bf16", (1, 16, 192), "logits"),
    ("bf16", (2, 1, 16, 32), "kept activations"),
    ("f32", (1, 16, 64), "work"),
  ],
)
def test_kinds_are_told_by_shape(dtype, shape, kind):
  its = memory.state_of(CFG, tiny.mesh(CFG.mesh), 0)
  assert memory.kind_of(hlo.Array(dtype, shape), its, CFG.model) == kind


def test_the_state_is_what_a_device_holds():
  its = memory.state_of(CFG, tiny.mesh(CFG.mesh), 0)
  parts = accounting.parameters(CFG.model)
  norms = parts.pop("norms")  # whole on every device
  assert its.parameters == 4 * (sum(parts.values()) / 4 + norms)
  assert its.optimizer == 2 * its.parameters + 2 * 4  # and two counters
  assert its.batch == 8 * 16 * (4 * 4 + 1) / 4


def test_what_a_refused_step_needs_is_read_from_the_message():
  refused = dataclasses.replace(
    compiled(),
    refused="RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory"
    " required for HLO temporaries (85.59G) exceeds available HBM (15.75G).",
  )
  assert refused.needed == round(85.59 * 2**30)
  used = "RESOURCE_EXHAUSTED: Used 512.5M of 15.75G hbm. Exceeded"
  assert dataclasses.replace(refused, refused=used).needed == 512.5 * 2**20
  assert dataclasses.replace(refused, refused="RESOURCE").needed is None
