"""Times at peak rates, by hand."""

import pytest

from yue_jax.chips import CHIPS
from yue_jax.planner.roofline import Roofline, transfer
from yue_jax.planner.topology import Wires

V5P = CHIPS["v5p"]  # 100e9 bytes/s a link, 6.25e9 to other slices


def test_links_share_what_a_device_receives():
  inside, across = transfer(63e9, 64, Wires(6, 1), V5P)
  assert inside == pytest.approx(63e9 / 600e9)
  assert across == 0.0


def test_between_slices_only_a_share_crosses_the_network():
  """4 GB are reduced over 2 slices of 4: each device sends its quarter."""
  inside, across = transfer(2 * 4e9 * 7 / 8, 8, Wires(2, 2), V5P)
  assert across == pytest.approx(2 * (4e9 / 4) / 2 / 6.25e9)
  assert inside == pytest.approx(2 * 4e9 * 3 / 4 / 200e9)


def test_devices_of_one_chip_need_no_links():
  assert transfer(1e9, 2, Wires(0, 1), V5P) == (0.0, 0.0)


def test_a_permute_between_slices_crosses_whole():
  assert transfer(1e9, 2, Wires(0, 4), V5P) == (0.0, 1e9 / 6.25e9)


def test_a_step_is_bound_by_its_slowest_resource():
  times = Roofline(2.0, 1.0, {"fsdp": 2.5, "tensor": 0.5}, {"replica": 0.25})
  assert times.bound_by == "ICI fsdp"
  assert times.overlapped == 2.5
  assert times.serial == 6.25
