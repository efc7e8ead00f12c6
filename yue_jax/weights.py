"""Weights of a checkpoint, without the state of a run: to use, to exchange.

load_weights   onto a mesh; of a run with adapters (see `lora`) the frozen
               weights with the adapters merged into them
open_weights   left on the disk, to be read box by box
load_adapters  what such a run has trained, alone
save_weights   a checkpoint that a run can be started from
"""

from collections.abc import Mapping
import dataclasses
import pathlib
import tempfile
from typing import Any

from etils import epath
from flax import traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp

from yue_jax import lora
from yue_jax.checkpoint import (
  DataDescription,
  check_base,
  description,
  find_base,
  find_checkpoint,
  open_manager,
  read_description,
)
from yue_jax.checkpoint_arrays import (
  array_handler,
  fingerprint,
  restore_args,
  save_args,
)
from yue_jax.checkpoint_chunks import (
  ArrayWriter,
  open_arrays,
  staging_handler,
  whole,
)
from yue_jax.checkpoint_files import find_damage, write_list
from yue_jax.config import LoraConfig, MeshConfig, ModelConfig
from yue_jax.config_tables import read
from yue_jax.sharding import check_divisible, on_mesh
from yue_jax.train.state import init_params, resize_vocabulary
from yue_jax.vocab import Vocab


@dataclasses.dataclass(frozen=True)
class Weights:
  """Parameters with what is needed to use them.

  Attributes:
    params: arrays, or what stands for arrays on disk (`checkpoint_chunks`).
    data: what they were trained on; None where that is not known.
    kinds: of the documents they were trained on; () where that is not known.
  """

  model: ModelConfig
  vocab: Vocab
  step: int
  params: dict
  data: DataDescription | None = None
  kinds: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Adapters:
  """Adapters with what is needed to use them.

  Attributes:
    initial_weights: where the weights lay that they were trained on.
    base: fingerprint of those.
  """

  model: ModelConfig
  vocab: Vocab
  step: int
  lora: LoraConfig
  params: dict
  initial_weights: str
  base: str


def load_weights(
  path: epath.PathLike,
  mesh: jax.sharding.Mesh,
  *,
  base: epath.PathLike | None = None,
  dtype: str | None = "float32",
) -> Weights:
  """Reads the weights of a checkpoint onto `mesh`, adapters merged.

  Args:
    path: a run directory (its newest checkpoint is taken) or one checkpoint.
    mesh: where the weights go, laid out by `sharding.SPECS`.
    base: where the weights lie that adapters belong to; None for where they
      lay in training.
    dtype: in which they are held; None for that of the model's activations,
      which is all that generation needs, and half the memory in bfloat16.

  Raises:
    FileNotFoundError: there is no finished checkpoint.
    OSError: it is damaged.
    ValueError: the mesh cannot cut the model evenly, or the adapters are of
      other weights than `base`.
  """
  step_dir = find_checkpoint(path)
  run, weights = _described(step_dir)
  dtype = dtype or weights.model.dtype
  if "base" in run:
    adapters = _read_adapters(step_dir, run, weights, mesh)
    params = _merged(adapters, mesh, base, dtype)
  else:
    like = _params_like(weights.model, mesh, dtype)
    params = _restore(step_dir, mesh, like)
  return dataclasses.replace(weights, params=params)


def describe_weights(path: epath.PathLike) -> Weights:
  """What a checkpoint says of its weights, `params` left out.

  Raises:
    FileNotFoundError: there is no finished checkpoint.
    OSError: it is damaged.
  """
  _, weights = _described(find_checkpoint(path))
  return weights


def check_stage(
  weights: Weights, stage: int | None, *, of: epath.PathLike
) -> None:
  """Refuses weights that are known to be of another stage than expected.

  Raises:
    ValueError: names the kinds of documents they were trained on.
  """
  windows = any(kind.endswith("window") for kind in weights.kinds)
  if stage is not None and weights.kinds and windows != (stage == 2):
    raise ValueError(
      f"{of} was trained on documents of kind {sorted(weights.kinds)}, those"
      f" of stage {3 - stage}; expected weights of stage {stage}"
    )


def open_weights(path: epath.PathLike) -> Weights:
  """The weights of a checkpoint, whose arrays are left on the disk.

  Args:
    path: a run directory (its newest checkpoint is taken) or one checkpoint.

  Returns:
    Weights with a `checkpoint_chunks.StoredArray` for every parameter.

  Raises:
    ValueError: it holds adapters; see `exchange.merged`.
    FileNotFoundError: there is no finished checkpoint.
    OSError: it is damaged.
  """
  step_dir = find_checkpoint(path)
  run, weights = _described(step_dir)
  if "base" in run:
    raise ValueError(
      f"{step_dir} holds adapters, expected whole weights; export them with"
      " tools/export_lora.py"
    )
  arrays = open_arrays(step_dir / "params")
  params = traverse_util.unflatten_dict(arrays, sep="/")
  return dataclasses.replace(weights, params=params)


def load_adapters(path: epath.PathLike, mesh: jax.sharding.Mesh) -> Adapters:
  """Reads the adapters of a checkpoint onto `mesh`, and nothing else.

  Raises:
    ValueError: it has none, or the mesh cannot cut the model evenly.
    OSError: there is no finished checkpoint, or it is damaged.
  """
  step_dir = find_checkpoint(path)
  run, weights = _described(step_dir)
  if "base" not in run:
    raise ValueError(
      f"{step_dir} holds whole weights, expected adapters: a run with `lora`"
    )
  return _read_adapters(step_dir, run, weights, mesh)


def load_fingerprinted(
  path: epath.PathLike, mesh: jax.sharding.Mesh
) -> tuple[Weights, str]:
  """Weights to be frozen beneath adapters, and their fingerprint.

  Raises:
    ValueError: they are adapters themselves.
    OSError: there is no finished checkpoint, or it is damaged.
  """
  step_dir = find_checkpoint(path)
  run, weights = _described(step_dir)
  if "base" in run:
    raise ValueError(
      f"initial_weights={path} holds adapters, expected whole weights; merge"
      " them first (tools/export_lora.py --merged, then tools/import_hf.py)"
    )
  like = _params_like(weights.model, mesh, "float32")
  params = _restore(step_dir, mesh, like)
  return dataclasses.replace(weights, params=params), fingerprint(params)


def save_weights(run_dir: epath.PathLike, weights: Weights) -> epath.Path:
  """Writes weights without optimiser state; a run can be started from them.

  By one process, and on a disk.

  Args:
    run_dir: of a run, which may be new.
    weights: whose parameters are arrays in memory.

  Returns:
    The directory of the checkpoint.
  """
  run_dir = pathlib.Path(run_dir)
  run_dir.mkdir(parents=True, exist_ok=True)
  leaves = traverse_util.flatten_dict(weights.params, sep="/")
  shapes = {name: leaf.shape for name, leaf in leaves.items()}
  with tempfile.TemporaryDirectory(prefix=".arrays-", dir=run_dir) as folder:
    writer = ArrayWriter(pathlib.Path(folder) / "arrays", shapes)
    writing = [
      writer.write(name, whole(leaf.shape), np.asarray(leaf))
      for name, leaf in leaves.items()
    ]
    for wait in writing:
      wait()
    return save_staged(run_dir, weights, writer)


def save_staged(
  run_dir: epath.PathLike, weights: Weights, writer: ArrayWriter
) -> epath.Path:
  """Finishes a checkpoint of weights whose arrays are written already.

  Args:
    run_dir: of a run, on the disk of the writer's folder.
    weights: what is said of the arrays; its own parameters are not used.
    writer: has written all of them; its folder is moved.

  Returns:
    The directory of the checkpoint.
  """
  root = epath.Path(run_dir).absolute() / "checkpoints"
  run = description(weights.model, weights.vocab, weights.step)
  if weights.data is not None:
    run["data"] = dataclasses.asdict(weights.data)
  if weights.kinds:
    run["kinds"] = weights.kinds
  params = traverse_util.unflatten_dict(writer.staged(), sep="/")
  with open_manager(
    root,
    {"params": staging_handler(), "run": ocp.JsonCheckpointHandler()},
    written=lambda: write_list(root, weights.step),
  ) as manager:
    manager.save(
      weights.step,
      args=ocp.args.Composite(
        params=save_args(params), run=ocp.args.JsonSave(run)
      ),
    )
  return root / str(weights.step)


def check_same_model(
  weights: Weights, model: ModelConfig, vocab: Vocab
) -> None:
  """Refuses weights of another shape or vocabulary than the run's.

  What the weights do not depend on may differ: the longest context is raised
  in the middle of the paper's training, and padding rows of the vocabulary
  are added or cut (`train.state.resize_vocabulary`).

  Raises:
    ValueError: names every field that differs.
  """
  names = (
    *("dtype", "remat", "offload", "attention"),
    *("init_std", "max_positions", "vocab_size"),
  )
  free = {name: getattr(model, name) for name in names}
  saved = dataclasses.asdict(dataclasses.replace(weights.model, **free))
  given = dataclasses.asdict(model)
  saved["vocab"], given["vocab"] = weights.vocab, vocab
  wrong = [
    f"{name}: weights {saved[name]!r}, config {given[name]!r}"
    for name in saved
    if saved[name] != given[name]
  ]
  if wrong:
    raise ValueError(
      "the initial weights are of another model:\n  " + "\n  ".join(wrong)
    )


def _read_adapters(
  step_dir: epath.Path,
  run: Mapping[str, Any],
  weights: Weights,
  mesh: jax.sharding.Mesh,
) -> Adapters:
  """The adapters of a checkpoint that was described already."""
  cfg = read(LoraConfig, run["config"]["lora"], "lora")
  like = _params_like(weights.model, mesh, "float32")
  with jax.set_mesh(mesh):
    like = jax.eval_shape(lambda: lora.init_adapters(like, cfg, seed=0))
  return Adapters(
    model=weights.model,
    vocab=weights.vocab,
    step=weights.step,
    lora=cfg,
    params=_restore(step_dir, mesh, like),
    initial_weights=run["config"]["initial_weights"],
    base=run["base"],
  )


def _params_like(
  model: ModelConfig, mesh: jax.sharding.Mesh, dtype: str
) -> dict:
  """Abstract parameters; ValueError if the mesh cannot cut them evenly."""
  check_divisible(model, MeshConfig(**mesh.shape))

  def init():
    params = init_params(model, seed=0)
    return jax.tree.map(lambda weight: weight.astype(dtype), params)

  with jax.set_mesh(mesh):
    return jax.eval_shape(init)


def _restore(step_dir: epath.Path, mesh: jax.sharding.Mesh, like: dict) -> dict:
  """The item `params`, as abstract arrays say."""
  with ocp.Checkpointer(array_handler()) as checkpointer:
    return checkpointer.restore(
      step_dir / "params", args=restore_args(on_mesh(mesh, like))
    )


def _merged(
  adapters: Adapters,
  mesh: jax.sharding.Mesh,
  base: epath.PathLike | None,
  dtype: str,
) -> dict:
  """The weights that adapters were trained on, with the adapters."""
  where = find_base(base, adapters.initial_weights)
  weights, found = load_fingerprinted(where, mesh)
  check_base(found, adapters.base, where)

  def whole(params, adapters_):
    params = resize_vocabulary(params, adapters.model.vocab_size)
    params = lora.merge(lora.join(params, adapters_))
    return jax.tree.map(lambda weight: weight.astype(dtype), params)

  with jax.set_mesh(mesh):
    return jax.jit(whole)(weights.params, adapters.params)


def _described(step_dir: epath.Path) -> tuple[dict[str, Any], Weights]:
  """What a checkpoint says of itself, and of its weights, without these.

  Raises:
    OSError: it is damaged.
  """
  if wrong := find_damage(step_dir):
    raise OSError(
      f"{step_dir} is damaged: {'; '.join(wrong)}; name an older one"
    )
  run = read_description(step_dir)
  data = None
  if "data" in run:
    data = read(DataDescription, run["data"], "data")
  model = read(ModelConfig, run["model"], "model")
  vocab = Vocab.from_json(run["vocab"])
  return run, Weights(model, vocab, run["step"], {}, data, _kinds(run))


def _kinds(run: Mapping[str, Any]) -> tuple[str, ...]:
  """Kinds of the documents that a model was trained on, as far as known."""
  phases = run["config"]["phases"] if "config" in run else []
  trained = {s["kind"] for p in phases for s in p["mixture"].values()}
  return tuple(sorted(trained)) or tuple(run.get("kinds", ()))
