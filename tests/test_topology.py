"""Slices of TPUs by name, and the wires between their devices."""

import pytest

from tests.conftest import needs_libtpu
from yue_jax import config, sharding
from yue_jax.planner import topology


def test_names_are_read():
  slices = topology.parse("v5p:4x4x8", slices=2)
  assert (slices.chips, slices.device_count) == (256, 256)
  assert str(slices) == "2 slices of v5p:4x4x8"
  assert topology.parse("tpu7x:2x2x1").device_count == 8  # two in a chip


@pytest.mark.parametrize(
  "name", ["v5p-128", "v5p:4x4", "v5e:2x2x1", "h100:8", "v5e:0x4", "v5e"]
)
def test_names_that_are_none_say_what_would_be_one(name):
  with pytest.raises(ValueError, match=r"such as v5e:4x8|is a grid in"):
    topology.parse(name)


@pytest.mark.parametrize(
  ("name", "wraps"),
  [
    ("v5e:16x16", (True, True)),
    ("v6e:8x16", (False, True)),
    ("v5p:4x4x8", (True, True, True)),
    ("v5p:2x4x4", (False, False, False)),
  ],
)
def test_whole_pods_and_cubes_are_rings(name, wraps):
  assert topology.parse(name).wraps == wraps


@needs_libtpu
@pytest.mark.parametrize(
  ("name", "slices", "mesh", "axes", "links", "spanned"),
  [
    # A torus of three rings, all of them for one axis.
    ("v5p:4x4x4", 1, {"fsdp": 64}, ("fsdp",), 6, 1),
    ("v5p:4x4x4", 2, {"replica": 2, "fsdp": 64}, ("replica",), 0, 2),
    ("v5p:4x4x4", 2, {"replica": 2, "fsdp": 64}, ("replica", "fsdp"), 6, 2),
    # A grid without rings: one link in each of two dimensions.
    ("v6e:4x8", 1, {"fsdp": 32}, ("fsdp",), 2, 1),
    # The tensor axis is a quarter of a ring, hence a line.
    ("v5e:16x16", 1, {"fsdp": 64, "tensor": 4}, ("tensor",), 1, 1),
  ],
)
def test_an_axis_has_the_links_of_the_dimensions_it_lies_along(
  name, slices, mesh, axes, links, spanned
):
  its = topology.parse(name, slices)
  made = sharding.make_mesh(config.MeshConfig(**mesh), topology.devices(its))
  wires = topology.wires(its, made, axes)
  assert (wires.links, wires.slices) == (links, spanned)


@needs_libtpu
def test_a_slice_that_cannot_be_is_an_error():
  with pytest.raises(ValueError, match="libtpu refuses v5e:3x3"):
    topology.devices(topology.parse("v5e:3x3"))


def test_without_the_compiler_it_says_what_to_install(monkeypatch):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  with pytest.raises(ValueError, match="pip install libtpu"):
    topology.devices(topology.parse("v5e:4x4"))
