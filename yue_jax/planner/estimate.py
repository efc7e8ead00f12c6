"""Memory and time of a step before it is compiled: estimates, named so.

The state is exact, and so is what a remat policy keeps of the layers: the
step is traced, and the loop over layers carries what the backward pass will
read. How much the compiler needs besides, and how well it overlaps, is
guessed; a plan that matters is compiled.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import functools

import jax
from jax.sharding import Mesh

from yue_jax import accounting
from yue_jax.config import RunConfig
from yue_jax.planner import hlo, memory
from yue_jax.planner.flops import product
from yue_jax.planner.plan import Layout, layout_of, mesh_of, must_gather
from yue_jax.planner.roofline import transfer
from yue_jax.planner.topology import Topology, wires
from yue_jax.planner.walk import Loop, Visit, changed, walk
from yue_jax.train.step import lower_train_step

# What the compiler needs for temporaries against what is alive of them at the
# peak, stacks of kept activations aside, which it places without gaps: 1.1 to
# 1.5 in compiled steps of 0.5 to 7 B parameters.
_GAPS = 1.5
# Arrays as large as its largest that a layer works on at a time.
_AT_A_TIME = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
  """Guesses for one layout: bytes of a device by kind, seconds by resource."""

  layout: Layout
  memory: Mapping[str, int]
  usable: int
  seconds: Mapping[str, float]

  @property
  def needed(self) -> int:
    return sum(self.memory.values())

  @property
  def fits(self) -> bool:
    return self.needed <= self.usable

  @property
  def bound(self) -> float:
    return max(self.seconds.values())


@dataclasses.dataclass(frozen=True)
class Traced:
  """What is read from a lowered step, on one device.

  Attributes:
    rows: in one microbatch.
    kept: bytes that the layers leave for the backward pass, but on the host.
    layer: bytes of the largest array inside a layer.
    logits: bytes of the largest array with an entry for every token id.
    recomputed: matrix products done again, of those done once.
  """

  rows: int
  kept: int
  layer: int
  logits: int
  recomputed: float

  def at(self, rows: int, other: "Traced") -> "Traced":
    """For another number of rows, on the line through this and `other`."""

    def line(mine: int, theirs: int) -> int:
      slope = (theirs - mine) / (other.rows - self.rows)
      return round(mine + (rows - self.rows) * slope)

    return Traced(
      rows,
      line(self.kept, other.kept),
      line(self.layer, other.layer),
      line(self.logits, other.logits),
      self.recomputed,
    )


def estimate(
  cfg: RunConfig, topology: Topology, phase: int, traced: Traced
) -> Estimate:
  """Guesses memory and time of a step; `traced` is of the same layout."""
  mesh = mesh_of(cfg, topology)
  state = memory.state_of(cfg, mesh, phase)
  parts = accounting.parameters(cfg.model)
  width = jax.numpy.dtype(cfg.model.dtype).itemsize / cfg.mesh.tensor
  layer = (parts["attention"] + parts["mlp"]) / cfg.model.layers
  at_loss = (2 * traced.logits, parts["unembed"] * width)
  at_layer = (_AT_A_TIME * traced.layer, 2 * layer * width)
  logits, weights = max(at_loss, at_layer, key=sum)
  temporaries = {
    "gradients": state.trained,
    "kept activations": traced.kept,
    "logits" if (logits, weights) == at_loss else "work": logits,
    "weights in use": weights,
  }
  placed = sum(temporaries.values()) - traced.kept
  temporaries["gaps"] = (_GAPS - 1) * placed
  return Estimate(
    layout=layout_of(cfg, phase),
    memory={
      "parameters": state.parameters,
      "optimizer": state.optimizer,
      "batch": state.batch,
      **{name: round(size) for name, size in temporaries.items()},
    },
    usable=round(topology.chip.usable_hbm_gib * 2**30),
    seconds=_seconds(cfg, topology, mesh, phase, traced),
  )


def trace(cfg: RunConfig, topology: Topology, phase: int) -> Traced:
  """Lowers the step, without compiling it, and reads what it keeps."""
  lowered = lower_train_step(cfg, mesh_of(cfg, topology), phase=phase)
  module = hlo.parse(lowered.as_text("hlo", debug_info=True))
  its, model = cfg.phases[phase], cfg.model
  rows = its.samples // its.microbatches
  on_device = functools.partial(_on_device, cfg, rows)
  shards = cfg.mesh.replica * cfg.mesh.fsdp
  kept, offloaded, layer, logits = 0, 0, 0, 0
  products = {True: 0, False: 0}
  for visit in walk(module):
    instruction = visit.instruction
    if instruction.opcode == "while":
      if _is_forward(visit, model.layers):
        kept = max(
          kept, sum(map(on_device, _kept(module, instruction, model.layers)))
        )
    elif instruction.opcode == "dot":
      again = "rematted_computation" in visit.path
      products[again] += visit.repeats * product(visit)
    elif 'placement="pinned_host"' in instruction.attributes:
      times = visit.repeats // its.microbatches
      offloaded += times * on_device(instruction.result[0])
    if instruction.opcode in ("parameter", "constant", "while", "tuple"):
      continue
    for array in instruction.result:
      tokens = rows in array.shape or its.context in array.shape
      if array.dtype == "pred":
        continue  # masks are fused with what they mask
      if model.vocab_size in array.shape:
        logits = max(logits, tokens and on_device(array))
      elif tokens and array.shape[0] != model.layers:
        layer = max(layer, on_device(array))
  recomputed = products[True] / products[False]
  kept -= offloaded
  return Traced(rows // shards, kept, layer, logits, recomputed)


def _is_forward(visit: Visit, layers: int) -> bool:
  """Whether it is the loop over layers of the forward pass."""
  ours = "jvp(" in visit.path and "transpose(" not in visit.path
  return ours and Loop(layers, visit.instruction).carries_stack(layers)


def _kept(
  module: hlo.Module, loop: hlo.Instruction, layers: int
) -> Iterator[hlo.Array]:
  """Stacks that the loop over layers fills."""
  for array in changed(module, loop):
    if len(array.shape) > 2 and array.shape[0] == layers:
      yield array


def _on_device(cfg: RunConfig, rows: int, array: hlo.Array) -> int:
  """Bytes on one device of an array whose shape may be that of all devices."""
  mesh, model = cfg.mesh, cfg.model
  cut = 1
  if rows in array.shape[:2]:
    cut *= mesh.replica * mesh.fsdp * mesh.context
  along_tensor = {
    model.heads,
    model.kv_heads,
    model.mlp_width,
    model.vocab_size,
  }
  if along_tensor & set(array.shape):
    cut *= mesh.tensor
  return array.bytes // cut


def _seconds(
  cfg: RunConfig, topology: Topology, mesh: Mesh, phase: int, traced: Traced
) -> dict[str, float]:
  """Matrix units and wires; HBM is not estimated."""
  its, model = cfg.phases[phase], cfg.model
  flops = its.tokens_per_step * accounting.train_flops_per_token(
    model, its.context, cfg.lora
  )
  flops *= (1 + traced.recomputed) / topology.chips
  seconds = {"matrix units": flops / topology.chip.flops}
  for axis, received in _received(cfg, phase, traced).items():
    group = mesh.shape[axis]
    if group > 1:
      along = wires(topology, mesh, (axis,))
      seconds[axis] = sum(transfer(received, group, along, topology.chip))
  return seconds


def _received(cfg, phase, traced) -> dict[str, float]:
  """Bytes that a device receives in a step along each axis of the mesh."""
  its, model, mesh = cfg.phases[phase], cfg.model, cfg.mesh
  width = jax.numpy.dtype(model.dtype).itemsize
  tokens = its.tokens_per_step // (mesh.replica * mesh.fsdp * mesh.context)
  passes = model.layers * (2 + (traced.recomputed > 0.2))
  trained = accounting.parameter_count(model)
  if cfg.lora is not None:
    trained = accounting.adapter_parameters(model, cfg.lora)
  gradients = its.microbatches * width * trained // mesh.tensor
  keys = 2 * model.kv_heads // mesh.tensor * model.head_width
  whole = {
    "replica": 2 * gradients // mesh.fsdp,
    "fsdp": must_gather(cfg, phase) + gradients,
    "context": passes * tokens * mesh.context * keys * width,
    # An all-reduce after attention and one after the MLP: twice there and back.
    "tensor": 2 * 2 * passes * tokens * model.width * width,
  }
  sizes = dataclasses.asdict(mesh)
  return {
    axis: n * (sizes[axis] - 1) / sizes[axis] for axis, n in whole.items()
  }
