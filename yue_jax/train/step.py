"""One optimiser step and one evaluation step, as pure functions.

A batch is a dictionary of (A, B, T) arrays (microbatch, row, token), with the
stream of every target: the trainer knows weights by stream and nothing else
about what the tokens mean.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, reshard
from jax.sharding import PartitionSpec as P
from jaxtyping import Array
import numpy as np
import optax

from yue_jax import lora
from yue_jax.config import LossConfig, ModelConfig, RunConfig
from yue_jax.losses import cross_entropy, sums_by_stream
from yue_jax.optimizer import optimizer_of
from yue_jax.sharding import SPECS
from yue_jax.train.skipping import keep_unless
from yue_jax.train.state import TrainState, abstract_state, decoder_graph

Batch = dict[str, Array]
FIELDS = {
  "inputs": jnp.int32,
  "targets": jnp.int32,
  "streams": jnp.uint8,  # of the targets
  "segments": jnp.int32,
  "positions": jnp.int32,
}
Metrics = dict[str, Any]


def make_train_step(
  cfg: ModelConfig, loss: LossConfig, tx: optax.GradientTransformation
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
  """Returns the jitted step; it donates the state.

  It differentiates by `state.params`; those that are frozen stay as they are.

  Gradients are those of sum(weight * nats) / sum(weight) over all tokens of
  all microbatches, however unevenly they are filled; with a z-loss, of the
  nats and what it adds to them. An update whose loss or gradient is not
  finite is not made, see `train.skipping`.
  """
  table = np.array(loss.table, np.float32)
  forward = _make_forward(cfg, loss)

  @functools.partial(jax.jit, donate_argnames="state")
  def train_step(state, batch):
    def nats(params, microbatch):
      return forward(lora.join(state.frozen, params), microbatch)

    gradients = functools.partial(
      jax.value_and_grad(nats, has_aux=True), state.params
    )
    (_, (sums, counts)), grads = _summed(gradients, batch)
    weight = jnp.sum(table * counts)
    grads = jax.tree.map(lambda g: g / weight, grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    metrics = {
      "nats": sums,
      "tokens": counts,
      "weight": weight,
      "loss": jnp.sum(table * sums) / weight,
      "grad_norm": optax.tree.norm(grads),
      **_attended(batch),
    }
    finite = jnp.isfinite(metrics["loss"] + metrics["grad_norm"])
    params, opt_state = keep_unless(
      finite,
      (optax.apply_updates(state.params, updates), opt_state),
      (state.params, state.opt_state),
    )
    metrics["skipped"] = ~finite
    return dataclasses.replace(
      state, step=state.step + 1, params=params, opt_state=opt_state
    ), metrics

  return train_step


def lower_train_step(
  cfg: RunConfig, mesh: Mesh, *, phase: int = 0
) -> jax.stages.Lowered:
  """The step of a run, lowered for a mesh whose devices need not exist here.

  Phases differ in the shape of their batches, hence in their steps.

  `lower_train_step(cfg, mesh).compile()` then runs the compiler of the mesh's
  platform: this is the very step that `loop.Run` executes.
  """
  tx = optimizer_of(cfg)
  its = cfg.phases[phase]
  rows = its.samples // its.microbatches
  shape = (its.microbatches, rows, its.context)
  layout = NamedSharding(mesh, SPECS.batch_abt)
  batch = {
    name: jax.ShapeDtypeStruct(shape, dtype, sharding=layout)
    for name, dtype in FIELDS.items()
  }
  state = abstract_state(cfg, tx, mesh)
  with jax.set_mesh(mesh):
    return make_train_step(cfg.model, cfg.loss, tx).lower(state, batch)


def make_eval_step(
  cfg: ModelConfig, loss: LossConfig
) -> Callable[[dict, Batch], Metrics]:
  """Returns the jitted sums of nats and tokens by stream of one batch.

  Its parameters are those of the decoder, `TrainState.weights`.
  """
  forward = _make_forward(cfg, loss)

  @jax.jit
  def eval_step(params, batch):
    _, (nats, tokens) = _summed(functools.partial(forward, params), batch)
    return {"nats": nats, "tokens": tokens}

  return eval_step


def _summed(of_microbatch: Callable, batch: Batch):
  """Sum of what `of_microbatch` gives for every microbatch, one at a time."""
  first = jax.tree.map(lambda x: x[0], batch)
  if len(batch["inputs"]) == 1:  # sums would only take memory
    return of_microbatch(first)

  def add(total, microbatch):
    return jax.tree.map(jnp.add, total, of_microbatch(microbatch)), None

  zeros = jax.tree.map(_zeros, jax.eval_shape(of_microbatch, first))
  return jax.lax.scan(add, zeros, batch)[0]


def _zeros(like: jax.ShapeDtypeStruct) -> Array:
  return jnp.zeros(like.shape, like.dtype, out_sharding=like.sharding)


def _attended(batch: Batch) -> Metrics:
  """Tokens that are no padding, and the keys they attend to in all.

  A piece of n tokens attends to n (n + 1) / 2 keys, wherever in its document
  it begins: positions would count what lies in other rows.
  """
  segments = batch["segments"]
  # A row's tokens may lie on several devices; their segments are few bytes.
  segments = reshard(segments, P(*SPECS.batch_abt[:2], None))

  def pieces(row):
    return jnp.zeros(row.shape[0] + 1, jnp.float32).at[row].add(1.0)[1:]

  sizes = jax.vmap(jax.vmap(pieces))(segments)
  return {"inputs": jnp.sum(sizes), "keys": jnp.sum(sizes * (sizes + 1) / 2)}


def _make_forward(cfg: ModelConfig, loss: LossConfig):
  """Objective of a microbatch, with its nats and tokens by stream."""
  graph = decoder_graph(cfg)
  table = np.array(loss.table, np.float32)

  def forward(params, batch):
    decoder = nnx.merge(graph, params)
    hidden = decoder.hidden(
      batch["inputs"], batch["segments"], batch["positions"]
    )
    streams = batch["streams"]
    weights = jnp.asarray(table).at[streams].get(out_sharding=SPECS.row_bt)
    nats = cross_entropy(
      hidden,
      decoder.unembed[...],
      batch["targets"],
      weights,
      loss.z_loss,
      loss.chunk,
    )
    return nats.objective, sums_by_stream(nats.by_token, streams)

  return forward
