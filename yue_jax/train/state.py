"""What a training run carries from step to step."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int
import numpy as np
import optax

from yue_jax import lora, mup
from yue_jax.config import ModelConfig, RunConfig
from yue_jax.model import Decoder
from yue_jax.sharding import SPECS, on_mesh


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Of a run; `frozen` is empty unless `params` are adapters (see `lora`)."""

  step: Int[Array, ""]  # optimiser updates taken so far
  params: dict  # those that are trained
  opt_state: optax.OptState
  frozen: dict = dataclasses.field(default_factory=dict)

  @property
  def weights(self) -> dict:
    """All parameters, as the decoder takes them."""
    return lora.join(self.frozen, self.params)


def init_params(cfg: ModelConfig, seed: int) -> dict:
  """Initial weights; the same bits on every mesh (partitionable threefry)."""
  decoder = Decoder(cfg, rngs=nnx.Rngs(seed))
  return nnx.to_pure_dict(nnx.state(decoder, nnx.Param))


def initial_weights(cfg: RunConfig) -> dict:
  """Random weights that a run starts from."""
  params = init_params(cfg.model, cfg.seed)
  if cfg.mup is None:
    return params
  return mup.scale_weights(params, cfg.model, cfg.mup)


def init_state(
  params: dict, tx: optax.GradientTransformation, frozen: dict | None = None
) -> TrainState:
  """Call under `jax.jit` or `jax.eval_shape`, inside a mesh."""
  step = jnp.zeros((), jnp.int32)
  return TrainState(step, params, tx.init(params), frozen or {})


def begin(
  cfg: RunConfig, weights: dict, tx: optax.GradientTransformation
) -> TrainState:
  """The state before the first step of a run, from its initial weights."""
  if cfg.lora is None:
    return init_state(weights, tx)
  adapters = lora.init_adapters(weights, cfg.lora, cfg.seed)
  return init_state(adapters, tx, freeze(weights, cfg.model))


def freeze(weights: dict, cfg: ModelConfig) -> dict:
  """The weights in the activations' dtype, as the products see them anyway."""
  return jax.tree.map(lambda weight: weight.astype(cfg.dtype), weights)


def abstract_state(
  cfg: RunConfig, tx: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
  """The state as shapes, dtypes and layouts on `mesh`; nothing is computed."""
  with jax.set_mesh(mesh):
    like = jax.eval_shape(lambda: begin(cfg, init_params(cfg.model, 0), tx))
  return on_mesh(mesh, like)


def resize_vocabulary(params: dict, rows: int) -> dict:
  """Gives both embedding tables so many rows; call under `jax.jit`.

  Tables are padded for the mesh that trained them. Rows are added or cut at
  the end, where no token is; new ones copy the last, so that padding stays as
  unlikely as padding was.
  """

  def resize(table: Float[Array, "V D"]) -> Float[Array, "rows D"]:
    kept = np.minimum(np.arange(rows), table.shape[0] - 1)
    whole = jax.sharding.reshard(table, P(None, "fsdp"))
    resized = whole.at[kept].get(out_sharding=P(None, "fsdp"))
    return jax.sharding.reshard(resized, SPECS.embed_vd)

  return params | {n: resize(params[n]) for n in ("embed", "unembed")}


def decoder_graph(cfg: ModelConfig) -> nnx.GraphDef:
  """The static half of a Decoder; `nnx.merge` joins it with parameters."""
  return nnx.graphdef(jax.eval_shape(lambda: Decoder(cfg, rngs=nnx.Rngs(0))))


def decoder_of(params: dict, cfg: ModelConfig) -> Decoder:
  """The model with its weights."""
  return nnx.merge(decoder_graph(cfg), params)
