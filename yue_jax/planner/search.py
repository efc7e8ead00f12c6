"""Layouts of a step: which there are, which should fit, which are fast."""

from collections.abc import Collection, Iterator, Sequence
import dataclasses
import itertools
import math

from yue_jax.config import REMAT, MeshConfig, RunConfig
from yue_jax.planner.estimate import Estimate, Traced, estimate, trace
from yue_jax.planner.plan import Layout, layout_of, mesh_of
from yue_jax.planner.topology import Topology
from yue_jax.sharding import check_divisible

VARIED = ("mesh", "remat", "microbatches")
# Sizes of the context and the tensor axis.
_CUTS = tuple(itertools.product((1, 2, 4), repeat=2))
_ROWS = (1, 2, 4, 8)  # on one device, in one microbatch


def estimates(
  cfg: RunConfig,
  topology: Topology,
  phase: int,
  *,
  vary: Collection[str] = VARIED,
  cuts: Collection[tuple[int, int]] = _CUTS,
) -> Iterator[tuple[RunConfig, Estimate]]:
  """Layouts that the config allows on a topology, estimated.

  Tracing takes seconds, so it is done for two numbers of rows of each kind of
  layout, and others are on the line through them.

  Args:
    cfg: what is to be laid out.
    topology: on what.
    phase: of the config.
    vary: what to try others of; the rest stays as in the config.
    cuts: sizes to try, in pairs, of the context and the tensor axis.
  """
  traced = {}
  for rows, candidate in layouts(cfg, topology, phase, vary, cuts):
    mesh = candidate.mesh
    alike = candidate.model.remat, mesh.context, mesh.tensor
    if alike not in traced:
      traced[alike] = _traced(candidate, topology, phase)
    few, more = traced[alike]
    of_rows = few.at(rows, more)
    yield candidate, estimate(candidate, topology, phase, of_rows)


def estimate_of(cfg: RunConfig, topology: Topology, phase: int) -> Estimate:
  """The config's own layout, estimated.

  Raises:
    ValueError: mesh, model and topology do not fit each other.
  """
  mesh_of(cfg, topology)  # says what does not fit
  [(_, its)] = estimates(cfg, topology, phase, vary=())
  return its


def layouts(
  cfg: RunConfig,
  topology: Topology,
  phase: int,
  vary: Collection[str] = VARIED,
  cuts: Collection[tuple[int, int]] = _CUTS,
) -> Iterator[tuple[int, RunConfig]]:
  """The config with every mesh, remat policy and microbatch it can have.

  With each, the rows of one device in one microbatch.
  """
  its, shards = cfg.phases[phase], cfg.mesh.replica * cfg.mesh.fsdp
  given = its.samples // its.microbatches // shards
  for mesh, remat, rows in itertools.product(
    _meshes(topology, cuts) if "mesh" in vary else [cfg.mesh],
    REMAT if "remat" in vary else [cfg.model.remat],
    _ROWS if "microbatches" in vary else [given],
  ):
    candidate = _with(cfg, mesh, remat, rows)
    if candidate is not None:
      yield rows, candidate


def near(cfg: RunConfig, topology: Topology, phase: int) -> list[Estimate]:
  """Layouts near the config's that should fit, the nearest first.

  Sequences and weights are cut as the config cuts them, or else, if none of
  these should fit, in every way that a search tries.
  """
  for cuts in ([(cfg.mesh.context, cfg.mesh.tensor)], _CUTS):
    found = estimates(cfg, topology, phase, cuts=cuts)
    fitting = nearest(layout_of(cfg, phase), [its for _, its in found])
    if fitting:
      return fitting
  return []


def nearest(layout: Layout, found: Sequence[Estimate]) -> list[Estimate]:
  """Those that should fit, the least different from `layout` first."""

  def distance(its: Estimate):
    sizes = zip(layout.mesh.values(), its.layout.mesh.values(), strict=True)
    factors = [abs(math.log2(a / b)) for a, b in sizes]
    factors.append(
      abs(math.log2(layout.microbatches / its.layout.microbatches))
    )
    return sum(factors) + (layout.remat != its.layout.remat), its.bound

  return sorted((e for e in found if e.fits), key=distance)


def ranked(
  found: Sequence[tuple[RunConfig, Estimate]],
) -> list[tuple[RunConfig, Estimate]]:
  """Those that should fit, by their bound, then by all that may not overlap."""
  fitting = [pair for pair in found if pair[1].fits]
  return sorted(
    fitting, key=lambda pair: (pair[1].bound, sum(pair[1].seconds.values()))
  )


def flags_of(cfg: RunConfig, phase: int) -> list[str]:
  """The command-line flags that give a run this layout."""
  layout = layout_of(cfg, phase)
  return [
    *(f"--config.mesh.{axis}={n}" for axis, n in layout.mesh.items()),
    f"--config.model.remat={layout.remat}",
    *(
      f"--config.phases[{n}].microbatches={its.microbatches}"
      for n, its in enumerate(cfg.phases)
    ),
  ]


def _meshes(
  topology: Topology, cuts: Collection[tuple[int, int]]
) -> Iterator[MeshConfig]:
  devices = topology.device_count
  doublings = (2**n for n in range(devices.bit_length()))
  replicas = [topology.slices * n for n in doublings]
  for replica, (context, tensor) in itertools.product(replicas, cuts):
    fsdp, odd = divmod(devices, replica * context * tensor)
    if odd or fsdp < 1:
      continue
    try:
      yield MeshConfig(
        replica=replica, fsdp=fsdp, context=context, tensor=tensor
      )
    except ValueError:  # an axis that this version cannot use
      continue


def _with(cfg, mesh, remat, rows) -> RunConfig | None:
  """The config in another layout; None if its sizes do not allow it."""
  shards = mesh.replica * mesh.fsdp
  phases = []
  for its in cfg.phases:
    microbatches, odd = divmod(its.samples, rows * shards)
    if odd or not microbatches:
      return None
    phases.append(dataclasses.replace(its, microbatches=microbatches))
  try:
    check_divisible(cfg.model, mesh)
    return dataclasses.replace(
      cfg,
      mesh=mesh,
      model=dataclasses.replace(cfg.model, remat=remat),
      phases=tuple(phases),
    )
  except ValueError:  # not an error here: this layout does not exist
    return None


def _traced(cfg, topology, phase) -> tuple[Traced, Traced]:
  """Two numbers of rows in a microbatch, whatever batch that makes.

  Rows are told from other axes by their number, which no model has elsewhere.
  """

  def of(rows: int) -> Traced:
    shards = rows * cfg.mesh.replica * cfg.mesh.fsdp
    its = dataclasses.replace(cfg.phases[phase], samples=shards, microbatches=1)
    phases = (*cfg.phases[:phase], its, *cfg.phases[phase + 1 :])
    return trace(dataclasses.replace(cfg, phases=phases), topology, phase)

  return of(5), of(7)
