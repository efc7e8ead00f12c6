"""FLOPs of one device and one step, counted from the partitioned program.

Every matrix product counts 2 * (elements of the result) * (contracted size),
as often as it runs. What is computed again in the backward pass, what several
devices compute alike and what padding costs are in the program, hence in the
count; `accounting` says what the model needs. Kernels are opaque to the
compiler: those of splash attention are counted from their grids, by the blocks
that their masks let them run; others by the cost they declare.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import json
import math
import re

from yue_jax.planner import hlo
from yue_jax.planner.walk import Visit, walk

# Products of two blocks that each kernel of splash attention computes:
# forward q k and p v; backward also do v, and then what it returns.
_SPLASH_PRODUCTS = {"fwd": 2, "dq": 3, "dkv": 4, "fused": 5}
_SPLASH = re.compile(r"splash_m[hq]a_(fwd|dq|dkv)\w*$")


@dataclasses.dataclass(frozen=True)
class Flops:
  """By pass (`pass_of`), and those in kernels beside all others."""

  matmuls: Mapping[str, int]
  kernels: Mapping[str, int]

  @property
  def total(self) -> int:
    return sum(self.matmuls.values()) + sum(self.kernels.values())


def count(module: hlo.Module) -> Flops:
  """Counts what one device computes in one run of a partitioned program.

  Raises:
    ValueError: a kernel is neither known nor says what it costs.
  """
  matmuls, kernels = {}, {}
  for visit in walk(module, into=("fusion",)):
    name = pass_of(visit.path)
    if visit.instruction.opcode in ("dot", "convolution"):
      cost = visit.repeats * product(visit)
      matmuls[name] = matmuls.get(name, 0) + cost
    elif visit.instruction.opcode == "custom-call":
      cost = visit.repeats * _kernel(visit)
      if cost:
        kernels[name] = kernels.get(name, 0) + cost
  return Flops(matmuls, kernels)


def pass_of(path: str) -> str:
  """Pass that an instruction belongs to, from JAX's path to it."""
  if "rematted_computation" in path:
    return "recomputed"
  if "transpose(" in path:
    return "backward"
  return "forward" if "jvp(" in path else "update"


def product(visit: Visit) -> int:
  """FLOPs of one run of a dot or a convolution."""
  result = visit.instruction.result[0]
  if visit.instruction.opcode == "dot":
    left = visit.operand(0).shape
    axes = visit.instruction.axes("lhs_contracting_dims")
    return 2 * result.size * math.prod(left[a] for a in axes)
  labels = visit.instruction.attribute("dim_labels")
  kernel = visit.operand(1).shape
  outputs = kernel[re.split("_|->", labels)[1].index("o")]
  return 2 * result.size * math.prod(kernel) // outputs


def _kernel(visit: Visit) -> int:
  instruction = visit.instruction
  if instruction.attribute("custom_call_target") != '"tpu_custom_call"':
    return 0  # layouts, memory spaces, random bits: no matrix products
  parts = instruction.op_name.split("/")
  splash = next(filter(None, map(_SPLASH.match, reversed(parts))), None)
  if splash:
    return _splash(visit, splash[1])
  declared = re.search(r'"flops":\s*"?(\d+)', instruction.attributes)
  if declared:
    return int(declared[1])
  raise ValueError(
    f"kernel {instruction.name} ({instruction.op_name}) does not say how many"
    " FLOPs it takes; give its pallas_call a cost_estimate, or teach"
    " planner.flops to count it"
  )


def _splash(visit: Visit, phase: str) -> int:
  """Blocks that the mask lets run, times what each of them costs.

  Operands: data_next and block_mask, (heads or 1, blocks, blocks) constants,
  mask_next if the mask needs one, q (..., heads, T, H), k, v (..., S, H).
  """
  sizes = _block_sizes(visit.instruction.attributes)
  if phase == "fwd":
    block = sizes["block_q"] * sizes["block_kv"]
  else:
    block = sizes[f"block_q_{phase}"] * sizes[f"block_kv_{phase}"]
  # Two scratches, dk and dv; the fused kernel returns its parts of dq besides.
  if phase == "dkv" and len(visit.instruction.result) > 4:
    phase = "fused"
  q = next(a for a in _operands(visit) if len(a.shape) > 2 and a.dtype != "s8")
  heads = math.prod(q.shape[:-2])
  pairs = _blocks_run(visit) * block
  return round(2 * _SPLASH_PRODUCTS[phase] * heads * pairs * q.shape[-1])


def _blocks_run(visit: Visit) -> float:
  """Blocks of one head on one device; of shards of a mask, their mean."""
  local = visit.operand(1)
  mask = visit.constant(1)
  if mask is None or "..." in mask.literal:
    raise ValueError(
      f"the block mask of {visit.instruction.name} is no constant in this"
      " program; its FLOPs cannot be counted"
    )
  values = re.findall(r"-?\d+", mask.literal)
  if len(values) != mask.result[0].size:  # one value, broadcast
    values = values * (mask.result[0].size // len(values))
  run = sum(v != "0" for v in values) / len(values)
  return run * math.prod(local.shape[1:])


def _operands(visit: Visit) -> Iterator[hlo.Array]:
  for number in range(len(visit.instruction.operands)):
    yield visit.operand(number)


def _block_sizes(attributes: str) -> dict[str, int]:
  """The sizes that splash attention's kernels carry for the profiler."""
  found = re.search(r'"xprof_metadata":"((?:[^"\\]|\\.)*)"', attributes)
  if not found:
    raise ValueError(
      "a kernel of splash attention carries no block sizes (xprof_metadata);"
      " this version of JAX has kernels that planner.flops does not know"
    )
  return json.loads(found[1].replace('\\"', '"'))
