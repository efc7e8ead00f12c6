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

from yue_jax.config import ModelConfig
from yue_jax.model import Decoder
from yue_jax.sharding import SPECS, on_mesh


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  step: Int[Array, ""]  # optimiser updates taken so far
  params: dict
  opt_state: optax.OptState


def init_params(cfg: ModelConfig, seed: int) -> dict:
  """Initial weights; the same bits on every mesh (partitionable threefry)."""
  decoder = Decoder(cfg, rngs=nnx.Rngs(seed))
  return nnx.to_pure_dict(nnx.state(decoder, nnx.Param))


def init_state(params: dict, tx: optax.GradientTransformation) -> TrainState:
  """Call under `jax.jit` or `jax.eval_shape`, inside a mesh."""
  return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))


def abstract_state(
  cfg: ModelConfig, tx: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
  """The state as shapes, dtypes and layouts on `mesh`; nothing is computed."""
  with jax.set_mesh(mesh):
    like = jax.eval_shape(lambda: init_state(init_params(cfg, seed=0), tx))
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
