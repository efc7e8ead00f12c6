"""What Google Cloud calls slices of TPUs, and the machines they are made of.

Sources, read in 2026:
  labels of nodes, chips of a node, shapes of slices
    https://cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus
  software of TPU VMs
    https://cloud.google.com/tpu/docs/runtimes
  names of slices
    xpk 1.16.0, src/xpk/core/system_characteristics.py
"""

import dataclasses
import itertools
import math
import re

from yue_jax.chips import CHIPS
from yue_jax.planner.topology import Topology


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation:
  """What the cloud says of one generation of TPU; `yue_jax.chips` has the rest.

  Attributes:
    product: as slices are called, "v5p-128".
    accelerator: label of its nodes on Google Kubernetes Engine.
    cores: of one chip, counted by the names of slices.
    software: of TPU VMs; None where there is only Kubernetes.
  """

  product: str
  accelerator: str
  cores: int
  software: str | None


GENERATIONS = {  # by the name of the chip
  "v4": Generation(
    product="v4",
    accelerator="tpu-v4-podslice",
    cores=2,
    software="tpu-ubuntu2204-base",
  ),
  "v5e": Generation(
    product="v5litepod",
    accelerator="tpu-v5-lite-podslice",
    cores=1,
    software="v2-alpha-tpuv5-lite",
  ),
  "v5p": Generation(
    product="v5p",
    accelerator="tpu-v5p-slice",
    cores=2,
    software="v2-alpha-tpuv5",
  ),
  "v6e": Generation(
    product="v6e",
    accelerator="tpu-v6e-slice",
    cores=1,
    software="v2-alpha-tpuv6e",
  ),
  "tpu7x": Generation(
    product="tpu7x",
    accelerator="tpu7x",
    cores=2,
    software=None,
  ),
}
_FLAT = {
  (1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)
}  # fmt: skip
# Less than a cube of 4 x 4 x 4; larger slices are made of whole cubes.
_SMALL = {(2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4)}
_CHIPS_PER_HOST = 4


@dataclasses.dataclass(frozen=True)
class Slices:
  """So many slices, all of one shape, as the cloud names them.

  Attributes:
    grid: their chips.
  """

  grid: Topology

  def __str__(self) -> str:
    return str(self.grid)

  @property
  def generation(self) -> Generation:
    return GENERATIONS[self.grid.chip.name]

  @property
  def count(self) -> int:
    return self.grid.slices

  @property
  def topology(self) -> str:
    """Of one slice: "4x4x4"."""
    return "x".join(map(str, self.grid.shape))

  @property
  def chips(self) -> int:
    """Of one slice."""
    return math.prod(self.grid.shape)

  @property
  def chips_per_host(self) -> int:
    return min(self.chips, _CHIPS_PER_HOST)

  @property
  def hosts(self) -> int:
    """Of one slice."""
    return self.chips // self.chips_per_host

  @property
  def devices(self) -> int:
    """Of JAX, in all slices."""
    return self.grid.device_count

  @property
  def is_default(self) -> bool:
    """Whether it is what its number of cores stands for.

    Several grids may have as many chips; of those made of cubes the number
    means the one that is most nearly a cube itself.
    """
    shape = self.grid.shape
    if len(shape) == 2 or shape in _SMALL:
      return True
    cubes = self.chips // _CHIPS_PER_HOST**3
    grids = (
      (a, b, cubes // (a * b))
      for a, b in itertools.product(range(1, cubes + 1), repeat=2)
      if cubes % (a * b) == 0
    )
    return sum(shape) == 4 * min(map(sum, grids))

  @property
  def type_name(self) -> str:
    """Of one slice, by its cores: "v5p-128"; see `is_default`."""
    cores = self.chips * self.generation.cores
    return f"{self.generation.product}-{cores}"


def parse(name: str, count: int = 1) -> Slices:
  """Reads a topology such as "v5e:16x16" or "v5p:4x4x8".

  Raises:
    ValueError: Google Cloud has no such slices.
  """
  found = re.fullmatch(r"(\w+):(\d+(?:x\d+)+)", name)
  if not found or found[1] not in GENERATIONS:
    raise ValueError(
      f"topology {name!r} is none of {sorted(GENERATIONS)} with a grid of"
      " chips, such as v5e:16x16 or v5p:4x4x4 (a v5p-128 is v5p:4x4x4: its name"
      " counts cores)"
    )
  chip, shape = CHIPS[found[1]], tuple(map(int, found[2].split("x")))
  if chip.torus_dims == 2 and shape not in _FLAT:
    known = ", ".join("x".join(map(str, s)) for s in sorted(_FLAT))
    raise ValueError(f"topology {name!r}: {chip.name} slices are {known}")
  if chip.torus_dims == 3 and not (shape in _SMALL or _is_cubes(shape)):
    raise ValueError(
      f"topology {name!r}: {chip.name} slices are 2x2x1, 2x2x2, 2x2x4,"
      " 2x4x4, or three multiples of 4 from the smallest to the largest"
    )
  slices = Slices(Topology(chip, shape, count))
  if count < 1 or (count > 1 and slices.hosts == 1):
    raise ValueError(
      f"{count} slices of {name}: there must be at least one, and several"
      " must have several hosts each, which is more than 4 chips"
    )
  return slices


def _is_cubes(shape: tuple[int, ...]) -> bool:
  return (
    len(shape) == 3
    and all(n > 0 and n % 4 == 0 for n in shape)
    and sorted(shape) == list(shape)
  )
