"""A plan: what one train step needs and does, and what its phase costs."""

from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any

import jax
from jax.sharding import Mesh

from yue_jax import accounting, sharding
from yue_jax.config import RunConfig
from yue_jax.planner import collectives, compiler, flops, hlo, memory, traffic
from yue_jax.planner.collectives import Collective
from yue_jax.planner.cost import Cost, cost
from yue_jax.planner.roofline import Roofline, roofline
from yue_jax.planner.topology import Topology, devices
from yue_jax.train.step import lower_train_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
  """What of a config decides how a step is computed."""

  mesh: dict[str, int]
  remat: str
  microbatches: int

  def __str__(self) -> str:
    used = [f"{n} {s}" for n, s in self.mesh.items() if s > 1] or ["1 device"]
    times = f"{self.microbatches} microbatches"
    return f"{' x '.join(used)}, remat {self.remat}, {times}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
  """What one device does in one step.

  Attributes:
    flops: counted in the program, by pass and kernels.
    model_flops: that the model needs by the causal convention, for all
      devices together.
    collectives: that the partitioned program asks for.
    compiled_results: bytes that those of the optimised program return.
    hbm_bytes: that the optimised program reads and writes.
    host_bytes: the same in the host's memory, for what is offloaded.
    must_gather: bytes of weights that FSDP has to gather (`must_gather`).
    table_bytes: of one embedding table, gathered.
    roofline: times at peak rates.
    bound: costs at the overlapped time, the best that can be.
    serial: costs at the sum of all times.
  """

  flops: flops.Flops
  model_flops: float
  collectives: Sequence[Collective]
  compiled_results: int
  hbm_bytes: int
  host_bytes: int
  must_gather: int
  table_bytes: int
  roofline: Roofline
  bound: Cost
  serial: Cost


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """One step of one phase on one topology; `work` is None if it was refused.

  Attributes:
    name: of the recipe.
    seconds: that the compiler took, now or when the cache was filled.
    price: dollars of a chip and hour; None if not known.
  """

  name: str
  topology: Topology
  layout: Layout
  phase: str
  context: int
  samples: int
  tokens: int
  memory: memory.Memory
  work: Work | None
  refused: str
  seconds: float
  versions: dict[str, str]
  price: float | None

  @property
  def fits(self) -> bool:
    headroom = self.memory.headroom
    return not self.refused and headroom is not None and headroom >= 0


def layout_of(cfg: RunConfig, phase: int) -> Layout:
  return Layout(
    mesh=dataclasses.asdict(cfg.mesh),
    remat=cfg.model.remat,
    microbatches=cfg.phases[phase].microbatches,
  )


def mesh_of(cfg: RunConfig, topology: Topology) -> Mesh:
  """The config's mesh over the topology's devices.

  Raises:
    ValueError: they do not fit each other; says which to change.
  """
  count = cfg.mesh.replica * cfg.mesh.fsdp * cfg.mesh.context * cfg.mesh.tensor
  if count != topology.device_count:
    rest = count // cfg.mesh.fsdp
    fsdp, odd = divmod(topology.device_count, rest)
    remedy = "" if odd else f", such as --config.mesh.fsdp={fsdp}"
    raise ValueError(
      f"mesh {cfg.mesh.describe()} is for {count} devices, but {topology} has"
      f" {topology.device_count}; change mesh.*{remedy}"
    )
  sharding.check_divisible(cfg.model, cfg.mesh)
  return sharding.make_mesh(cfg.mesh, devices(topology))


def make_plan(
  cfg: RunConfig,
  topology: Topology,
  *,
  name: str,
  phase: int,
  cache: pathlib.Path,
  price: float | None,
) -> Plan:
  """Compiles the train step of a phase, or finds it in the cache, and counts.

  Raises:
    ValueError: mesh and topology do not fit each other, or the program has
      something in it that cannot be counted.
  """
  mesh = mesh_of(cfg, topology)
  lowered = lower_train_step(cfg, mesh, phase=phase)
  compiled = compiler.compile_step(lowered, topology, cache)
  usable = round(topology.chip.usable_hbm_gib * 2**30)
  state = memory.state_of(cfg, mesh, phase)
  its = cfg.phases[phase]
  return Plan(
    name=name,
    topology=topology,
    layout=layout_of(cfg, phase),
    phase=its.name,
    context=its.context,
    samples=its.samples,
    tokens=its.steps * its.tokens_per_step,
    memory=memory.measure(compiled, state, cfg.model, usable),
    work=None
    if compiled.refused
    else _work(cfg, topology, mesh, phase, compiled, price),
    refused=compiled.refused,
    seconds=compiled.seconds,
    versions=compiled.versions,
    price=price,
  )


def _work(cfg, topology, mesh, phase, compiled, price) -> Work:
  program = hlo.parse(compiled.text("partitioned"))
  counted = flops.count(program)
  asked = collectives.find(program, dict(mesh.shape), layers=cfg.model.layers)
  optimized = hlo.parse(compiled.text("optimized"))
  moved = traffic.count(optimized)
  offloaded = traffic.count(optimized, traffic.HOST)
  times = roofline(
    topology,
    mesh,
    flops=counted.total,
    hbm_bytes=moved,
    host_bytes=offloaded,
    collectives=asked,
  )
  its = cfg.phases[phase]
  return Work(
    flops=counted,
    model_flops=its.tokens_per_step
    * accounting.train_flops_per_token(cfg.model, its.context, cfg.lora),
    collectives=asked,
    compiled_results=collectives.results(optimized),
    hbm_bytes=moved,
    host_bytes=offloaded,
    must_gather=must_gather(cfg, phase),
    table_bytes=_gathered(cfg, accounting.parameters(cfg.model)["embed"]),
    roofline=times,
    bound=cost(cfg, topology, phase, times.overlapped, price),
    serial=cost(cfg, topology, phase, times.serial, price),
  )


def must_gather(cfg: RunConfig, phase: int) -> int:
  """Bytes of gathered weights on one device that FSDP cannot do without.

  In every microbatch all weights of the layers and the head are needed whole
  twice, forward and backward, and the embedding once, for the lookup; in the
  activations' type, and cut along the tensor axis.
  """
  parts = accounting.parameters(cfg.model)
  twice = parts["attention"] + parts["mlp"] + parts["unembed"]
  numbers = 2 * twice + parts["embed"]
  return cfg.phases[phase].microbatches * _gathered(cfg, numbers)


def _gathered(cfg: RunConfig, numbers: int) -> int:
  """Bytes on one device of so many numbers of weights, gathered along fsdp."""
  width = jax.numpy.dtype(cfg.model.dtype).itemsize
  return numbers * width // cfg.mesh.tensor


def to_json(plan: Plan) -> dict[str, Any]:
  """Plain values; collectives summed by all that is the same about them."""
  plain = dataclasses.asdict(plan)
  plain["topology"] = str(plan.topology)
  plain["chips"] = plan.topology.chips
  plain["layout"]["text"] = str(plan.layout)
  plain["fits"] = plan.fits
  plain["memory"]["headroom"] = plan.memory.headroom
  if plan.work is not None:
    times = plan.work.roofline
    plain["work"]["collectives"] = collectives.summed(plan.work.collectives)
    plain["work"]["roofline"] |= {
      "bound_by": times.bound_by,
      "overlapped": times.overlapped,
      "serial": times.serial,
    }
    plain["work"]["flops"]["total"] = plan.work.flops.total
    plain["work"]["ratios"] = ratios(plan)
  return plain


def ratios(plan: Plan) -> dict[str, Any]:
  """What a step does, of what it has to do.

  flops: counted in the program, of the model's (causal), all devices.
  gathered: bytes of all-gathers along fsdp, of `must_gather`.
  permuted: bytes of collective-permutes along fsdp, of `must_gather`: the
    compiler may make rings of gathers and scatters, and overlap each turn
    with a part of the product.
  tables_gathered: embedding tables, for the lookup and for the head, in one
    microbatch, by pass; a table may be gathered in parts.
  float32_gathered: bytes of matrices gathered in float32, of `must_gather`.
  """
  work = plan.work
  along = [c for c in work.collectives if "fsdp" in c.axes]
  gathers = [c for c in along if c.kind == "all-gather"]
  matrices = [c for c in gathers if len(c.shape) > 1]
  tables = {}
  for c in matrices:
    if c.where != "layer" and c.dtype[0] != "s":
      part = c.result_bytes / plan.layout.microbatches / work.table_bytes
      tables[c.direction] = tables.get(c.direction, 0.0) + part
  return {
    "flops": work.flops.total * plan.topology.device_count / work.model_flops,
    "gathered": _bytes(gathers) / work.must_gather,
    "permuted": _bytes(c for c in along if c.kind == "collective-permute")
    / work.must_gather,
    "tables_gathered": tables,
    "float32_gathered": _bytes(c for c in matrices if c.dtype == "f32")
    / work.must_gather,
  }


def _bytes(found) -> int:
  return sum(c.result_bytes for c in found)
