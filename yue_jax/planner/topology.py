"""Slices of TPUs that need not be there: their devices and their wires."""

from collections.abc import Sequence
import dataclasses
import importlib.util
import math
import os
import re

import jax
from jax.experimental import topologies
from jax.sharding import Mesh
import numpy as np

from yue_jax.chips import CHIPS, Chip

# libtpu asks the machine for its TPU, and complains if there is none; and
# several processes may compile at a time.
_NO_MACHINE = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-4",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
}


@dataclasses.dataclass(frozen=True)
class Topology:
  """So many slices of chips, each a grid: "v5p:4x4x4".

  Attributes:
    chip: generation.
    shape: chips of one slice along each dimension of the grid.
    slices: connected by the data-centre network (DCN) alone.
  """

  chip: Chip
  shape: tuple[int, ...]
  slices: int = 1

  def __str__(self) -> str:
    name = f"{self.chip.name}:{'x'.join(map(str, self.shape))}"
    return name if self.slices == 1 else f"{self.slices} slices of {name}"

  @property
  def chips(self) -> int:
    return math.prod(self.shape) * self.slices

  @property
  def device_count(self) -> int:
    return self.chips * self.chip.devices

  @property
  def wraps(self) -> tuple[bool, ...]:
    """Along which dimensions the last chip is wired to the first.

    Flat grids are rings where they are 16 long; in three dimensions a slice
    is a torus if it is made of whole cubes of 4 x 4 x 4 [book, see `chips`].
    """
    if self.chip.torus_dims == 2:
      return tuple(n == 16 for n in self.shape)
    return (all(n % 4 == 0 for n in self.shape),) * 3


def parse(name: str, slices: int = 1) -> Topology:
  """Reads a name such as "v5e:16x16" or "v5p:8x8x8".

  Raises:
    ValueError: no such chip, or not its number of dimensions.
  """
  found = re.fullmatch(r"(\w+):(\d+(?:x\d+)*)", name)
  if not found or found[1] not in CHIPS:
    raise ValueError(
      f"topology {name!r} is none of {sorted(CHIPS)} with a grid of chips,"
      " such as v5e:4x8 or v5p:4x4x4 (a v5p-128 is v5p:4x4x4: its name counts"
      " cores)"
    )
  chip, shape = CHIPS[found[1]], tuple(map(int, found[2].split("x")))
  if len(shape) != chip.torus_dims or min(shape) < 1 or slices < 1:
    raise ValueError(
      f"topology {name!r}, slices={slices}: a {chip.name} slice is a grid in"
      f" {chip.torus_dims} dimensions, all positive, and there is at least one"
    )
  return Topology(chip, shape, slices)


def devices(topology: Topology) -> Sequence[jax.Device]:
  """Devices to compile for; they can compute nothing.

  Raises:
    ValueError: libtpu is not installed, or knows no such slice.
  """
  if importlib.util.find_spec("libtpu") is None:
    raise ValueError(
      "the TPU compiler is not installed; pip install libtpu (the extra"
      " [tpu] of this package has it, and needs no TPU)"
    )
  for name, value in _NO_MACHINE.items():
    os.environ.setdefault(name, value)
  try:
    return topologies.get_topology_desc(
      platform="tpu",
      topology_name=str(dataclasses.replace(topology, slices=1)),
      chip_config_name=topology.chip.chip_config,
      num_slices=topology.slices,
      wrap=(*topology.wraps, False)[:3],
    ).devices
  except jax.errors.JaxRuntimeError as error:
    raise ValueError(f"libtpu refuses {topology}: {error}") from error


@dataclasses.dataclass(frozen=True)
class Wires:
  """What connects devices that differ along some axes of a mesh.

  Attributes:
    links: of a chip, in one direction, that bring data from the group: two
      in every dimension that closes to a ring, else one.
    slices: that a group spans.
  """

  links: int
  slices: int


def wires(topology: Topology, mesh: Mesh, axes: Sequence[str]) -> Wires:
  """Wires of one group of devices of a mesh on a topology.

  All groups of a mesh are alike; the first is taken. A dimension of the grid
  counts as a ring if the group covers it whole and it wraps.
  """
  index = tuple(slice(None) if name in axes else 0 for name in mesh.axis_names)
  group = np.ravel(mesh.devices[index])
  links = 0
  for dim, (size, wraps) in enumerate(
    zip(topology.shape, topology.wraps, strict=True)
  ):
    along = {d.coords[dim] for d in group}
    if len(along) > 1:
      links += 2 if wraps and len(along) == size else 1
  slices = {getattr(d, "slice_index", 0) for d in group}
  return Wires(links, len(slices))
