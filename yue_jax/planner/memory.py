"""What takes the memory of one device: the state exactly, the rest at its peak.

The state is known from its shapes and layouts. What else is alive at the
moment when most is alive is read from the compiler's assignment of buffers,
also where the step was refused, and told apart by shape.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import re

import jax
from jax.sharding import Mesh

from yue_jax.config import ModelConfig, RunConfig
from yue_jax.optimizer import optimizer_of
from yue_jax.planner import hlo
from yue_jax.planner.compiler import Compiled
from yue_jax.sharding import device_bytes
from yue_jax.train.state import abstract_state
from yue_jax.train.step import FIELDS

KINDS = ("gradients", "kept activations", "logits", "weights in use", "work")


@dataclasses.dataclass(frozen=True)
class State:
  """Bytes on one device of what a step is given.

  Attributes:
    parameters, optimizer, batch: without padding.
    trained: of the parameters, those that have gradients.
    stored: shapes of parameters as they lie there, layers stacked.
    in_use: shapes of weights of one layer, as they lie there and gathered.
    vocabulary: sizes that an axis over token ids may have.
  """

  parameters: int
  trained: int
  optimizer: int
  batch: int
  stored: frozenset[tuple[int, ...]]
  in_use: frozenset[tuple[int, ...]]
  vocabulary: frozenset[int]

  @property
  def total(self) -> int:
    return self.parameters + self.optimizer + self.batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
  """Bytes of one device.

  Attributes:
    parameters, optimizer, batch: what the step is given, without padding.
    temporaries: by kind, those alive when most is; {} where the compiler of a
      refused step did not come to place them. Gradients; activations kept for
      the backward pass, all layers; logits; weights cast or gathered; and the
      work of what is being computed.
    arguments: of the program, tiles padded.
    needed: in all (`Compiled.needed`).
    peak: most that is alive at a time, in XLA's own count; None if refused.
    host: in host memory.
    usable: what a program may use.
  """

  parameters: int
  optimizer: int
  batch: int
  temporaries: Mapping[str, int]
  arguments: int | None
  needed: int | None
  peak: int | None
  host: int
  usable: int

  @property
  def headroom(self) -> int | None:
    return None if self.needed is None else self.usable - self.needed


def state_of(cfg: RunConfig, mesh: Mesh, phase: int) -> State:
  tx = optimizer_of(cfg)
  state = abstract_state(cfg, tx, mesh)
  its, leaves = cfg.phases[phase], jax.tree.leaves(state.weights)
  shards = cfg.mesh.replica * cfg.mesh.fsdp * cfg.mesh.context
  vocabulary = cfg.model.vocab_size
  token = sum(jax.numpy.dtype(d).itemsize for d in FIELDS.values())
  return State(
    device_bytes(state.weights),
    device_bytes(state.params),
    device_bytes(state.opt_state),
    its.samples * its.context * token // shards,
    frozenset(_bare(_local(p)) for p in leaves),
    frozenset(shape for p in leaves for shape in _in_use(p, cfg.model.layers)),
    frozenset((vocabulary, vocabulary // cfg.mesh.tensor)),
  )


def measure(
  compiled: Compiled, state: State, model: ModelConfig, usable: int
) -> Memory:
  """Memory of a compiled or refused step."""
  said = compiled.memory
  temporaries = dict.fromkeys(KINDS, 0)
  for buffer in _at_peak(compiled.text("buffers"), compiled.text("lifetimes")):
    temporaries[kind_of(buffer.array, state, model)] += buffer.size
  return Memory(
    parameters=state.parameters,
    optimizer=state.optimizer,
    batch=state.batch,
    temporaries=temporaries if any(temporaries.values()) else {},
    arguments=said.get("argument_size"),
    needed=compiled.needed,
    peak=said.get("peak_memory"),
    host=said.get("host_temp_size", 0),
    usable=usable,
  )


def kind_of(array: hlo.Array, state: State, model: ModelConfig) -> str:
  """Which of KINDS a temporary is, judged by its shape."""
  shape = _bare(array.shape)
  if shape in state.stored:
    return "gradients" if array.dtype == "f32" else "weights in use"
  if len(array.shape) > 2 and array.shape[0] == model.layers:
    return "kept activations"
  if shape in state.in_use:
    return "weights in use"
  return "logits" if state.vocabulary & set(shape) else "work"


@dataclasses.dataclass(frozen=True)
class _Buffer:
  name: str
  size: int
  offset: int
  array: hlo.Array


_ALLOCATION = re.compile(r"allocation \d+: size \d+, (.*)")
_VALUE = re.compile(
  r" value: <\d+ (\S+?)(?: \(phi\))? @(\d+)>"
  r" \(size=(\d+),offset=(\d+)\): (.*)"
)
_LIFETIME = re.compile(r"\s+(\S+?\{[\d,]*\}):(\d+)-(\d+)$")


def _at_peak(buffers: str, lifetimes: str) -> list[_Buffer]:
  """Temporaries in the device's main memory when most of them are alive."""
  alive = {
    m[1]: (int(m[2]), int(m[3]))
    for m in map(_LIFETIME.match, lifetimes.splitlines())
    if m
  }
  placed = [
    (alive[b.name], b) for b in _temporaries(buffers) if b.name in alive
  ]
  best = {}
  for (moment, _), _buffer in placed:
    # One place holds one buffer at a time, under as many names as it has.
    here = {b.offset: b for (start, end), b in placed if start <= moment <= end}
    if _size(here) > _size(best):
      best = here
  return list(best.values())


def _temporaries(text: str) -> Iterator[_Buffer]:
  inside = False
  for line in text.splitlines():
    allocation = _ALLOCATION.match(line)
    if allocation:
      inside = allocation[1].startswith("preallocated-temp")
      continue
    value = _VALUE.match(line) if inside else None
    if value and not value[5].startswith("("):
      name = value[1] if value[1].endswith("}") else f"{value[1]}{{}}"
      [array] = hlo.arrays(value[5])
      yield _Buffer(name, int(value[3]), int(value[4]), array)


def _size(buffers: Mapping[int, _Buffer]) -> int:
  return sum(b.size for b in buffers.values())


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
  """Without axes of size 1, and without order: layouts transpose."""
  return tuple(sorted(n for n in shape if n != 1))


def _in_use(parameter, layers: int) -> Iterator[tuple[int, ...]]:
  """Shapes of a weight in a layer: as stored, gathered, heads merged."""
  spec = [a if a != "fsdp" else None for a in parameter.sharding.spec]
  whole = parameter.sharding.update(spec=jax.P(*spec))
  for shape in (_local(parameter), whole.shard_shape(parameter.shape)):
    if shape[0] == layers:
      shape = shape[1:]
    yield _bare(shape)
    if len(shape) > 2:
      yield _bare((shape[0] * shape[1], shape[2]))
      yield _bare((shape[0], shape[1] * shape[2]))


def _local(leaf) -> tuple[int, ...]:
  return leaf.sharding.shard_shape(leaf.shape)
