"""Programs of the XLA compiler as data, and how often instructions run."""

import jax
import jax.numpy as jnp
import pytest

from yue_jax.planner import hlo
from yue_jax.planner.walk import changed, walk

# A loop of five trips, written as the TPU compiler writes it: the bound comes
# in as an element of the tuple, and one line has line breaks in an attribute.
LOOP = """HloModule m, entry_computation_layout={(f32[4]{0})->f32[4]{0}}

%body (p: (s32[], f32[4], s32[])) -> (s32[], f32[4], s32[]) {
  %p = (s32[]{:T(128)}, f32[4]{0:T(128)S(1)}, /*index=2*/s32[]) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[4]{0} get-tuple-element(%p), index=1
  %n = s32[] get-tuple-element(%p), index=2
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  %y = f32[4]{0} add(%x, %x), frontend_attributes={kernel_metadata={
"note":"a, (b"
}}, metadata={op_name="jit(f)/jvp()/while/body/add" stack_frame_id=3}
  ROOT %t = (s32[], f32[4]{0}, s32[]) tuple(%next, %y, %n)
}

%condition (q: (s32[], f32[4], s32[])) -> pred[] {
  %q = (s32[], f32[4]{0}, s32[]) parameter(0)
  %j = s32[] get-tuple-element(%q), index=0
  %m = s32[] get-tuple-element(%q), index=2
  ROOT %less = pred[] compare(%j, %m), direction=LT
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %zero = s32[] constant(2)
  %seven = s32[] constant(7)
  %start = (s32[], f32[4]{0}, s32[]) tuple(%zero, %a, %seven)
  %loop = (s32[], f32[4]{0}, s32[]) while(%start), condition=%condition, \
body=%body
  ROOT %out = f32[4]{0} get-tuple-element(%loop), index=1
}
"""


def test_an_instruction_is_read_with_all_its_parts():
  module = hlo.parse(LOOP)
  body = module.computations["body"]
  assert module.entry == "main"
  assert body["p"].result == (
    hlo.Array("s32", ()),
    hlo.Array("f32", (4,), space=1),
    hlo.Array("s32", ()),
  )
  assert body["y"].operands == ("x", "x")
  assert body["y"].op_name == "jit(f)/jvp()/while/body/add"
  assert body["t"].operands == ("next", "y", "n")
  assert body.root == "t"
  assert hlo.Array("bf16", (2, 3)).bytes == 12


def test_a_loop_runs_from_its_start_to_its_bound():
  runs = {v.instruction.name: v.repeats for v in walk(hlo.parse(LOOP))}
  assert runs["y"] == 5
  assert runs["loop"] == runs["out"] == 1


def test_what_a_loop_changes_is_told_from_what_it_hands_on():
  module = hlo.parse(LOOP)
  loop = module.computations["main"]["loop"]
  assert [a.shape for a in changed(module, loop)] == [(), (4,)]


def test_a_step_of_two_halves_the_trips():
  by_two = LOOP.replace("constant(1)", "constant(2)")
  runs = {v.instruction.name: v.repeats for v in walk(hlo.parse(by_two))}
  assert runs["y"] == 3  # 2, 4, 6


@pytest.mark.parametrize(
  "change",
  [
    ("constant(7)", "parameter(1)"),  # an unknown bound
    ("direction=LT", "direction=NE"),
    ("add(%i, %one)", "multiply(%i, %one)"),
  ],
)
def test_a_loop_that_cannot_be_counted_is_an_error(change):
  with pytest.raises(ValueError, match="how often loop loop runs"):
    list(walk(hlo.parse(LOOP.replace(*change))))


def test_nested_scans_of_a_lowered_program_multiply():
  def inner(x, _):
    return x @ x, None

  def outer(x, _):
    return jax.lax.scan(inner, x, None, length=3)[0], None

  def f(x):
    return jax.lax.scan(outer, x, None, length=5)[0]

  lowered = jax.jit(f).lower(jnp.ones((2, 2)))
  dots = [
    v
    for v in walk(hlo.parse(lowered.as_text("hlo")))
    if v.instruction.opcode == "dot"
  ]
  assert [v.repeats for v in dots] == [15]
  assert [loop.trips for loop in dots[0].loops] == [5, 3]


def test_text_that_is_no_module_is_an_error():
  with pytest.raises(ValueError, match="no ENTRY"):
    hlo.parse("module @jit_f attributes {}")
