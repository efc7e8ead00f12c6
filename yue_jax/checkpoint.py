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
  set_aside,
  set_damaged_aside,
  unfinished,
  write_list,
)
from yue_jax.config import RunConfig, TrainConfig
from yue_jax.continuation import check_continuation
from yue_jax.train.state import TrainState

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
    self._manager = open_manager(
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
          description(self._cfg.model, self._cfg.vocab, step) | self._course
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


def check_base(found: str, expected: str, where: epath.PathLike) -> None:
  """Refuses other weights than those that adapters were trained on."""
  if found != expected:
    raise ValueError(
      f"the adapters belong to weights with fingerprint {expected}, but those"
      f" of {where} have {found}; name the checkpoint that they were trained on"
    )


def find_base(
  base: epath.PathLike | None, trained_on: epath.PathLike
) -> epath.PathLike:
  """Where the weights lie that adapters belong to.

  Args:
    base: a run or a checkpoint; None for where they lay in training.
    trained_on: where that was.

  Raises:
    FileNotFoundError: there is no finished checkpoint.
  """
  where = base or trained_on
  try:
    find_checkpoint(where)
  except FileNotFoundError as error:
    error.add_note(
      "Adapters need the weights that they were trained on, which lay at"
      f" {trained_on}; bring them back, or say where they are"
      " (tools/export_lora.py --merged --base)."
    )
    raise
  return where


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


def description(model, vocab, step) -> dict[str, Any]:
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


def open_manager(
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
