"""Bytes that one device reads from and writes to a memory in a step.

Counted from the optimised program: each fusion reads its operands and writes
its results once, loops multiplied out. Slices are counted by what they touch,
not by the array they are cut from, and what the compiler has placed in
on-chip memory costs nothing. It is what the program asks for, not a
measurement: tiles that are padded move more, and a kernel may read an operand
several times or skip blocks of it.
"""

from yue_jax.planner import hlo
from yue_jax.planner.walk import Visit, walk

# Names, views and waits: nothing is moved.
_FREE = {
  "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while",
  "conditional", "call", "after-all", "partition-id", "replica-id", "iota",
  "opt-barrier", "async-start", "async-update", "async-done", "copy-done",
  "all-gather-done", "all-reduce-done", "collective-permute-done",
  "send-done", "recv-done",
}  # fmt: skip
_SLICES = {"dynamic-slice", "slice", "gather"}
_VIEWS = {"bitcast", "convert", "copy", "reshape", "transpose"}

HBM, HOST = 0, 5  # memory spaces, as layouts name them


def count(module: hlo.Module, space: int = HBM) -> int:
  """Bytes of one run of an optimised program."""
  return sum(
    visit.repeats
    * (_read(module, visit, space) + _written(module, visit, space))
    for visit in walk(module)
    if visit.instruction.opcode not in _FREE
  )


def _read(module: hlo.Module, visit: Visit, space: int) -> int:
  instruction = visit.instruction
  if instruction.opcode in _SLICES:
    return _within(visit.operand(0), space) and instruction.result[0].bytes
  if instruction.opcode == "dynamic-update-slice":
    return _within(visit.operand(1), space)
  inner = _fused(module, instruction)
  read = 0
  for name in dict.fromkeys(instruction.operands):
    arrays = visit.computation[name].result
    if inner and len(arrays) == 1:
      number = instruction.operands.index(name)
      read += min(_within(arrays[0], space), _touched(inner, number))
    else:
      read += sum(_within(a, space) for a in arrays)
  return read


def _written(module: hlo.Module, visit: Visit, space: int) -> int:
  instruction = visit.instruction
  if instruction.opcode == "dynamic-update-slice":
    return _within(instruction.result[0], space) and visit.operand(1).bytes
  inner = _fused(module, instruction)
  if inner is None:
    return sum(_within(a, space) for a in _results(instruction))
  root = inner[inner.root]
  roots = root.operands if root.opcode == "tuple" else (root.name,)
  if len(roots) != len(instruction.result):
    return sum(_within(a, space) for a in instruction.result)
  return sum(
    _within(array, space) and min(array.bytes, _update(inner, name))
    for array, name in zip(instruction.result, roots, strict=True)
  )


def _results(instruction: hlo.Instruction) -> tuple[hlo.Array, ...]:
  """What an instruction leaves; the start of an asynchronous one names more."""
  if instruction.opcode == "copy-start":
    return instruction.result[:1]
  if instruction.opcode.endswith("-start"):
    return instruction.result[1:2]
  return instruction.result


def _fused(module, instruction) -> hlo.Computation | None:
  if instruction.opcode != "fusion":
    return None
  return module.computations[instruction.called[0]]


def _touched(inner: hlo.Computation, number: int) -> int:
  """Bytes of a fusion's operand that it reads: all, or only slices of it."""
  name = inner.parameters[number]
  whole, touched = inner[name].result[0].bytes, 0
  waiting = [name]
  while waiting:
    name = waiting.pop()
    for user in inner.users.get(name, ()):
      if user.opcode in _SLICES and user.operands[0] == name:
        touched += user.result[0].bytes
      elif user.opcode == "dynamic-update-slice" and user.operands[0] == name:
        continue  # written in place
      elif user.opcode in _VIEWS:
        waiting.append(user.name)
      else:
        return whole
  return min(whole, touched)


def _update(inner: hlo.Computation, name: str) -> int:
  """Bytes that a result of a fusion writes: all, or an update in place."""
  instruction = inner[name]
  while instruction.opcode in _VIEWS:
    instruction = inner[instruction.operands[0]]
  if instruction.opcode == "dynamic-update-slice":
    return inner[instruction.operands[1]].result[0].bytes
  return sum(a.bytes for a in instruction.result)


def _within(array: hlo.Array, space: int) -> int:
  return array.bytes if array.space == space else 0
