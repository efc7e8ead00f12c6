"""What a partitioned program asks its devices to send to one another.

Read from the program as the partitioner left it: what the TPU compiler makes
of it afterwards (all-gathers and reduce-scatters appear as all-reduces of
padded buffers, and the like) says little about what the hardware moves.

  kind                 bytes that a device must receive, of a group of g
  all-gather           (g - 1) / g of its result
  reduce-scatter       (g - 1) / g of its operand
  all-reduce           2 (g - 1) / g of its operand: scattered, then gathered
  all-to-all           (g - 1) / g of its operand
  collective-permute   its operand

The partitioner writes a reduce-scatter as an all-reduce of which each device
reads its slice; such a pair is counted as what it means.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import math
import re

import numpy as np

from yue_jax.planner import hlo
from yue_jax.planner.flops import pass_of
from yue_jax.planner.groups import integers, replica_groups
from yue_jax.planner.walk import Loop, Visit, walk

KINDS = (
  "all-gather",
  "all-reduce",
  "reduce-scatter",
  "all-to-all",
  "ragged-all-to-all",
  "collective-broadcast",
  "collective-permute",
)


@dataclasses.dataclass(frozen=True)
class Collective:
  """One array that one instruction moves, as often as it runs in a step.

  Attributes:
    kind: opcode.
    dtype: of the elements.
    shape: of the result on one device.
    axes: of the mesh, along which devices exchange; () if only with itself.
    group: devices that exchange.
    where: "layer" inside the loop over layers, "microbatch" inside that over
      microbatches alone, "step" outside both.
    direction: "forward", "recomputed", "backward" or "update".
    count: how often it runs.
    result_bytes: of its results, all runs together.
    wire_bytes: that a device must receive, all runs together.
  """

  kind: str
  dtype: str
  shape: tuple[int, ...]
  axes: tuple[str, ...]
  group: int
  where: str
  direction: str
  count: int
  result_bytes: int
  wire_bytes: float


def find(
  module: hlo.Module, mesh: dict[str, int], *, layers: int
) -> list[Collective]:
  """All collectives of one step.

  Args:
    module: the partitioned program.
    mesh: sizes of the mesh's axes, outermost first.
    layers: trips of the loop over layers.

  Raises:
    ValueError: devices exchange in groups that cannot be read.
  """
  found = []
  for visit in walk(module):
    kind = visit.instruction.opcode.removesuffix("-start")
    if kind in KINDS:
      found += _arrays(visit, kind, mesh, layers)
  return found


def results(optimized: hlo.Module) -> int:
  """Bytes that all collectives of the compiler's own program return.

  By this number programs of other trainers can be compared with ours. It is
  not what the hardware moves (see above).
  """
  return sum(
    array.bytes * visit.repeats
    for visit in walk(optimized)
    if visit.instruction.opcode.removesuffix("-start") in KINDS
    for array in _results(visit.instruction)
  )


def summed(collectives: Iterable[Collective]) -> list[dict]:
  """Sums over shapes and instructions, most bytes first."""
  sums = {}
  for c in collectives:
    key = (c.kind, c.dtype, c.axes, c.where, c.direction)
    row = sums.setdefault(
      key,
      {
        "kind": c.kind,
        "dtype": c.dtype,
        "axes": list(c.axes),
        "where": c.where,
        "direction": c.direction,
        "count": 0,
        "result_bytes": 0,
        "wire_bytes": 0.0,
      },
    )
    row["count"] += c.count
    row["result_bytes"] += c.result_bytes
    row["wire_bytes"] += c.wire_bytes
  return sorted(sums.values(), key=lambda row: -row["result_bytes"])


def _arrays(visit, kind, mesh, layers):
  instruction = visit.instruction
  axes, group = _groups(instruction, mesh)
  for number, result in enumerate(_results(instruction)):
    moved = max(result.bytes, visit.operand(number).bytes) * visit.repeats
    meant = kind
    if kind == "all-reduce" and _is_scattered(visit, group):
      meant = "reduce-scatter"
      result = visit.computation.users[instruction.name][0].result[0]
    yield Collective(
      meant,
      result.dtype,
      result.shape,
      axes,
      group,
      where(visit.loops, visit.path, layers),
      pass_of(visit.path),
      visit.repeats,
      result.bytes * visit.repeats,
      moved * _received(meant, group),
    )


def _results(instruction: hlo.Instruction) -> Sequence[hlo.Array]:
  """What an asynchronous one will return, without what it holds until then."""
  if instruction.opcode in ("all-gather-start", "collective-permute-start"):
    return instruction.result[1:2]  # of (operands, results, ...)
  return instruction.result


def _is_scattered(visit: Visit, group: int) -> bool:
  """Whether only a slice of an all-reduce is read, one of `group` parts."""
  name = visit.instruction.name
  users = visit.computation.users.get(name, [])
  return len(users) > 0 and all(
    user.opcode == "dynamic-slice"
    and user.operands[0] == name
    and user.result[0].size * group == visit.instruction.result[0].size
    for user in users
  )


def _received(kind: str, group: int) -> float:
  """Of the larger of operand and result, what a device must receive."""
  if kind == "collective-permute":
    return 1.0
  return (2 if kind == "all-reduce" else 1) * (group - 1) / group


def where(loops: Sequence[Loop], op_name: str, layers: int) -> str:
  """Loop of the train step that an instruction is in (see `Collective`).

  Both loops carry all layers' weights. That over microbatches is outermost,
  and outside of what is differentiated; if there is one microbatch it is
  gone. A loop that the compiler made anew has no name to tell by, and a turn
  of the loop over layers that it took out of the loop still belongs to it.
  """
  for depth, loop in enumerate(loops):
    name = loop.instruction.op_name
    over_layers = depth > 0 or "jvp(" in name or not name
    if over_layers and loop.carries_stack(layers):
      return "layer"
  if len(loops) < 2 and re.search(r"jvp\(\)+/while/body", op_name):
    return "layer"
  return "microbatch" if loops else "step"


def _groups(instruction, mesh) -> tuple[tuple[str, ...], int]:
  """Axes of the mesh along which devices of one group differ, and its size."""
  if instruction.opcode.startswith("collective-permute"):
    pairs = integers(instruction.attribute("source_target_pairs"), 2)
    return _varying(pairs, mesh), 2
  groups = replica_groups(instruction.attributes, math.prod(mesh.values()))
  return _varying(groups, mesh), groups.shape[1]


def _varying(groups: np.ndarray, mesh: dict[str, int]) -> tuple[str, ...]:
  coordinates = np.unravel_index(groups, tuple(mesh.values()))
  return tuple(
    name
    for name, along in zip(mesh, coordinates, strict=True)
    if (along != along[:, :1]).any()
  )
