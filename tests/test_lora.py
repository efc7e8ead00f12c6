"""Adapters: they alone are trained, and they mean the same everywhere."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from yue_jax import accounting, config, lora
from yue_jax.model import Decoder
from yue_jax.optimizer import make_optimizer
from yue_jax.planner import flops, hlo, memory
from yue_jax.train.state import begin, decoder_of, init_params
from yue_jax.train.step import (
  lower_train_step,
  make_eval_step,
  make_train_step,
)
from yue_jax.vocab import Stream

LORA = config.LoraConfig(rank=3, alpha=6.0, targets=config.LORA_TARGETS)
MODEL = dataclasses.replace(tiny.MODEL, init_std=0.1)
ONE = tiny.MESHES["one"]
SEEDS = (0, 1, 0)  # of the batches: the last is the first again


def run_config(**changes) -> config.RunConfig:
  cfg = config.from_config_dict(tiny.run_dict())
  changes = {"model": MODEL, "lora": LORA, "initial_weights": "x"} | changes
  return dataclasses.replace(cfg, **changes)


def train(name: str, cfg: config.RunConfig):
  """State before and after a few steps, and what they returned."""
  mesh = tiny.mesh(tiny.MESHES[name])
  tx = make_optimizer(cfg.optimizer, lambda _: 1e-2)
  with jax.set_mesh(mesh):
    weights = jax.jit(lambda: init_params(cfg.model, 0))()
    state = jax.jit(lambda p: begin(cfg, p, tx))(weights)
    before = jax.tree.map(jnp.copy, state)
    step = make_train_step(cfg.model, cfg.loss, tx)
    results = []
    for seed in SEEDS:
      state, result = step(state, tiny.on(mesh, tiny.host_batch(seed=seed)))
      results.append(jax.device_get(result))
  return before, state, results


@pytest.fixture(scope="module")
def single():
  return train("one", run_config())


def assert_same(a, b) -> None:
  jax.tree.map(
    np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b)
  )


@pytest.mark.parametrize("name", ["fsdp2_context4", "replica2_fsdp2_tensor2"])
def test_every_mesh_trains_alike(name, single):
  before, after, results = train(name, run_config())
  assert_same(before, single[0])
  for got, expected in zip(results, single[2], strict=True):
    np.testing.assert_allclose(got["loss"], expected["loss"], rtol=2e-6)
    np.testing.assert_allclose(
      got["grad_norm"], expected["grad_norm"], rtol=2e-5
    )
  for got, expected in zip(
    *(jax.tree.leaves(s.opt_state[1].mu) for s in (after, single[1])),
    strict=True,
  ):
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=3e-6)


def test_adapters_alone_are_trained(single):
  before, after, results = single
  assert_same(before.frozen, after.frozen)
  assert results[-1]["loss"] < results[0]["loss"]
  moved = jax.tree.map(lambda a, b: np.any(a != b), before.params, after.params)
  assert all(jax.tree.leaves(moved))
  shapes = jax.tree.map(jnp.shape, after.params)
  for moments in (after.opt_state[1].mu, after.opt_state[1].nu):
    assert jax.tree.map(jnp.shape, moments) == shapes
  numbers = sum(x.size for x in jax.tree.leaves(after.params))
  # D = N H = 32, K H = 16 and F = 64: q, k and v, out, gate and up, down.
  assert numbers == MODEL.layers * LORA.rank * (64 + 2 * 48 + 64 + 2 * 96 + 96)


def test_new_adapters_change_nothing(single):
  """The nats of the first step are those of the weights alone, bit for bit."""
  mesh = tiny.mesh(ONE)
  with jax.set_mesh(mesh):
    evaluate = make_eval_step(MODEL, run_config().loss)
    alone = evaluate(single[0].frozen, tiny.on(mesh, tiny.host_batch(seed=0)))
  np.testing.assert_array_equal(alone["nats"], single[2][0]["nats"])


@pytest.fixture(scope="module")
def trained(single):
  """Frozen weights and adapters of the trained run."""
  return single[1].frozen, single[1].params


@jax.jit
def logits_of(params, tokens):
  decoder = decoder_of(params, MODEL)
  positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
  return Decoder.__call__(decoder, tokens, jnp.ones_like(tokens), positions)


def logits(params, tokens) -> np.ndarray:
  with jax.set_mesh(tiny.mesh(ONE)):
    return np.asarray(logits_of(params, jnp.asarray(tokens, jnp.int32)))


def random_ids(*shape: int) -> np.ndarray:
  return np.random.default_rng(3).integers(0, MODEL.vocab_size, shape)


def test_merged_weights_give_the_logits_of_the_adapted(trained):
  frozen, adapters = trained
  ids = random_ids(2, 16)
  adapted = logits(lora.join(frozen, adapters), ids)
  with jax.set_mesh(tiny.mesh(ONE)):
    merged = jax.jit(lambda f, a: lora.merge(lora.join(f, a)))(frozen, adapters)
  assert jax.tree.structure(merged) == jax.tree.structure(frozen)
  scale = np.abs(adapted).max()
  np.testing.assert_allclose(logits(merged, ids), adapted, atol=1e-5 * scale)
  assert np.abs(logits(frozen, ids) - adapted).max() > 0.01 * scale


def test_merging_adds_the_scaled_product(trained):
  frozen, adapters = trained
  with jax.set_mesh(tiny.mesh(ONE)):
    merged = lora.merge(lora.join(frozen, adapters))
  adapter = adapters["blocks"]["attention"]["out"]
  weights = [tree["blocks"]["attention"]["out"] for tree in (merged, frozen)]
  np.testing.assert_allclose(
    weights[0] - weights[1],
    6.0 / 3 * np.einsum("LNHR,LRD->LNHD", adapter.a, adapter.b),
    atol=1e-6,
  )


def test_split_undoes_join(trained):
  frozen, adapters = trained
  got = lora.split(lora.join(frozen, adapters))
  assert jax.tree.structure(got) == jax.tree.structure((frozen, adapters))
  assert_same(got, (frozen, adapters))
  assert lora.split(frozen) == ({}, frozen)


def test_no_logit_sees_a_later_token(trained):
  params, ids = lora.join(*trained), random_ids(1, 16)
  before = logits(params, ids)
  changed = ids.copy()
  changed[0, 9] = (ids[0, 9] + 1) % MODEL.vocab_size
  after = logits(params, changed)
  np.testing.assert_array_equal(after[0, :9], before[0, :9])
  assert np.all(np.any(after[0, 9:] != before[0, 9:], axis=-1))


def test_the_target_of_a_logit_is_the_next_token(trained):
  """Shifted once: the loss is that of token t + 1 by the logits after t."""
  params, document = lora.join(*trained), random_ids(8, 17)
  shape = (1, 8, 16)
  batch = {
    "inputs": document[:, :-1].reshape(shape).astype(np.int32),
    "targets": document[:, 1:].reshape(shape).astype(np.int32),
    "streams": np.full(shape, Stream.VOCAL, np.uint8),
    "segments": np.ones(shape, np.int32),
    "positions": np.broadcast_to(np.arange(16, dtype=np.int32), shape),
  }
  mesh = tiny.mesh(ONE)
  with jax.set_mesh(mesh):
    evaluate = make_eval_step(MODEL, run_config().loss)
    nats = evaluate(params, tiny.on(mesh, batch))["nats"][Stream.VOCAL]
  after = logits(params, document[:, :-1]).astype(np.float64)
  log_p = after - np.log(np.exp(after).sum(axis=-1, keepdims=True))
  expected = -np.take_along_axis(log_p, document[:, 1:, None], axis=-1).sum()
  np.testing.assert_allclose(nats, expected, rtol=1e-5)


def test_frozen_weights_lose_nothing_in_the_dtype_of_activations():
  """bfloat16 activations: a float32 copy of the weights gives equal bits."""
  model = dataclasses.replace(MODEL, dtype="bfloat16", remat="full")
  cfg, mesh = run_config(model=model), tiny.mesh(ONE)
  tx = make_optimizer(cfg.optimizer, lambda _: 1e-2)
  with jax.set_mesh(mesh):
    weights = jax.jit(lambda: init_params(model, 0))()
    state = jax.jit(lambda p: begin(cfg, p, tx))(weights)
    evaluate = make_eval_step(model, cfg.loss)
    batch = tiny.on(mesh, tiny.host_batch())
    exact = evaluate(lora.join(weights, state.params), batch)
    assert_same(evaluate(state.weights, batch), exact)
  assert {x.dtype.name for x in jax.tree.leaves(state.frozen)} == {"bfloat16"}
  assert {x.dtype.name for x in jax.tree.leaves(state.params)} == {"float32"}


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"rank": 0}, "rank=0 must be positive"),
    ({"targets": ("q", "o_proj")}, "expected at least one of .*'out'"),
    ({"targets": ()}, "expected at least one of"),
    ({"targets": ("q", "q")}, "names one twice"),
  ],
)
def test_what_cannot_be_adapted_is_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    config.LoraConfig(**{"rank": 4, "alpha": 8.0} | changes)


def test_adapters_need_weights():
  with pytest.raises(ValueError, match="lora adapts given weights, but init"):
    run_config(initial_weights="")


def test_a_step_computes_no_gradient_of_frozen_weights():
  """Nor of the head: the FLOPs are those that `accounting` says."""
  cfg = run_config()
  lowered = lower_train_step(cfg, tiny.mesh(ONE))
  counted = flops.count(hlo.parse(lowered.as_text("hlo")))
  its = cfg.phases[0]
  model = its.tokens_per_step * accounting.train_flops_per_token_full(
    cfg.model, its.context, cfg.lora
  )
  # The only other products are the sums of losses by stream.
  assert model <= counted.total < 1.001 * model
  assert model < its.tokens_per_step * accounting.train_flops_per_token_full(
    cfg.model, its.context
  )


def test_the_planner_knows_what_is_trained():
  mesh = config.MeshConfig(fsdp=4)
  cfg = run_config(mesh=mesh)
  its = memory.state_of(cfg, tiny.mesh(mesh), 0)
  all_trained = dataclasses.replace(cfg, lora=None)
  frozen = memory.state_of(all_trained, tiny.mesh(mesh), 0).parameters
  # Axes of size D are cut over fsdp: not B of q, k, v, gate and up, whose
  # outputs are 32, 16, 16, 64 and 64, nor A of out and down: 32 and 64.
  cut, whole = 7 * MODEL.width // 4, 32 + 16 + 16 + 64 + 64 + 32 + 64
  assert its.trained == 4 * MODEL.layers * LORA.rank * (cut + whole)
  assert its.parameters == frozen + its.trained
  assert its.optimizer == 2 * its.trained + 2 * 4  # and two counters
