"""The mesh, and the one table that lays every array out over it.

Axes, outermost first; an unused axis has size 1 and is never absent:

  replica   copies of the model; the only axis that crosses slices (DCN)
  fsdp      batch rows, and every weight cut once along it
  context   the tokens of a sequence, in zigzag order (see `zigzag`)
  tensor    heads, mlp columns and vocabulary rows

All axes are explicit: arrays carry their layout in their type, so a layout
that does not fit is a trace-time error with a line number, on any machine.
"""

from collections.abc import Sequence
import dataclasses
import math

import jax
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np

from yue_jax.config import MeshConfig, ModelConfig

AXES = ("replica", "fsdp", "context", "tensor")
_EXPLICIT = (AxisType.Explicit,) * len(AXES)
_ROWS = ("replica", "fsdp")


@dataclasses.dataclass(frozen=True)
class Specs:
  """How each array is laid out; the suffix spells its axes (see `model`).

  A leading layer axis (stacked blocks) is never sharded and not spelled.
  """

  embed_vd: P = P("tensor", "fsdp")
  q_dnh: P = P("fsdp", "tensor", None)
  kv_dkh: P = P("fsdp", "tensor", None)
  out_nhd: P = P("tensor", None, "fsdp")
  up_df: P = P("fsdp", "tensor")
  down_fd: P = P("tensor", "fsdp")
  scale_d: P = P(None)
  # Factors of adapters, cut as their weights are; the rank R never is.
  lora_dr: P = P("fsdp", None)
  lora_rd: P = P(None, "fsdp")
  lora_rnh: P = P(None, "tensor", None)
  lora_nhr: P = P("tensor", None, None)
  lora_rkh: P = P(None, "tensor", None)
  lora_rf: P = P(None, "tensor")
  lora_fr: P = P("tensor", None)
  act_btd: P = P(_ROWS, "context", None)
  act_btr: P = P(_ROWS, "context", None)
  heads_btnh: P = P(_ROWS, "context", "tensor", None)
  heads_btkgh: P = P(_ROWS, "context", "tensor", None, None)
  keys_bskh: P = P(_ROWS, None, "tensor", None)
  keys_bs: P = P(_ROWS, None)
  logits_btv: P = P(_ROWS, "context", "tensor")
  cache_bkhs: P = P(_ROWS, "tensor", None, None)
  mask_bts: P = P(_ROWS, "context", None)
  row_bt: P = P(_ROWS, "context")
  batch_abt: P = P(None, _ROWS, "context")

  def __post_init__(self):
    for field in dataclasses.fields(self):
      spec = getattr(self, field.name)
      parts = [p if isinstance(p, tuple) else (p,) for p in spec if p]
      used = sum(parts, ())
      if len(set(used)) < len(used) or not set(used) <= set(AXES):
        raise ValueError(
          f"{field.name}={spec}: each mesh axis may be used once, and only"
          f" {AXES} exist"
        )
      letters = field.name.rsplit("_", 1)[1]
      if len(letters) != len(spec):
        raise ValueError(
          f"{field.name}={spec} names {len(letters)} axes but lays out"
          f" {len(spec)}"
        )


SPECS = Specs()


def zigzag(tokens: int, shards: int) -> np.ndarray:
  """Which token of a row lies at each place, (tokens,) int.

  A causal query has more keys the later it is. Every shard of the context
  axis therefore gets one piece from the front and one from the back, so that
  all have as much to do:

    8 tokens over 2 shards -> 0 1 6 7 | 2 3 4 5
  """
  if shards == 1:
    return np.arange(tokens)
  if tokens % (2 * shards):
    raise ValueError(
      f"{tokens} tokens cannot be cut into two equal pieces for each of the"
      f" {shards} shards of the context axis; change context or mesh.context"
    )
  pieces = np.arange(tokens).reshape(2 * shards, -1)
  front, back = pieces[:shards], pieces[: shards - 1 : -1]
  return np.concatenate([front, back], axis=1).reshape(-1)


def axis_size(name: str) -> int:
  """Size of an axis of the mesh that is in use."""
  return jax.sharding.get_abstract_mesh().shape[name]


def make_mesh(
  cfg: MeshConfig, devices: Sequence[jax.Device] | None = None
) -> Mesh:
  """Builds the mesh over `devices` (default: all of them).

  On several slices `replica` must be a multiple of their number, so that only
  that axis crosses the slow network.
  """
  devices = list(jax.devices() if devices is None else devices)
  shape = cfg.shape
  slices = len({getattr(d, "slice_index", 0) for d in devices})
  check_devices(cfg, len(devices), slices)
  if slices == 1:
    # CPU devices have no topology to respect: their order is the mesh.
    if devices[0].platform == "cpu":
      grid = np.array(devices).reshape(shape)
    else:
      grid = mesh_utils.create_device_mesh(
        shape, devices, allow_split_physical_axes=True
      )
  else:
    grid = mesh_utils.create_hybrid_device_mesh(
      (shape[0] // slices, *shape[1:]),
      (slices, 1, 1, 1),
      devices,
      allow_split_physical_axes=True,
    )
  return Mesh(grid, AXES, axis_types=_EXPLICIT)


def abstract_mesh(cfg: MeshConfig) -> AbstractMesh:
  """The mesh without devices, for tracing what no machine here could run."""
  return AbstractMesh(cfg.shape, AXES, axis_types=_EXPLICIT)


def check_devices(cfg: MeshConfig, devices: int, slices: int) -> None:
  """Refuses a mesh that so many devices, in so many slices, cannot make."""
  if math.prod(cfg.shape) != devices:
    raise ValueError(
      f"mesh {cfg.describe()} needs {math.prod(cfg.shape)} devices, but there"
      f" are {devices}; change mesh.* in the config"
    )
  if cfg.replica % slices:
    raise ValueError(
      f"mesh.replica={cfg.replica} is not a multiple of the {slices} slices;"
      " only the replica axis may cross slices"
    )


def check_divisible(model: ModelConfig, mesh: MeshConfig) -> None:
  """Refuses a model whose sizes the mesh cannot cut evenly."""
  cuts = {
    "model.width": (model.width, "fsdp", mesh.fsdp),
    "model.heads": (model.heads, "tensor", mesh.tensor),
    "model.kv_heads": (model.kv_heads, "tensor", mesh.tensor),
    "model.mlp_width": (model.mlp_width, "tensor", mesh.tensor),
    "model.vocab_size": (model.vocab_size, "tensor", mesh.tensor),
  }
  for name, (size, axis, parts) in cuts.items():
    if size % parts:
      raise ValueError(
        f"{name}={size} is not divisible by mesh.{axis}={parts}; change one"
      )


def on_mesh(mesh: Mesh, tree):
  """Abstract arrays whose layouts refer to the concrete `mesh`.

  Under `jax.eval_shape` layouts carry an abstract mesh, to which nothing can
  be restored or moved, and scalars carry none.
  """

  def place(x):
    spec = P() if x.sharding is None else x.sharding.spec
    return jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=NamedSharding(mesh, spec)
    )

  return jax.tree.map(place, tree)


def device_bytes(tree) -> int:
  """Bytes of arrays, or of abstract ones with layouts, on one device."""
  return sum(
    math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in jax.tree.leaves(tree)
  )
