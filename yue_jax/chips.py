"""Public figures of accelerators: the one table of peaks and bandwidths.

Sources, read in 2026:
  [v4]    https://docs.cloud.google.com/tpu/docs/v4
  [v5e]   https://docs.cloud.google.com/tpu/docs/v5e
  [v5p]   https://docs.cloud.google.com/tpu/docs/v5p
  [v6e]   https://docs.cloud.google.com/tpu/docs/v6e
  [tpu7x] https://docs.cloud.google.com/tpu/docs/tpu7x
  [book]  https://jax-ml.github.io/scaling-book/tpus: links and DCN of v4, and
          PCIe to the host; that of tpu7x is assumed to be v6e's
  [price] https://cloud.google.com/tpu/pricing, on demand, US regions, 2025: an
          assumption to be replaced by what you pay
Bandwidths of links are the documented figure of a chip, which counts both
directions of all its links, divided by two and by the number of links.
`usable_hbm_gib` is what the compiler leaves to a program when it refuses one
("exceeds available HBM"), libtpu 0.0.42.1.
"""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
  """One generation of TPU. All rates are of a whole chip, per second.

  Attributes:
    name: as topologies are written, "v5p:4x4x4".
    device_kind: as JAX names its devices.
    flops: dense bfloat16.
    hbm_bytes: read and written.
    hbm_gib: capacity, stated.
    usable_hbm_gib: of one device, left to a program.
    link_bytes: of one link to a neighbour, in one direction.
    torus_dims: dimensions in which it has two neighbours each.
    dcn_bytes: to other slices, in one direction.
    host_bytes: to the memory of its host, in one direction.
    chips_per_host: whose host memory and network they share.
    dollars_per_hour: list price; None where none is public.
    devices: of JAX in one chip.
    chip_config: how libtpu names the chip's cores taken as one device.
  """

  name: str
  device_kind: str
  flops: float
  hbm_bytes: float
  hbm_gib: float
  usable_hbm_gib: float
  link_bytes: float
  torus_dims: int
  dcn_bytes: float
  host_bytes: float
  chips_per_host: int
  dollars_per_hour: float | None
  devices: int = 1
  chip_config: str = "default"


CHIPS = {
  chip.name: chip
  for chip in (
    Chip(  # [v4]; links and DCN (2.5e10 a host): [book]
      name="v4",
      device_kind="TPU v4",
      flops=275e12,
      hbm_bytes=1200e9,
      hbm_gib=32,
      usable_hbm_gib=30.75,
      link_bytes=45e9,
      torus_dims=3,
      dcn_bytes=6.25e9,
      host_bytes=15e9,
      chips_per_host=4,
      dollars_per_hour=3.22,  # [price]
      chip_config="megacore",
    ),
    Chip(  # [v5e]: ICI 400 GB/s over 4 ports, 2 x 100 Gb/s a host; HBM 819 GB/s
      name="v5e",
      device_kind="TPU v5 lite",
      flops=197e12,
      hbm_bytes=819e9,
      hbm_gib=16,
      usable_hbm_gib=15.75,
      link_bytes=50e9,
      torus_dims=2,
      dcn_bytes=3.125e9,
      host_bytes=15e9,
      chips_per_host=8,
      dollars_per_hour=1.20,  # [price]
    ),
    Chip(  # [v5p]: ICI 1,200 GB/s over 6 ports, DCN 50 Gb/s
      name="v5p",
      device_kind="TPU v5",
      flops=459e12,
      hbm_bytes=2765e9,
      hbm_gib=95,
      usable_hbm_gib=95.74,
      link_bytes=100e9,
      torus_dims=3,
      dcn_bytes=6.25e9,
      host_bytes=15e9,
      chips_per_host=4,
      dollars_per_hour=4.20,  # [price]
      chip_config="megacore",
    ),
    Chip(  # [v6e]: ICI 800 GB/s over 4 ports; DCN 100 Gb/s: [tpu7x]
      name="v6e",
      device_kind="TPU v6 lite",
      flops=918e12,
      hbm_bytes=1638e9,
      hbm_gib=32,
      usable_hbm_gib=31.25,
      link_bytes=100e9,
      torus_dims=2,
      dcn_bytes=12.5e9,
      host_bytes=32e9,
      chips_per_host=8,
      dollars_per_hour=2.70,  # [price]
    ),
    Chip(  # [tpu7x]: ICI 1,200 GB/s over 6 ports, DCN 100 Gb/s
      name="tpu7x",
      device_kind="TPU7x",
      flops=2307e12,
      hbm_bytes=7380e9,
      hbm_gib=192,
      usable_hbm_gib=94.75,
      link_bytes=100e9,
      torus_dims=3,
      dcn_bytes=12.5e9,
      host_bytes=32e9,
      chips_per_host=4,
      dollars_per_hour=None,
      devices=2,
    ),
  )
}

# Vendor data sheets, dense bfloat16.
_GPU_FLOPS = {
  "NVIDIA A100-SXM4-80GB": 312e12,
  "NVIDIA H100 80GB HBM3": 989e12,
}


def peak_flops(device_kind: str) -> float | None:
  """Dense bfloat16 FLOP/s of one device as JAX names it; None if not known."""
  for chip in CHIPS.values():
    if chip.device_kind == device_kind:
      return chip.flops / chip.devices
  return _GPU_FLOPS.get(device_kind)
