"""Programs of the XLA compiler as data.

`parse` reads the text form of an HLO module, whatever stage of compilation it
is from; `walk.py` says how often each of its instructions runs.
"""

from collections.abc import Iterator
import dataclasses
import functools
import math
import re

# Bits of an element; kinds of fp8 all start with "f8".
_BITS = {
  "pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16,
  "s32": 32, "u32": 32, "s64": 64, "u64": 64, "f16": 16, "bf16": 16,
  "f32": 32, "f64": 64, "c64": 64, "c128": 128, "token": 0, "opaque": 0,
}  # fmt: skip
_ARRAY = re.compile(r"([a-z]+\d*\w*)\[([\d,<=]*)\](\{[^}]*\})?")
_HEAD = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = ")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) (\(.*\) -> .*)?\{$")
_OPCODE = re.compile(r" ?([a-z][\w\-]*)\(")
_CALLED = re.compile(
  r"(?:calls|to_apply|body|condition|true_computation|false_computation)"
  r"=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_OPENING, _CLOSING = "({[", ")}]"


@dataclasses.dataclass(frozen=True)
class Array:
  """One array of a result: its element type, shape and memory space."""

  dtype: str
  shape: tuple[int, ...]
  space: int = 0  # 0 is the device's main memory (HBM)

  @property
  def size(self) -> int:
    return math.prod(self.shape)

  @property
  def bytes(self) -> int:
    """Without the padding of tiles."""
    bits = 8 if self.dtype.startswith("f8") else _BITS[self.dtype]
    return self.size * bits // 8


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line; `attributes` is what follows its operands, as text."""

  name: str
  opcode: str
  result: tuple[Array, ...]
  operands: tuple[str, ...]
  literal: str  # of a constant or parameter: what stands in the parentheses
  attributes: str

  @functools.cached_property
  def op_name(self) -> str:
    """The path of JAX's transformations and scopes that led here."""
    found = re.search(r'op_name="((?:[^"\\]|\\.)*)"', self.attributes)
    return found[1] if found else ""

  @functools.cached_property
  def called(self) -> tuple[str, ...]:
    """Names of the computations it calls."""
    branches = _BRANCHES.search(self.attributes)
    named = re.findall(r"[\w.\-]+", branches[1]) if branches else []
    return (*_CALLED.findall(self.attributes), *named)

  def attribute(self, name: str) -> str | None:
    """Text of an attribute up to the comma that ends it; None if absent."""
    found = re.search(rf"\b{name}=", self.attributes)
    if not found:
      return None
    return self.attributes[found.end() : _end(self.attributes, found.end())]

  def axes(self, name: str) -> tuple[int, ...]:
    """An attribute that lists dimensions: "{0,2}" -> (0, 2)."""
    return tuple(map(int, re.findall(r"\d+", self.attribute(name) or "")))


@dataclasses.dataclass(frozen=True)
class Computation:
  """Instructions by name, in order."""

  name: str
  instructions: dict[str, Instruction]
  root: str

  def __getitem__(self, name: str) -> Instruction:
    return self.instructions[name]

  @functools.cached_property
  def parameters(self) -> dict[int, str]:
    return {
      int(i.literal): i.name
      for i in self.instructions.values()
      if i.opcode == "parameter"
    }

  @functools.cached_property
  def users(self) -> dict[str, list[Instruction]]:
    """Instructions that read each one."""
    users = {}
    for instruction in self.instructions.values():
      for name in dict.fromkeys(instruction.operands):
        users.setdefault(name, []).append(instruction)
    return users


@dataclasses.dataclass(frozen=True)
class Module:
  computations: dict[str, Computation]
  entry: str


def parse(text: str) -> Module:
  """Reads the text of a module.

  Raises:
    ValueError: a line is no instruction that this version can read.
  """
  text = re.sub(r"/\*.*?\*/", "", text)
  computations, entry, lines, opened = {}, None, [], None
  for line in text.splitlines():
    if opened is None:
      opened = _COMPUTATION.match(line)
      lines = []
    elif line.startswith("}") and (not lines or _depth(lines[-1]) == 0):
      computations[opened[2]] = _computation(opened[2], lines)
      entry = opened[2] if opened[1] else entry
      opened = None
    elif _HEAD.match(line):
      lines.append(line)
    elif lines:  # an attribute with line breaks in it
      lines[-1] += line
  if entry is None:
    raise ValueError("this text has no ENTRY computation; it is no HLO module")
  return Module(computations, entry)


def _computation(name: str, lines: list[str]) -> Computation:
  instructions, root = {}, ""
  for line in lines:
    instruction = _instruction(line)
    instructions[instruction.name] = instruction
    if line.lstrip().startswith("ROOT "):
      root = instruction.name
  return Computation(name, instructions, root or next(reversed(instructions)))


def _instruction(line: str) -> Instruction:
  head = _HEAD.match(line)
  at = head.end()
  # A tuple's type is in parentheses and may contain blanks.
  end = _end(line, at + 1, ")") + 1 if line[at] == "(" else line.find(" ", at)
  opcode = _OPCODE.match(line, end)
  if not opcode:
    raise ValueError(f"cannot read this instruction: {line.strip()[:300]}")
  close = _end(line, opcode.end(), ")")
  inside = line[opcode.end() : close]
  literal = opcode[1] in ("constant", "parameter")
  return Instruction(
    head[2],
    opcode[1],
    tuple(arrays(line[at:end])),
    () if literal else tuple(_operands(inside)),
    inside if literal else "",
    line[close + 1 :],
  )


def arrays(text: str) -> Iterator[Array]:
  """The arrays that a type names, those of a tuple in order."""
  for dtype, shape, layout in _ARRAY.findall(text):
    sizes = (s.lstrip("<=") for s in shape.split(",") if s)
    space = re.search(r"S\((\d+)\)", layout)
    yield Array(dtype, tuple(map(int, sizes)), int(space[1]) if space else 0)


def _operands(text: str) -> Iterator[str]:
  """Names, with or without "%" and types before them."""
  start = 0
  while start < len(text):
    end = _end(text, start)
    part = text[start:end].strip()
    if part:
      yield part.rsplit(" ", 1)[-1].lstrip("%")
    start = end + 1


def _end(text: str, start: int, stop: str = ",") -> int:
  """Where `stop` stands outside all brackets opened after `start`."""
  depth, quoted, at = 0, False, start
  while at < len(text):
    c = text[at]
    if c == "\\":
      at += 1
    elif c == '"':
      quoted = not quoted
    elif not quoted:
      if depth == 0 and c == stop:
        return at
      depth += (c in _OPENING) - (c in _CLOSING)
    at += 1
  return len(text)


def _depth(text: str) -> int:
  """How many brackets a line leaves open, outside quotes."""
  bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", text)
  return sum((c in _OPENING) - (c in _CLOSING) for c in bare)
