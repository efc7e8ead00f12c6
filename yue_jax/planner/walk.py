"""How often each instruction of a program runs.

Loops are multiplied out, nested ones too. XLA's own cost analysis does not: it
counts the body of a loop once.
"""

from collections.abc import Collection, Iterator, Mapping
import dataclasses
import re

from yue_jax.planner.hlo import Array, Computation, Instruction, Module

# What leaves an array's values as they are.
_MOVES = {
  "bitcast", "convert", "copy", "copy-done", "copy-start", "dynamic-slice",
  "reshape", "slice",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Loop:
  """A while loop that is being run."""

  trips: int
  instruction: Instruction

  def carries_stack(self, layers: int) -> bool:
    """Whether it carries a stack of matrices, one for each of `layers`."""
    return any(
      len(a.shape) > 2 and a.shape[0] == layers for a in self.instruction.result
    )


@dataclasses.dataclass(frozen=True)
class Visit:
  """An instruction, where it stands, and how often it runs in all.

  `known` holds the constants that reach it as elements of the tuple that the
  enclosing loop carries. `path` is JAX's path to it: names in a computation
  that is called begin at the call.
  """

  instruction: Instruction
  computation: Computation
  repeats: int
  loops: tuple[Loop, ...]
  known: Mapping[int, Instruction]
  path: str

  def operand(self, number: int) -> Array:
    """Type of an operand that is one array."""
    return self.computation[self.instruction.operands[number]].result[0]

  def constant(self, number: int) -> Instruction | None:
    """The constant of which an operand is made, if it is one.

    Slices of a constant count as the whole.
    """
    name = self.instruction.operands[number]
    source = _source(self.computation, name, self.known)
    return source if isinstance(source, Instruction) else None


def walk(module: Module, into: Collection[str] = ()) -> Iterator[Visit]:
  """Visits all instructions that run, in loops as often as they run.

  Bodies of loops, calls and asynchronous operations are entered, and those
  of the opcodes `into` ("fusion"). Of a conditional, the branch with the most
  instructions is taken.

  Raises:
    ValueError: the number of a loop's trips cannot be told.
  """
  entered = {"call", "async-start", *into}
  yield from _walk(
    module, module.computations[module.entry], 1, (), {}, entered, ""
  )


def changed(module: Module, loop: Instruction) -> Iterator[Array]:
  """What a loop carries that its body does not hand on as it was."""
  body = module.computations[loop.attribute("body").lstrip("%")]
  for index, name in enumerate(body[body.root].operands):
    if _source(body, name, {}) != index:
      yield loop.result[index]


def _walk(module, computation, repeats, loops, known, entered, callers):
  for instruction in computation.instructions.values():
    path = f"{callers}{instruction.op_name}"
    yield Visit(instruction, computation, repeats, loops, known, path)
    called = [module.computations[c] for c in instruction.called]
    if instruction.opcode == "while":
      body = module.computations[instruction.attribute("body").lstrip("%")]
      inside = _carried(computation, instruction, body, known)
      trips = _trips(module, computation, instruction, body, known, inside)
      within = (*loops, Loop(trips, instruction))
      yield from _walk(
        module, body, repeats * trips, within, inside, entered, callers
      )
    elif instruction.opcode == "conditional":
      longest = max(called, key=lambda c: len(c.instructions))
      yield from _walk(module, longest, repeats, loops, {}, entered, callers)
    elif instruction.opcode in entered and called:
      # What was fused kept its own name.
      inside = callers if instruction.opcode == "fusion" else f"{path}/"
      yield from _walk(module, called[0], repeats, loops, {}, entered, inside)


def _trips(module, computation, loop, body, known, inside) -> int:
  """Trips of a loop that counts up from a constant to a constant."""
  condition = loop.attribute("condition").lstrip("%")
  condition = module.computations[condition]
  sides = _compared(module, condition, condition.root, inside)
  counters = [s for s in sides or () if isinstance(s, tuple)]
  bounds = [s for s in sides or () if isinstance(s, int)]
  if len(counters) == len(bounds) == 1:
    index, ahead = counters[0]
    initial = _init(computation, loop, index, known)
    step = _step(module, body, index, inside)
    if initial is not None and step:
      return max(0, -(-(bounds[0] - ahead - initial) // step))
  raise ValueError(
    f"cannot tell how often loop {loop.name} runs ({loop.op_name}); it does"
    " not count up from one constant to another"
  )


def _compared(module, computation, name, known, given=None):
  """Both sides of the `<` that the condition of a loop comes down to."""
  given = given or {}
  instruction = computation[name]
  if instruction.opcode == "compare":
    if instruction.attribute("direction") != "LT":
      return None
    return [
      _number(module, computation, o, known, given)
      for o in instruction.operands
    ]
  if instruction.opcode == "fusion":
    inner, values = _fused(module, computation, instruction, known, given)
    return _compared(module, inner, inner.root, {}, values)
  if instruction.opcode in ("bitcast", "copy"):
    return _compared(module, computation, instruction.operands[0], known, given)
  return None


def _number(module, computation, name, known, given):
  """A scalar: an int, (carried element, what is added to it), or None."""
  source = _source(computation, name, known)
  if isinstance(source, int):
    return source, 0
  if source is None:
    return None
  if source.opcode == "constant":
    return _int(source)
  if source.opcode == "parameter":
    return given.get(int(source.literal))
  if source.opcode == "add":
    one, other = (
      _number(module, computation, o, known, given) for o in source.operands
    )
    if isinstance(one, int):
      one, other = other, one
    if isinstance(one, tuple) and isinstance(other, int):
      return one[0], one[1] + other
    return one + other if isinstance(one, int) and other is not None else None
  if source.opcode == "fusion":
    inner, values = _fused(module, computation, source, known, given)
    return _number(module, inner, inner.root, {}, values)
  return None


def _fused(module, computation, fusion, known, given):
  """The computation of a fusion, and the scalars that go into it."""
  values = {
    n: _number(module, computation, name, known, given)
    for n, name in enumerate(fusion.operands)
  }
  return module.computations[fusion.called[0]], values


def _step(module, body, index, inside) -> int | None:
  """What one trip adds to the counter."""
  root = body[body.root]
  if root.opcode != "tuple":
    return None
  value = _number(module, body, root.operands[index], inside, {})
  if isinstance(value, tuple) and value[0] == index:
    return value[1]
  return None


def _init(computation, loop, index, known) -> int | None:
  start = computation[loop.operands[0]]
  if start.opcode != "tuple":
    return None
  source = _source(computation, start.operands[index], known)
  return _int(source) if isinstance(source, Instruction) else None


def _carried(computation, loop, body, known) -> dict[int, Instruction]:
  """Elements of a loop's tuple that are constants and stay what they are."""
  start, root = computation[loop.operands[0]], body[body.root]
  if start.opcode != "tuple" or root.opcode != "tuple":
    return {}
  constants = {}
  for index, name in enumerate(start.operands):
    if _source(body, root.operands[index], {}) != index:
      continue
    source = _source(computation, name, known)
    if isinstance(source, Instruction) and source.opcode == "constant":
      constants[index] = source
  return constants


def _source(computation, name, known) -> Instruction | int | None:
  """What an array is, behind moves: an instruction or a carried element.

  An int is the number of an element of the tuple that the computation is
  given, unless `known` says which constant that is.
  """
  instruction = computation[name]
  while instruction.opcode in _MOVES or _is_annotation(instruction):
    instruction = computation[instruction.operands[0]]
  if instruction.opcode != "get-tuple-element":
    return instruction
  index = int(instruction.attribute("index"))
  whole = computation[instruction.operands[0]]
  if whole.opcode == "opt-barrier":
    whole = computation[whole.operands[0]]
  if whole.opcode == "tuple":
    return _source(computation, whole.operands[index], known)
  if whole.opcode == "parameter" and len(whole.result) > 1:
    return known.get(index, index)
  return None


def _is_annotation(instruction: Instruction) -> bool:
  """Whether it only says how its operand is laid out over devices."""
  return instruction.opcode == "custom-call" and (
    instruction.attribute("custom_call_target") == '"Sharding"'
  )


def _int(instruction: Instruction) -> int | None:
  whole = instruction.opcode == "constant" and re.fullmatch(
    r"-?\d+", instruction.literal.strip()
  )
  return int(instruction.literal) if whole else None
