"""Checkpoints of a run, by Orbax, restorable on any mesh.

    RUN/checkpoints/<step>/params      the weights alone
                           optimizer   optimiser state and step counter
                           run         our JSON: step, model, vocabulary,
                                       whole config, what the data were,
                                       versions of the libraries

                           files.json  what a whole checkpoint consists of
         damaged/<step>-1  a checkpoint that turned out not to be whole

Weights and optimiser are separate items, so that export and generation read
only what they need. The position of the data is the step, hence nothing else
is kept.
"""

from collections.abc import Callable, Mapping
import dataclasses
import importlib.metadata
import logging
from typing import Any

from etils import epath
import jax
from jax.experimental import multihost_utils
import numpy as np
import orbax.checkpoint as ocp

from yue_jax import config
from yue_jax.checkpoint_arrays import (
  array_handler,
  check_shapes,
  restore_args,
  save_args,
)
from yue_jax.checkpoint_files import (
  find_damage,
  set_aside,
  set_damaged_aside,
  unfinished,
  write_list,
)
from yue_jax.config import ModelConfig, RunConfig, TrainConfig
from yue_jax.config_tables import read
from yue_jax.continuation import check_continuation
from yue_jax.sharding import check_divisible, on_mesh
from yue_jax.train.state import TrainState, init_params
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
    data: what they were trained on; None where that is not known.
  """

  model: ModelConfig
  vocab: Vocab
  step: int
  params: dict
  data: DataDescription | None = None


class Checkpointer:
  """Saves and restores the state of one run.

  Every process makes one and calls its methods alike.
  """

  def __init__(
    self, run_dir: epath.PathLike, cfg: RunConfig, *, data: DataDescription
  ):
    """Finds the newest good checkpoint; damaged ones are moved aside.

    Raises:
      OSError: there are checkpoints, and all of them are damaged.
    """
    self._cfg = cfg
    self._course = {
      "config": config.to_json(cfg),
      "data": dataclasses.asdict(data),
    }
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
    restored, if there is any.

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
  dtype: str | None = "float32",
) -> Weights:
  """Reads the weights of a checkpoint onto `mesh`.

  Args:
    path: a run directory (its newest checkpoint is taken) or one checkpoint.
    mesh: where the weights go, laid out by `sharding.SPECS`.
    dtype: in which they are held; None for that of the model's activations,
      which is all that generation needs, and half the memory in bfloat16.

  Raises:
    FileNotFoundError: there is no finished checkpoint.
    OSError: it is damaged.
    ValueError: the mesh cannot cut the model evenly.
  """
  step_dir = find_checkpoint(path)
  if wrong := find_damage(step_dir):
    raise OSError(
      f"{step_dir} is damaged: {'; '.join(wrong)}; name an older one"
    )
  run = read_description(step_dir)
  model = read(ModelConfig, run["model"], "model")
  check_divisible(model, config.MeshConfig(**mesh.shape))
  with jax.set_mesh(mesh):
    like = jax.eval_shape(
      lambda: jax.tree.map(
        lambda w: w.astype(dtype or model.dtype), init_params(model, seed=0)
      )
    )
  with ocp.Checkpointer(array_handler()) as checkpointer:
    params = checkpointer.restore(
      step_dir / "params", args=restore_args(on_mesh(mesh, like))
    )
  data = None
  if "data" in run:
    data = read(DataDescription, run["data"], "data")
  vocab = Vocab.from_json(run["vocab"])
  return Weights(model, vocab, run["step"], params, data)


def save_weights(run_dir: epath.PathLike, weights: Weights) -> epath.Path:
  """Writes weights without optimiser state; a run can be started from them.

  Returns:
    The directory of the checkpoint.
  """
  root = epath.Path(run_dir).absolute() / "checkpoints"
  with _open_manager(
    root, _handlers("params"), written=lambda: write_list(root, weights.step)
  ) as manager:
    run = _description(weights.model, weights.vocab, weights.step)
    if weights.data is not None:
      run["data"] = dataclasses.asdict(weights.data)
    manager.save(
      weights.step,
      args=ocp.args.Composite(
        params=save_args(weights.params), run=ocp.args.JsonSave(run)
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


def _description(model, vocab, step) -> dict[str, Any]:
  return {
    "format": FORMAT,
    "step": step,
    "model": dataclasses.asdict(model),
    "vocab": vocab.to_json(),
    "versions": {n: importlib.metadata.version(n) for n in _LIBRARIES},
  }


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
