"""The step: same on every mesh, honest about weights, donated, for any pod."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np
import optax
import pytest

from tests import tiny
from yue_jax import config, sharding
from yue_jax.optimizer import make_optimizer
from yue_jax.train.state import init_params, init_state, resize_vocabulary
from yue_jax.train.step import make_eval_step, make_train_step
from yue_jax.vocab import Stream

LOSS = config.LossConfig(weights={"text": 0.5, "vocal": 1.0})
OPTIMIZER = config.OptimizerConfig()


def rate(_):
  return 1e-2


def train(mesh_cfg, batches, model=tiny.MODEL, loss=LOSS, optimizer=OPTIMIZER):
  """Initial weights, final state and metrics of a few steps."""
  mesh = tiny.mesh(mesh_cfg)
  tx = make_optimizer(optimizer, rate)
  with jax.set_mesh(mesh):
    state = jax.jit(lambda: init_state(init_params(model, seed=0), tx))()
    initial = jax.device_get(state.params)
    step = make_train_step(model, loss, tx)
    results = []
    for batch in batches:
      state, result = step(state, tiny.on(mesh, batch))
      results.append(jax.device_get(result))
  return initial, state, results


@pytest.fixture(scope="module")
def single():
  return train(tiny.MESHES["one"], [tiny.host_batch(seed=s) for s in range(3)])


@pytest.mark.parametrize("name", [n for n in tiny.MESHES if n != "one"])
def test_every_mesh_trains_alike(name, single):
  """Bit-equal initial weights, and equal losses, gradients and counts."""
  batches = [tiny.host_batch(seed=s) for s in range(3)]
  initial, state, results = train(tiny.MESHES[name], batches)
  jax.tree.map(np.testing.assert_array_equal, initial, single[0])
  for got, expected in zip(results, single[2], strict=True):
    np.testing.assert_allclose(got["loss"], expected["loss"], rtol=2e-6)
    np.testing.assert_allclose(
      got["grad_norm"], expected["grad_norm"], rtol=2e-5
    )
    for count in ("tokens", "inputs", "keys"):
      np.testing.assert_array_equal(got[count], expected[count])
  # The first moment is a mean of the gradients of all three steps.
  for got, expected in zip(
    *(jax.tree.leaves(s.opt_state[1].mu) for s in (state, single[1])),
    strict=True,
  ):
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=3e-6)
  assert int(state.step) == 3


def test_training_learns_a_repeated_batch():
  _, _, results = train(tiny.MESHES["one"], [tiny.host_batch()] * 10)
  assert results[-1]["loss"] < results[0]["loss"] - 0.5


def test_microbatches_of_unequal_token_counts_equal_one_batch():
  whole = tiny.host_batch(rows=8)
  whole["streams"][0, :3] = Stream.PAD  # the first rows train on nothing
  parts = {k: v.reshape(4, 2, -1) for k, v in whole.items()}
  _, one, [a] = train(tiny.MESHES["one"], [whole])
  _, four, [b] = train(tiny.MESHES["one"], [parts])
  np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-6)
  np.testing.assert_allclose(a["grad_norm"], b["grad_norm"], rtol=1e-5)
  np.testing.assert_array_equal(a["tokens"], b["tokens"])
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4),
    jax.device_get(one.params["blocks"]),
    jax.device_get(four.params["blocks"]),
  )


def test_untrained_stream_is_measured_and_leaves_no_gradient():
  batch = tiny.host_batch()
  other = dict(batch)
  backing = batch["streams"] == Stream.BACKING
  other["targets"] = np.where(backing, 7, batch["targets"])
  _, a, [ra] = train(tiny.MESHES["one"], [batch])
  _, b, [rb] = train(tiny.MESHES["one"], [other])
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.device_get(a.params),
    jax.device_get(b.params),
  )
  assert ra["nats"][Stream.BACKING] != rb["nats"][Stream.BACKING]
  assert ra["tokens"][Stream.PAD] == 0


def test_loss_is_the_weighted_mean_of_the_streams():
  _, _, [result] = train(tiny.MESHES["one"], [tiny.host_batch()])
  text, vocal = Stream.TEXT, Stream.VOCAL
  nats, tokens = result["nats"], result["tokens"]
  expected = (0.5 * nats[text] + nats[vocal]) / (
    0.5 * tokens[text] + tokens[vocal]
  )
  np.testing.assert_allclose(result["loss"], expected, rtol=1e-6)


def test_keys_are_counted_in_the_row_wherever_a_piece_begins():
  batch = tiny.host_batch()
  batch["positions"] = batch["positions"] + 5  # rests of cut documents
  _, _, [result] = train(tiny.MESHES["one"], [batch])
  seg, pos = batch["segments"], batch["positions"]
  sees = (seg[..., :, None] == seg[..., None, :]) & (seg[..., None] > 0)
  sees &= pos[..., None, :] <= pos[..., :, None]
  assert result["keys"] == sees.sum()
  assert result["inputs"] == (seg > 0).sum() < seg.size


def test_evaluation_equals_the_training_forward_pass():
  batch = tiny.host_batch(microbatches=2)
  mesh = tiny.mesh(tiny.MESHES["fsdp4"])
  with jax.set_mesh(mesh):
    params = jax.jit(lambda: init_params(tiny.MODEL, seed=0))()
    got = make_eval_step(tiny.MODEL, LOSS)(params, tiny.on(mesh, batch))
  _, _, [expected] = train(tiny.MESHES["fsdp4"], [batch])
  np.testing.assert_allclose(got["nats"], expected["nats"], rtol=1e-6)


@pytest.mark.parametrize("remat", ["dots", "qkv", "attention", "full"])
def test_rematerialisation_changes_nothing(remat, single):
  model = dataclasses.replace(tiny.MODEL, remat=remat)
  _, _, [result] = train(tiny.MESHES["one"], [tiny.host_batch(seed=0)], model)
  np.testing.assert_allclose(result["loss"], single[2][0]["loss"], rtol=1e-6)
  np.testing.assert_allclose(
    result["grad_norm"], single[2][0]["grad_norm"], rtol=1e-5
  )


@pytest.mark.parametrize("offload", [("block_input",), ("qkv", "mlp")])
def test_offloading_changes_nothing(offload, single):
  model = dataclasses.replace(tiny.MODEL, remat="full", offload=offload)
  _, _, [result] = train(tiny.MESHES["one"], [tiny.host_batch(seed=0)], model)
  np.testing.assert_allclose(result["loss"], single[2][0]["loss"], rtol=1e-6)
  np.testing.assert_allclose(
    result["grad_norm"], single[2][0]["grad_norm"], rtol=1e-5
  )


def test_z_loss_is_trained_and_not_reported(single):
  loss = dataclasses.replace(LOSS, z_loss=0.1)
  _, _, [result] = train(
    tiny.MESHES["one"], [tiny.host_batch(seed=0)], loss=loss
  )
  expected = single[2][0]
  np.testing.assert_allclose(result["loss"], expected["loss"], rtol=1e-6)
  assert result["grad_norm"] > 1.01 * expected["grad_norm"]


def test_chunks_of_the_loss_change_nothing(single):
  loss = dataclasses.replace(LOSS, chunk=3)
  _, _, [result] = train(
    tiny.MESHES["fsdp2_context2_tensor2"], [tiny.host_batch(seed=0)], loss=loss
  )
  np.testing.assert_allclose(result["loss"], single[2][0]["loss"], rtol=2e-6)
  np.testing.assert_allclose(
    result["grad_norm"], single[2][0]["grad_norm"], rtol=2e-5
  )


def test_state_is_donated():
  mesh = tiny.mesh(tiny.MESHES["one"])
  tx = make_optimizer(OPTIMIZER, rate)
  with jax.set_mesh(mesh):
    state = jax.jit(lambda: init_state(init_params(tiny.MODEL, seed=0), tx))()
    step = make_train_step(tiny.MODEL, LOSS, tx)
    compiled = step.lower(state, tiny.on(mesh, tiny.host_batch())).compile()
  size = sum(x.nbytes for x in jax.tree.leaves(state))
  assert compiled.memory_analysis().alias_size_in_bytes == size


def test_an_update_that_is_not_finite_is_not_made():
  """A batch that reads a broken row of the table changes only the step."""
  good, bad = tiny.host_batch(seed=1), tiny.host_batch(seed=2)
  good["inputs"] = np.where(good["inputs"] == 7, 8, good["inputs"])
  bad["inputs"][0, 0, 0] = 7
  mesh = tiny.mesh(tiny.MESHES["fsdp2_tensor2"])
  tx = make_optimizer(OPTIMIZER, lambda step: 1e-2 / (step + 1))
  with jax.set_mesh(mesh):

    @jax.jit
    def broken():
      params = init_params(tiny.MODEL, seed=0)
      row = jnp.arange(tiny.MODEL.vocab_size)[:, None] == 7
      params["embed"] = jnp.where(row, jnp.nan, params["embed"])
      return init_state(params, tx)

    step = make_train_step(tiny.MODEL, LOSS, tx)
    seen, skipped = [jax.device_get(broken())], []
    state = broken()
    for batch in (good, bad, good):
      state, result = step(state, tiny.on(mesh, batch))
      seen.append(jax.device_get(state))
      skipped.append(bool(result["skipped"]))
  assert skipped == [False, True, False]
  assert [int(s.step) for s in seen] == [0, 1, 2, 3]
  _, after_good, after_bad, last = seen
  jax.tree.map(
    np.testing.assert_array_equal, after_good.params, after_bad.params
  )
  adam, rate_of = after_bad.opt_state[1], after_bad.opt_state[3]
  jax.tree.map(np.testing.assert_array_equal, after_good.opt_state[1], adam)
  assert (int(adam.count), int(rate_of.count)) == (1, 2)
  assert np.any(last.params["unembed"] != after_bad.params["unembed"])


def test_layouts_survive_an_update_of_the_7b_model_on_a_pod():
  """64 x 4 chips and the full model, without allocating anything."""
  model = config.ModelConfig(
    vocab_size=83_968,
    width=4096,
    mlp_width=11_008,
    layers=32,
    heads=32,
    kv_heads=4,
    max_positions=16_384,
  )
  mesh_cfg = config.MeshConfig(fsdp=64, tensor=4)
  mesh = sharding.abstract_mesh(mesh_cfg)
  tx = make_optimizer(OPTIMIZER, rate)
  with jax.sharding.use_abstract_mesh(mesh):
    state = jax.eval_shape(lambda: init_state(init_params(model, seed=0), tx))
    layout = NamedSharding(mesh, sharding.SPECS.batch_abt)
    batch = {
      k: jax.ShapeDtypeStruct((1, 256, 8192), v.dtype, sharding=layout)
      for k, v in tiny.host_batch().items()
    }
    after, result = jax.eval_shape(
      make_train_step(model, LOSS, tx), state, batch
    )
  assert result["loss"].shape == ()
  for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
    assert a.shape == b.shape
    assert not a.shape or a.sharding.spec == b.sharding.spec
  attention = state.params["blocks"]["attention"]
  assert attention["q"].sharding.spec == P(None, "fsdp", "tensor", None)
  assert state.opt_state[1].mu["embed"].sharding.spec == P("tensor", "fsdp")


def test_optimiser_matches_plain_adamw():
  """Against optax's own AdamW where every parameter is decayed."""
  params = {"embed": np.ones((4, 2), np.float32)}
  grads = {"embed": np.full((4, 2), 0.1, np.float32)}
  ours = make_optimizer(OPTIMIZER, rate)
  theirs = optax.adamw(1e-2, b1=0.9, b2=0.95, eps=1e-8, weight_decay=0.1)
  a, _ = ours.update(grads, ours.init(params), params)
  b, _ = theirs.update(grads, theirs.init(params), params)
  np.testing.assert_allclose(a["embed"], b["embed"], rtol=1e-6)


def test_moments_may_be_kept_in_bfloat16(single):
  half = dataclasses.replace(OPTIMIZER, moment_dtype="bfloat16")
  batches = [tiny.host_batch(seed=s) for s in range(3)]
  _, state, results = train(tiny.MESHES["one"], batches, optimizer=half)
  moments = jax.tree.leaves((state.opt_state[1].mu, state.opt_state[1].nu))
  assert {x.dtype.name for x in moments} == {"bfloat16"}
  for got, expected in zip(results, single[2], strict=True):
    np.testing.assert_allclose(got["loss"], expected["loss"], rtol=2e-3)
  assert results[-1]["loss"] != single[2][-1]["loss"]


@pytest.mark.parametrize("name", ["one", "replica2_fsdp2_tensor2"])
@pytest.mark.parametrize("rows", [128, 192, 256])
def test_padding_rows_are_added_and_cut(name, rows):
  with jax.set_mesh(tiny.mesh(tiny.MESHES[name])):
    params = jax.jit(lambda: init_params(tiny.MODEL, 0))()
    resized = jax.jit(lambda p: resize_vocabulary(p, rows))(params)
  for table in ("embed", "unembed"):
    old, new = (jax.device_get(p[table]) for p in (params, resized))
    kept = min(rows, len(old))
    np.testing.assert_array_equal(new[:kept], old[:kept])
    assert new.shape == (rows, old.shape[1])
    assert (new[kept:] == old[-1]).all()
    assert resized[table].sharding.spec == params[table].sharding.spec
