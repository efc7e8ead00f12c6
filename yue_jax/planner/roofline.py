"""The least time that one step takes on paper.

Each resource alone, at its public peak (`chips`):

  matrix   FLOPs of a device / peak FLOP/s
  hbm      bytes read and written / bandwidth
  ici      bytes received along an axis / (links that bring them * bandwidth)
  dcn      bytes received from other slices / bandwidth
  host     bytes read from and written to the host's memory / bandwidth

Links of an axis: two in each dimension of the grid that its devices close to a
ring, one where they are a line. A group over several slices first works
inside each slice: of a whole of n bytes, a device gets its share of the
other slices' parts by the network, and the rest by links.

If everything overlapped, a step would take as long as its slowest resource;
if nothing did, their sum. The truth lies between, if the peaks were reached:
latencies, padding and the vector unit come on top.
"""

from collections.abc import Mapping, Sequence
import dataclasses

from jax.sharding import Mesh

from yue_jax.chips import Chip
from yue_jax.planner.collectives import Collective
from yue_jax.planner.topology import Topology, Wires, wires


@dataclasses.dataclass(frozen=True)
class Roofline:
  """Seconds of a step by resource; `ici` and `dcn` by axes of the mesh."""

  matrix: float
  hbm: float
  ici: Mapping[str, float]
  dcn: Mapping[str, float]
  host: float = 0.0

  @property
  def parts(self) -> dict[str, float]:
    return {
      "matrix units": self.matrix,
      "HBM": self.hbm,
      **{f"ICI {axes}": s for axes, s in self.ici.items()},
      **{f"DCN {axes}": s for axes, s in self.dcn.items()},
      **({"host": self.host} if self.host else {}),
    }

  @property
  def bound_by(self) -> str:
    return max(self.parts, key=self.parts.get)

  @property
  def overlapped(self) -> float:
    return max(self.parts.values())

  @property
  def serial(self) -> float:
    return sum(self.parts.values())


def roofline(
  topology: Topology,
  mesh: Mesh,
  *,
  flops: int,
  hbm_bytes: int,
  host_bytes: int,
  collectives: Sequence[Collective],
) -> Roofline:
  """The counts of one device and one step, as times."""
  chip, ici, dcn = topology.chip, {}, {}
  for collective in collectives:
    if not collective.axes:
      continue
    along = wires(topology, mesh, collective.axes)
    seconds = transfer(collective.wire_bytes, collective.group, along, chip)
    for times, value in zip((ici, dcn), seconds, strict=True):
      if value:
        name = "+".join(collective.axes)
        times[name] = times.get(name, 0.0) + value
  return Roofline(
    flops / (chip.flops / chip.devices),
    hbm_bytes / (chip.hbm_bytes / chip.devices),
    ici,
    dcn,
    host_bytes / (chip.host_bytes / chip.devices),
  )


def transfer(
  wire_bytes: float, group: int, its: Wires, chip: Chip
) -> tuple[float, float]:
  """Seconds on the links of a slice, and on the network between slices.

  Args:
    wire_bytes: that a device receives from the others of its group.
    group: devices that exchange.
    its: wires between them.
    chip: generation.
  """
  links = its.links * chip.link_bytes / chip.devices
  slices = min(its.slices, group)  # a permute has only two ends
  inner = group // slices
  whole = wire_bytes * group / (group - 1)
  across = whole * (slices - 1) / slices / inner
  inside = whole * (inner - 1) / inner
  # Without links: devices of one chip, which share its memory.
  return (
    inside / links if links else 0.0,
    across * chip.devices / chip.dcn_bytes,
  )
