"""Checkpoints of a run, by Orbax, restorable on any mesh.

    RUN/checkpoints/<step>/params      the weights alone; of a run with
                                       adapters (see `lora`) the adapters
                           optimizer   optimiser state and step counter
                           run         our JSON: step, model, vocabulary,
                                       whole config, what the data were,
                                       fingerprint of the frozen weights,
                                       versions of the libraries

                           files.json  what a whole checkpoint consists of
         damaged/<step>-1  a checkpoint that turned out not to be whole

Weights and optimiser are separate items, so that export and generation read
only what they need. The position of the data is the step, hence nothing else
is kept. Frozen weights lie where the run found them, once, and are known by
their fingerprint.
"""

from collections.abc import Callable, Mapping
import dataclasses
import importlib.metadata
import logging
import pathlib
import tempfile
from typing import Any

from etils import epath
from flax import traverse_util
import jax
from jax.experimental import multihost_utils
import numpy as np
import orbax.checkpoint as ocp

from yue_jax import config, lora
from yue_jax.checkpoint_arrays import (
  array_handler,
  check_shapes,
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
from yue_jax.checkpoint_files import (
  find_damage,
  set_aside,
  set_damaged_aside,
  unfinished,
  write_list,
)
from yue_jax.config import LoraConfig, ModelConfig, RunConfig, TrainConfig
from yue_jax.config_tables import read
from yue_jax.continuation import check_continuation
from yue_jax.sharding import check_divisible, on_mesh
from yue_jax.train.state import TrainState, init_params, resize_vocabulary
from yue_jax.vocab import Vocab

FORMAT = 2
_log = logging.getLogger(__name__)
_LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


@dataclasses.dataclass(frozen=True)
class DataDescription:
  """What a model was trained on, as far as its users must know.

  Attributes:
    tokenizer: fingerprint of the tokenizer of its text; "" if not known.
    window: frames of its windows; 0 if not known.
    phases: fingerprint of what each source gave, by name, for every phase.
  """

  tokenizer: str
  window: int
  phases: tuple[dict[str, str], ...] = ()


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


class Checkpointer:
  """Saves and restores the state of one run.

  Every process makes one and calls its methods alike.
  """

  def __init__(
    self,
    run_dir: epath.PathLike,
    cfg: RunConfig,
    *,
    data: DataDescription,
    base: str = "",
  ):
    """Finds the newest good checkpoint; damaged ones are moved aside.

    Args:
      run_dir: of the run.
      cfg: of the run.
      data: what it reads.
      base: fingerprint of its frozen weights; "" if there are none.

    Raises:
      OSError: there are checkpoints, and all of them are damaged.
    """
    self._cfg = cfg
    self._course = {
      "config": config.to_json(cfg),
      "data": dataclasses.asdict(data),
    } | ({"base": base} if base else {})
    self._root = epath.Path(run_dir).absolute() / "checkpoints"
    self._saving = -1  # the step that was given to the manager last
    _by_one_process(lambda: _clear_the_way(self._root))
    self._manager = _open_manager(
      self._root,
      _handlers("params", "optimizer"),
      written=lambda: write_list(self._root, self._saving),
      preservation_policy=_preservation(cfg.train),
      cleanup_tmp_directories=True,
    )

  @property
  def latest_step(self) -> int | None:
    return self._manager.latest_step()

  def save(self, state: TrainState, step: int) -> None:
    """Starts an asynchronous save; the state may be donated afterwards."""
    if step == self.latest_step:
      return
    self.wait()
    self._saving = step
    items = _items(state)
    self._manager.save(
      step,
      args=ocp.args.Composite(
        **{name: save_args(tree) for name, tree in items.items()},
        run=ocp.args.JsonSave(
          _description(self._cfg.model, self._cfg.vocab, step) | self._course
        ),
      ),
    )

  def restore(self, like: TrainState) -> TrainState:
    """Restores the newest checkpoint to the layouts of `like`.

    One whose arrays cannot be read is moved aside, and the one before it
    restored, if there is any. Frozen weights are in none: `frozen` is empty.

    Args:
      like: abstract state (`jax.ShapeDtypeStruct`s on a concrete mesh).

    Raises:
      ValueError: the saved config differs in something a continuation may not
        change, the training data were changed, or the shapes differ.
    """
    while True:
      step = self.latest_step
      step_dir = self._root / str(step)
      self._check(step_dir, like)
      state, error = _try_to_read(step_dir, like)
      if _all_well(error):
        _log.info("restored step %d", step)
        return state
      if len(self._manager.all_steps()) == 1:
        raise OSError(
          f"the arrays of {step_dir} cannot be read, and there is no older"
          " checkpoint; restore it from a copy, or use another run directory"
        ) from error
      reason = f"its arrays cannot be read: {error or 'by another process'}"
      _by_one_process(lambda d=step_dir, r=reason: set_aside(d, r))
      self._manager.reload()

  def _check(self, step_dir: epath.Path, like: TrainState) -> None:
    run = read_description(step_dir)
    if "config" not in run:
      raise ValueError(
        "the run directory holds weights without the state of a run; name it"
        " in initial_weights and use another run directory"
      )
    if "base" in run and "base" in self._course:
      check_base(self._course["base"], run["base"], self._cfg.initial_weights)
    check_continuation(run, self._course, run["step"])
    for name, tree in _items(like).items():
      check_shapes(step_dir / name, tree)

  def wait(self) -> None:
    """Waits until a save under way is finished."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits for saves under way."""
    self.wait()
    self._manager.close()


def load_weights(
  path: epath.PathLike,
  mesh: jax.sharding.Mesh,
  *,
  base: epath.PathLike | None = None,
) -> Weights:
  """Reads the weights of a checkpoint onto `mesh`, adapters merged.

  Args:
    path: a run directory (its newest checkpoint is taken) or one checkpoint.
    mesh: where the weights go, laid out by `sharding.SPECS`.
    base: where the weights lie that adapters belong to; None for where they
      lay in training.

  Raises:
    FileNotFoundError: there is no finished checkpoint.
    OSError: it is damaged.
    ValueError: the mesh cannot cut the model evenly, or the adapters are of
      other weights than `base`.
  """
  step_dir = find_checkpoint(path)
  run, weights = _described(step_dir)
  if "base" in run:
    params = _merged(load_adapters(step_dir, mesh), mesh, base)
  else:
    params = _read_params(step_dir, weights.model, mesh)
  return dataclasses.replace(weights, params=params)


def open_weights(path: epath.PathLike) -> Weights:
  """The weights of a checkpoint, whose arrays are left on the disk.

  Args:
    path: a run directory (its newest checkpoint is taken) or one checkpoint.

  Returns:
    Weights with a `checkpoint_chunks.StoredArray` for every parameter.

  Raises:
    ValueError: it holds adapters.
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
  cfg = read(LoraConfig, run["config"]["lora"], "lora")
  return Adapters(
    model=weights.model,
    vocab=weights.vocab,
    step=weights.step,
    lora=cfg,
    params=_read_params(step_dir, weights.model, mesh, cfg),
    initial_weights=run["config"]["initial_weights"],
    base=run["base"],
  )


def load_base(
  path: epath.PathLike, mesh: jax.sharding.Mesh
) -> tuple[Weights, str]:
  """Weights to be frozen beneath adapters, and their fingerprint.

  Raises:
    ValueError: they are adapters themselves.
    OSError: there is no finished checkpoint, or it is damaged.
  """
  step_dir = find_checkpoint(path)
  if "base" in read_description(step_dir):
    raise ValueError(
      f"initial_weights={path} holds adapters, expected whole weights; merge"
      " them first (tools/export_lora.py --merged, then tools/import_hf.py)"
    )
  weights = load_weights(step_dir, mesh)
  return weights, fingerprint(weights.params)


def check_base(found: str, expected: str, where: epath.PathLike) -> None:
  """Refuses other weights than those that adapters were trained on."""
  if found != expected:
    raise ValueError(
      f"the adapters belong to weights with fingerprint {expected}, but those"
      f" of {where} have {found}; name the checkpoint that they were trained on"
    )


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
  run = _description(weights.model, weights.vocab, weights.step)
  if weights.data is not None:
    run["data"] = dataclasses.asdict(weights.data)
  if weights.kinds:
    run["kinds"] = weights.kinds
  params = traverse_util.unflatten_dict(writer.staged(), sep="/")
  with _open_manager(
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


def find_checkpoint(path: epath.PathLike) -> epath.Path:
  """The directory of the checkpoint that `path` means."""
  path = epath.Path(path).absolute()
  if (path / "params").is_dir():
    return path
  root, steps = path / "checkpoints", finished_steps(path)
  if not steps:
    raise FileNotFoundError(
      f"no finished checkpoint at {path}; expected a run directory with"
      " checkpoints/<step>/params, or such a step directory itself"
    )
  return root / str(max(steps))


def finished_steps(run_dir: epath.PathLike) -> list[int]:
  """Steps of the checkpoints of a run that were finished."""
  return _finished(epath.Path(run_dir) / "checkpoints")


def read_description(step_dir: epath.PathLike) -> dict[str, Any]:
  """The `run` JSON of a checkpoint."""
  with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
    run = checkpointer.restore(
      epath.Path(step_dir) / "run", args=ocp.args.JsonRestore()
    )
  _check_format(run, step_dir)
  return run


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


def _read_params(
  step_dir: epath.Path,
  model: ModelConfig,
  mesh: jax.sharding.Mesh,
  adapters: LoraConfig | None = None,
) -> dict:
  """The item `params` of a checkpoint: the weights, or those adapters."""
  check_divisible(model, config.MeshConfig(**mesh.shape))

  def like():
    params = init_params(model, seed=0)
    if adapters is None:
      return params
    return lora.init_adapters(params, adapters, seed=0)

  with jax.set_mesh(mesh):
    abstract = on_mesh(mesh, jax.eval_shape(like))
  with ocp.Checkpointer(array_handler()) as checkpointer:
    return checkpointer.restore(
      step_dir / "params", args=restore_args(abstract)
    )


def _merged(
  adapters: Adapters, mesh: jax.sharding.Mesh, base: epath.PathLike | None
) -> dict:
  """The weights that adapters were trained on, with the adapters."""
  where = base or adapters.initial_weights
  try:
    weights, found = load_base(where, mesh)
  except FileNotFoundError as error:
    error.add_note(
      "Adapters need the weights that they were trained on, which lay at"
      f" {adapters.initial_weights}; bring them back, or say where they are"
      " (tools/export_lora.py --merged --base)."
    )
    raise
  check_base(found, adapters.base, where)

  def whole(params, adapters_):
    params = resize_vocabulary(params, adapters.model.vocab_size)
    return lora.merge(lora.join(params, adapters_))

  with jax.set_mesh(mesh):
    return jax.jit(whole)(weights.params, adapters.params)


def _description(model, vocab, step) -> dict[str, Any]:
  return {
    "format": FORMAT,
    "step": step,
    "model": dataclasses.asdict(model),
    "vocab": vocab.to_json(),
    "versions": {n: importlib.metadata.version(n) for n in _LIBRARIES},
  }


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


def _check_format(run: Mapping, where) -> None:
  if run.get("format") != FORMAT:
    raise ValueError(
      f"checkpoint {where} has format {run.get('format')!r}, this version"
      f" reads {FORMAT}; use the version that wrote it:"
      f" {run.get('versions')}"
    )


def _open_manager(
  root: epath.Path,
  handlers: dict[str, ocp.CheckpointHandler],
  *,
  written: Callable[[], None],
  **options,
) -> ocp.CheckpointManager:
  """A manager; process 0 calls `written` before it finishes a checkpoint."""
  options["async_options"] = ocp.options.AsyncOptions(
    post_finalization_callback=written
  )
  return ocp.CheckpointManager(
    root,
    options=ocp.CheckpointManagerOptions(**options),
    item_handlers=handlers,
  )


def _preservation(cfg: TrainConfig):
  policies = [ocp.checkpoint_managers.LatestN(cfg.keep_checkpoints)]
  if cfg.keep_every:
    policies.append(ocp.checkpoint_managers.EveryNSteps(cfg.keep_every))
  return ocp.checkpoint_managers.AnyPreservationPolicy(policies)


def _finished(root: epath.Path) -> list[int]:
  return ocp.utils.checkpoint_steps(root) if root.is_dir() else []


def _clear_the_way(root: epath.Path) -> None:
  steps = _finished(root)
  for step in unfinished(root, steps):
    _log.warning("the checkpoint of step %d was not finished", step)
  set_damaged_aside(root, steps)


def _by_one_process(action: Callable[[], None]) -> None:
  """Process 0 acts and the others wait for it."""
  if jax.process_index() == 0:
    action()
  multihost_utils.sync_global_devices("by_one_process")


def _all_well(error: Exception | None) -> bool:
  """Whether no process met with an error."""
  return not np.any(multihost_utils.process_allgather(error is not None))


def _try_to_read(
  step_dir: epath.Path, like: TrainState
) -> tuple[TrainState | None, Exception | None]:
  """The state, or why it cannot be read.

  By the handlers alone: the manager would wait for processes that failed.
  """
  try:
    items = {
      name: array_handler().restore(step_dir / name, args=restore_args(tree))
      for name, tree in _items(like).items()
    }
  except Exception as error:  # of many types; its shapes were checked before
    return None, error
  optimizer = items["optimizer"]
  return TrainState(
    optimizer["step"], items["params"], optimizer["opt_state"]
  ), None


def _items(state: TrainState) -> dict[str, Any]:
  return {
    "params": state.params,
    "optimizer": {"opt_state": state.opt_state, "step": state.step},
  }


def _handlers(*arrays: str) -> dict[str, ocp.CheckpointHandler]:
  handlers = {name: array_handler() for name in arrays}
  return handlers | {"run": ocp.JsonCheckpointHandler()}
