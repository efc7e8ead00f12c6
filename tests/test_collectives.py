"""What devices exchange: sizes, axes of the mesh, loops."""

import numpy as np
import pytest

from yue_jax.planner import collectives, groups, hlo

MESH = {"replica": 2, "fsdp": 4, "context": 1, "tensor": 2}
LAYERS = 3

# One microbatch loop of two trips around a loop over three layers.
STEP = """HloModule m

%sum (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %z = f32[] add(%x, %y)
}

%layer (p: (s32[], bf16[3,16,64])) -> (s32[], bf16[3,16,64]) {
  %p = (s32[], bf16[3,16,64]{2,1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %ws = bf16[3,16,64]{2,1,0} get-tuple-element(%p), index=1
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  %w = bf16[16,64]{1,0} slice(%ws), slice={[0:1], [0:16], [0:64]}
  %gathered = bf16[64,64]{1,0} all-gather(%w), channel_id=1, \
replica_groups=mesh['a'=2,'b'=4,'c'=2] {'b'}, dimensions={0}, \
use_global_device_ids=true, metadata={op_name="jit(s)/while/body/jvp()/while"}
  ROOT %t = (s32[], bf16[3,16,64]{2,1,0}) tuple(%next, %ws)
}

%below3 (c: (s32[], bf16[3,16,64])) -> pred[] {
  %c = (s32[], bf16[3,16,64]{2,1,0}) parameter(0)
  %j = s32[] get-tuple-element(%c), index=0
  %three = s32[] constant(3)
  ROOT %less = pred[] compare(%j, %three), direction=LT
}

%microbatch (p2: (s32[], bf16[3,16,64])) -> (s32[], bf16[3,16,64]) {
  %p2 = (s32[], bf16[3,16,64]{2,1,0}) parameter(0)
  %i2 = s32[] get-tuple-element(%p2), index=0
  %ws2 = bf16[3,16,64]{2,1,0} get-tuple-element(%p2), index=1
  %one2 = s32[] constant(1)
  %next2 = s32[] add(%i2, %one2)
  %zero = s32[] constant(0)
  %start = (s32[], bf16[3,16,64]{2,1,0}) tuple(%zero, %ws2)
  %layers = (s32[], bf16[3,16,64]{2,1,0}) while(%start), \
condition=%below3, body=%layer, metadata={op_name="jit(s)/while/body/jvp()/w"}
  %head = bf16[16,64]{1,0} slice(%ws2), slice={[0:1], [0:16], [0:64]}
  %scattered = bf16[2,64]{1,0} reduce-scatter(%head), \
replica_groups={{0,2,4,6,8,10,12,14},{1,3,5,7,9,11,13,15}}, dimensions={0}, \
to_apply=%sum, metadata={op_name="jit(s)/while/body/transpose(jvp())/add"}
  ROOT %t2 = (s32[], bf16[3,16,64]{2,1,0}) tuple(%next2, %ws2)
}

%below2 (c2: (s32[], bf16[3,16,64])) -> pred[] {
  %c2 = (s32[], bf16[3,16,64]{2,1,0}) parameter(0)
  %j2 = s32[] get-tuple-element(%c2), index=0
  %two = s32[] constant(2)
  ROOT %less2 = pred[] compare(%j2, %two), direction=LT
}

ENTRY %main (a: bf16[3,16,64]) -> f32[8] {
  %a = bf16[3,16,64]{2,1,0} parameter(0)
  %none = s32[] constant(0)
  %begin = (s32[], bf16[3,16,64]{2,1,0}) tuple(%none, %a)
  %steps = (s32[], bf16[3,16,64]{2,1,0}) while(%begin), \
condition=%below2, body=%microbatch, metadata={op_name="jit(s)/while"}
  %g = f32[8]{0} constant({...})
  %turned = f32[8]{0} collective-permute(%g), \
source_target_pairs={{0,1},{1,0},{2,3},{3,2}}
  ROOT %norm = f32[8]{0} all-reduce(%turned), replica_groups={}, to_apply=%sum
}
"""


def found():
  return {
    c.kind: c for c in collectives.find(hlo.parse(STEP), MESH, layers=LAYERS)
  }


def test_an_all_gather_in_the_layer_loop():
  gather = found()["all-gather"]
  assert (gather.axes, gather.group) == (("fsdp",), 4)
  assert (gather.where, gather.direction) == ("layer", "forward")
  assert gather.count == 6
  assert gather.result_bytes == 6 * 64 * 64 * 2
  assert gather.wire_bytes == gather.result_bytes * 3 / 4


def test_a_reduce_scatter_moves_what_goes_in():
  scatter = found()["reduce-scatter"]
  assert (scatter.axes, scatter.group) == (("replica", "fsdp"), 8)
  assert (scatter.where, scatter.direction) == ("microbatch", "backward")
  assert scatter.result_bytes == 2 * 2 * 64 * 2
  assert scatter.wire_bytes == 2 * (16 * 64 * 2) * 7 / 8


def test_what_the_compiled_program_returns():
  gathered, scattered, rest = 6 * 64 * 64 * 2, 2 * 2 * 64 * 2, 2 * 8 * 4
  assert collectives.results(hlo.parse(STEP)) == gathered + scattered + rest
  begun = STEP.replace(
    "%gathered = bf16[64,64]{1,0} all-gather(",
    "%gathered = (bf16[16,64]{1,0}, bf16[64,64]{1,0}) all-gather-start(",
  )
  assert begun != STEP
  assert collectives.results(hlo.parse(begun)) == gathered + scattered + rest


def test_an_all_reduce_of_which_a_slice_is_read_is_a_reduce_scatter():
  parts = STEP.replace(
    "bf16[2,64]{1,0} reduce-scatter(", "bf16[16,64]{1,0} all-reduce("
  ).replace(
    "  ROOT %t2",
    "  %part = bf16[2,64]{1,0} dynamic-slice(%scattered, %zero, %zero),"
    " dynamic_slice_sizes={2,64}\n  ROOT %t2",
  )
  asked = {
    c.kind: c for c in collectives.find(hlo.parse(parts), MESH, layers=LAYERS)
  }
  assert asked["reduce-scatter"] == found()["reduce-scatter"]
  whole = parts.replace("{2,64}\n", "{4,64}\n").replace(
    "%part = bf16[2", "%part = bf16[4"
  )
  asked = collectives.find(hlo.parse(whole), MESH, layers=LAYERS)
  assert "reduce-scatter" not in {c.kind for c in asked}


def test_a_layer_taken_out_of_the_loop_still_is_one():
  peeled = STEP.replace(
    "/while/body/transpose(jvp())/add",
    "/while/body/transpose(jvp())/while/body/add",
  )
  asked = collectives.find(hlo.parse(peeled), MESH, layers=LAYERS)
  assert {c.where for c in asked if c.kind == "reduce-scatter"} == {"layer"}


def test_an_all_reduce_of_all_devices_and_a_permute():
  reduce, permute = found()["all-reduce"], found()["collective-permute"]
  assert (reduce.axes, reduce.group) == (("replica", "fsdp", "tensor"), 16)
  assert (reduce.where, reduce.direction) == ("step", "update")
  assert reduce.wire_bytes == 2 * 32 * 15 / 16
  assert permute.axes == ("tensor",)
  assert permute.wire_bytes == 32


@pytest.mark.parametrize(
  ("text", "rows"),
  [
    ("{{0,2},{1,3}}", [[0, 2], [1, 3]]),
    ("{}", [[0, 1, 2, 3]]),
    ("[2,2]<=[4]", [[0, 1], [2, 3]]),
    ("[2,2]<=[2,2]T(1,0)", [[0, 2], [1, 3]]),
    ("mesh['a'=2,'b'=2] {'b'}", [[0, 1], [2, 3]]),
    ("mesh['a'=2,'b'=2] {'a'}", [[0, 2], [1, 3]]),
    ("mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'b'}", [[0, 2], [1, 3]]),
    ("mesh['a'=4] {'a':(1)2}", [[0, 2], [1, 3]]),
    ("mesh['a'=4] {'a':(2)2}", [[0, 1], [2, 3]]),
  ],
)
def test_groups_are_read_in_every_notation(text, rows):
  attributes = f", channel_id=1, replica_groups={text}, dimensions={{0}}"
  read = groups.replica_groups(attributes, 4)
  np.testing.assert_array_equal(read, rows)


def test_groups_that_cannot_be_read_are_an_error():
  with pytest.raises(ValueError, match="cannot read the replica_groups"):
    groups.replica_groups("replica_groups=new_notation<4>", 4)


def test_sums_are_by_kind_type_axes_loop_and_pass():
  all_ = collectives.find(hlo.parse(STEP), MESH, layers=LAYERS)
  rows = collectives.summed([*all_, *all_])
  gather = next(r for r in rows if r["kind"] == "all-gather")
  assert gather["count"] == 12
  assert gather["result_bytes"] == 12 * 64 * 64 * 2
