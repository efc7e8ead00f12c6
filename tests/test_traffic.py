"""Bytes read from and written to HBM by an optimised program."""

from yue_jax.planner import hlo, traffic

# What the comment beside an instruction says is read + written.
PROGRAM = """HloModule m

%scale (x: f32[8,128], w: f32[3,8,128]) -> f32[8,128] {
  %x = f32[8,128]{1,0} parameter(0)
  %w = f32[3,8,128]{2,1,0} parameter(1)
  %s = f32[1,8,128]{2,1,0} slice(%w), slice={[0:1], [0:8], [0:128]}
  %r = f32[8,128]{1,0} bitcast(%s)
  ROOT %m = f32[8,128]{1,0} multiply(%x, %r)
}

%store (stack: f32[3,8,128], one: f32[8,128]) -> f32[3,8,128] {
  %stack = f32[3,8,128]{2,1,0} parameter(0)
  %one = f32[8,128]{1,0} parameter(1)
  %b = f32[1,8,128]{2,1,0} bitcast(%one)
  %at = s32[] constant(0)
  ROOT %u = f32[3,8,128]{2,1,0} dynamic-update-slice(%stack, %b, %at, %at, %at)
}

ENTRY %main (a: f32[8,128], ws: f32[3,8,128]) -> f32[3,8,128] {
  %a = f32[8,128]{1,0:T(8,128)} parameter(0)
  %ws = f32[3,8,128]{2,1,0:T(8,128)} parameter(1)
  %near = f32[8,128]{1,0:T(8,128)S(1)} copy(%a)
  %y = f32[8,128]{1,0:T(8,128)} fusion(%near, %ws), kind=kLoop, calls=%scale
  %z = f32[8,128]{1,0:T(8,128)} add(%y, %y)
  ROOT %out = f32[3,8,128]{2,1,0:T(8,128)} fusion(%ws, %z), kind=kLoop, \
calls=%store
}
"""
ARRAY = 8 * 128 * 4


def test_fusions_move_what_they_touch_and_on_chip_memory_costs_nothing():
  moved = {
    "near": 1,  # reads a, into on-chip memory
    "y": 1 + 1,  # reads one slice of ws; writes
    "z": 1 + 1,  # reads y, once; writes
    "out": 1 + 1,  # reads z; writes one slice in place
  }
  assert traffic.count(hlo.parse(PROGRAM)) == sum(moved.values()) * ARRAY


def test_what_is_offloaded_is_counted_apart():
  offloaded = PROGRAM.replace(
    "ROOT %out = f32[3,8,128]{2,1,0:T(8,128)}",
    "ROOT %out = f32[3,8,128]{2,1,0:T(8,128)S(5)}",
  )
  module = hlo.parse(offloaded)
  assert traffic.count(module, traffic.HOST) == ARRAY  # one slice of `out`
  assert traffic.count(module) == 6 * ARRAY
