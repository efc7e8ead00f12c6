"""Layouts of a step, and estimates of them."""

import dataclasses

from tests import tiny
from tests.conftest import needs_libtpu
from yue_jax import config
from yue_jax.planner import estimate, search, topology
from yue_jax.planner.plan import Layout

CFG = config.from_config_dict(
  tiny.run_dict(phases=[tiny.phase_dict(samples=32)])
)
SLICE = topology.parse("v5e:2x4")


def test_every_layout_uses_all_devices_and_deals_all_rows():
  found = list(search.layouts(CFG, SLICE, 0))
  assert len(found) > 10
  for rows, its in found:
    mesh, [phase] = its.mesh, its.phases
    assert mesh.replica * mesh.fsdp * mesh.context * mesh.tensor == 8
    assert rows * mesh.replica * mesh.fsdp * phase.microbatches == 32
    assert CFG.model.kv_heads % mesh.tensor == 0


def test_slices_are_crossed_by_replicas_alone():
  two = topology.parse("v5e:2x2", slices=2)
  assert {its.mesh.replica for _, its in search.layouts(CFG, two, 0)} == {
    2, 4, 8
  }  # fmt: skip


def test_nearest_changes_as_little_as_possible():
  def its(fsdp, remat, microbatches, needed):
    mesh = {"replica": 8 // fsdp, "fsdp": fsdp, "context": 1, "tensor": 1}
    layout = Layout(mesh=mesh, remat=remat, microbatches=microbatches)
    return estimate.Estimate(
      layout=layout, memory={"all": needed}, usable=10, seconds={"m": 1.0}
    )

  asked = its(8, "none", 4, 11)
  other_remat, more_parts = its(8, "full", 4, 9), its(8, "none", 16, 9)
  other_mesh = its(2, "none", 4, 9)
  found = [other_mesh, asked, more_parts, other_remat]
  assert search.nearest(asked.layout, found) == [
    other_remat,
    more_parts,
    other_mesh,
  ]


def test_flags_give_the_layout_back():
  [(_, its)] = [
    pair
    for pair in search.layouts(CFG, SLICE, 0)
    if pair[1].mesh == config.MeshConfig(fsdp=4, tensor=2)
    and pair[1].model.remat == "full"
    and pair[0] == 2
  ]
  assert search.flags_of(its, 0) == [
    "--config.mesh.replica=1",
    "--config.mesh.fsdp=4",
    "--config.mesh.context=1",
    "--config.mesh.tensor=2",
    "--config.model.remat=full",
    "--config.phases[0].microbatches=4",
  ]


@needs_libtpu
def test_what_full_remat_keeps_is_the_input_of_every_layer():
  its = dataclasses.replace(
    CFG,
    mesh=config.MeshConfig(fsdp=8),
    model=dataclasses.replace(CFG.model, remat="full", dtype="bfloat16"),
  )
  traced = estimate.trace(its, SLICE, 0)
  layers, rows, context, width = 2, 32 // 8, 16, 32
  assert traced.kept == layers * rows * context * width * 2
  # Of forward products all but the head and each layer's last are repeated.
  assert 0.15 < traced.recomputed < 1 / 3
  none = dataclasses.replace(
    its, model=dataclasses.replace(its.model, remat="none")
  )
  keeps_all = estimate.trace(none, SLICE, 0)
  assert keeps_all.recomputed == 0
  assert keeps_all.kept > 10 * traced.kept


@needs_libtpu
def test_what_layouts_keep_follows_from_their_rows():
  its = dataclasses.replace(
    CFG, model=dataclasses.replace(CFG.model, remat="full")
  )
  found = list(
    search.estimates(
      its, SLICE, 0, vary=("mesh", "microbatches"), cuts=[(1, 1)]
    )
  )
  assert len(found) > 6
  layers, context, width = 2, 16, 32
  for candidate, estimated in found:
    shards = candidate.mesh.replica * candidate.mesh.fsdp
    rows = 32 // candidate.phases[0].microbatches // shards
    assert estimated.memory["kept activations"] == (
      layers * rows * context * width * 4
    )


def test_rows_are_on_a_line():
  few = estimate.Traced(rows=5, kept=50, layer=20, logits=7, recomputed=0.3)
  more = estimate.Traced(rows=7, kept=62, layer=28, logits=7, recomputed=0.3)
  assert few.at(1, more) == estimate.Traced(1, 26, 4, 7, 0.3)
