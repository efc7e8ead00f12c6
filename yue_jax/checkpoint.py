"""Checkpoints of a run, by Orbax, restorable on any mesh.

    RUN/checkpoints/<step>/params      the weights alone
                           optimizer   optimiser state and step counter
                           run         our JSON: step, model, vocabulary,
                                       whole config, what the data were,
                                       versions of the libraries

Weights and optimiser are separate items, so that export and generation read
only what they need. Arrays are uncompressed zarr3 in chunks of at most 32 MiB
that are cut along the layer axis first: one layer can be read without its
neighbours. The position of the data is the step, hence nothing else is kept.
"""

from collections.abc import Mapping
import dataclasses
import importlib.metadata
import logging
import re
from typing import Any

from etils import epath
import jax
import orbax.checkpoint as ocp

from yue_jax import config
from yue_jax.config import ModelConfig, RunConfig
from yue_jax.config_tables import read
from yue_jax.phases import first_steps, phase_at
from yue_jax.sharding import check_divisible, on_mesh
from yue_jax.train.state import TrainState, init_params
from yue_jax.vocab import Vocab

FORMAT = 2
_log = logging.getLogger(__name__)
_CHUNK_BYTES = 32 * 2**20
_LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")

# What may differ between a run and its continuation. The contents of data
# sets are compared by fingerprint, wherever they lie.
_MAY_CHANGE = (
  "mesh.*",
  "model.remat",
  "model.offload",
  "model.attention",
  "loss.chunk",
  "train.*",
  "data.evaluation.*",
  "phases[*].microbatches",
  "phases[*].stop_after",
  "phases[*].exclude",
  "phases[*].mixture.*.data",
  "phases[*].mixture.*.expected_tokens",
)


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
  """Saves and restores the state of one run."""

  def __init__(
    self, run_dir: epath.PathLike, cfg: RunConfig, *, data: DataDescription
  ):
    self._cfg = cfg
    self._course = {
      "config": config.to_json(cfg),
      "data": dataclasses.asdict(data),
    }
    self._manager = ocp.CheckpointManager(
      epath.Path(run_dir).absolute() / "checkpoints",
      options=ocp.CheckpointManagerOptions(
        preservation_policy=ocp.checkpoint_managers.LatestN(
          cfg.train.keep_checkpoints
        ),
        step_prefix=None,
      ),
      item_handlers=_handlers("params", "optimizer"),
    )

  @property
  def latest_step(self) -> int | None:
    return self._manager.latest_step()

  def save(self, state: TrainState, step: int) -> None:
    """Starts an asynchronous save; the state may be donated afterwards."""
    if step == self.latest_step:
      return
    optimizer = {"opt_state": state.opt_state, "step": state.step}
    self._manager.save(
      step,
      args=ocp.args.Composite(
        params=_save_args(state.params),
        optimizer=_save_args(optimizer),
        run=ocp.args.JsonSave(
          _description(self._cfg.model, self._cfg.vocab, step) | self._course
        ),
      ),
    )

  def restore(self, like: TrainState) -> TrainState:
    """Restores the latest checkpoint to the layouts of `like`.

    Args:
      like: abstract state (`jax.ShapeDtypeStruct`s on a concrete mesh).

    Raises:
      ValueError: the saved config differs in something a continuation may not
        change, the training data were changed, or the shapes differ.
    """
    step = self.latest_step
    run = self._manager.restore(
      step, args=ocp.args.Composite(run=ocp.args.JsonRestore())
    )["run"]
    _check_format(run, f"step {step}")
    if "config" not in run:
      raise ValueError(
        "the run directory holds weights without the state of a run; name it"
        " in initial_weights and use another run directory"
      )
    check_continuation(run, self._course, step)
    optimizer = {"opt_state": like.opt_state, "step": like.step}
    items = self._manager.restore(
      step,
      args=ocp.args.Composite(
        params=_restore_args(like.params), optimizer=_restore_args(optimizer)
      ),
    )
    _log.info("restored step %d", step)
    return TrainState(
      items["optimizer"]["step"],
      items["params"],
      items["optimizer"]["opt_state"],
    )

  def close(self) -> None:
    """Waits for saves under way."""
    self._manager.wait_until_finished()
    self._manager.close()


def load_weights(path: epath.PathLike, mesh: jax.sharding.Mesh) -> Weights:
  """Reads the weights of a checkpoint onto `mesh`.

  Args:
    path: a run directory (its newest checkpoint is taken) or one checkpoint.
    mesh: where the weights go, laid out by `sharding.SPECS`.

  Raises:
    FileNotFoundError: there is no finished checkpoint.
    ValueError: the mesh cannot cut the model evenly.
  """
  step_dir = find_checkpoint(path)
  run = read_description(step_dir)
  model = read(ModelConfig, run["model"], "model")
  check_divisible(model, config.MeshConfig(**mesh.shape))
  with jax.set_mesh(mesh):
    like = jax.eval_shape(lambda: init_params(model, seed=0))
  with ocp.Checkpointer(_array_handler()) as checkpointer:
    params = checkpointer.restore(
      step_dir / "params", args=_restore_args(on_mesh(mesh, like))
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
  with ocp.CheckpointManager(
    epath.Path(run_dir).absolute() / "checkpoints",
    item_handlers=_handlers("params"),
  ) as manager:
    run = _description(weights.model, weights.vocab, weights.step)
    if weights.data is not None:
      run["data"] = dataclasses.asdict(weights.data)
    manager.save(
      weights.step,
      args=ocp.args.Composite(
        params=_save_args(weights.params), run=ocp.args.JsonSave(run)
      ),
    )
  return epath.Path(run_dir) / "checkpoints" / str(weights.step)


def find_checkpoint(path: epath.PathLike) -> epath.Path:
  """The directory of the checkpoint that `path` means."""
  path = epath.Path(path).absolute()
  if (path / "params").is_dir():
    return path
  root = path / "checkpoints"
  steps = ocp.utils.checkpoint_steps(root) if root.is_dir() else []
  if not steps:
    raise FileNotFoundError(
      f"no finished checkpoint at {path}; expected a run directory with"
      " checkpoints/<step>/params, or such a step directory itself"
    )
  return root / str(max(steps))


def read_description(step_dir: epath.PathLike) -> dict[str, Any]:
  """The `run` JSON of a checkpoint."""
  with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
    run = checkpointer.restore(
      epath.Path(step_dir) / "run", args=ocp.args.JsonRestore()
    )
  _check_format(run, step_dir)
  return run


def check_continuation(saved: Mapping, given: Mapping, step: int) -> None:
  """Refuses to continue a run at `step` if its course would be another.

  Phases that have begun are compared, in their configs and in what their
  sources read; those to come may be changed, and new ones appended.

  Args:
    saved: "config" and "data" as they are saved with a checkpoint.
    given: the same of the continuation.
    step: how many steps were taken.

  Raises:
    ValueError: names every field with its saved and its given value.
  """
  before = config.from_config_dict(saved["config"])
  after = config.from_config_dict(given["config"])
  begun = phase_at(before.phases, step - 1) + 1 if step else 0
  wrong = []
  starts = [first_steps(cfg.phases)[: begun + 1] for cfg in (before, after)]
  if (
    starts[0][:begun] != starts[1][:begun]
    or step > first_steps(after.phases[:begun])[-1]
  ):
    wrong.append(
      f"phases begin at steps {starts[0][:-1]} and the run is at {step};"
      f" given: {starts[1]}"
    )
  old, new = (_course_of(side, begun) for side in (saved, given))
  wrong += [
    f"{name}: saved {old.get(name)!r}, given {new.get(name)!r}"
    for name in sorted(old.keys() | new.keys())
    if old.get(name) != new.get(name) and not _may_change(name)
  ]
  if wrong:
    raise ValueError(
      "the run directory holds a run that took another course:\n  "
      + "\n  ".join(wrong)
      + "\nUse another run directory, set these fields back, or restore the"
      " data sets."
    )


def _course_of(run: Mapping, begun: int) -> dict[str, Any]:
  """All that the first `begun` phases depend on, by name."""
  return _flat(run["config"] | {"phases": run["config"]["phases"][:begun]}) | {
    f"data.{name}": value
    for name, value in _flat(
      run["data"] | {"phases": run["data"]["phases"][:begun]}
    ).items()
  }


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


def _may_change(name: str) -> bool:
  name = re.sub(r"\[\d+\]", "[*]", name)
  return any(
    re.fullmatch(re.escape(rule).replace(r"\*", ".*"), name)
    or name == rule.removesuffix(".*")
    for rule in _MAY_CHANGE
  )


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
  """Leaves by path, as {"a": [{"b": 1}]} -> {"a[0].b": 1}."""
  if isinstance(tree, Mapping) and tree:
    prefix = f"{path}." if path else ""
    parts = [_flat(v, f"{prefix}{k}") for k, v in tree.items()]
  elif isinstance(tree, list | tuple) and tree:
    parts = [_flat(v, f"{path}[{i}]") for i, v in enumerate(tree)]
  else:
    return {path: tree}
  return {k: v for part in parts for k, v in part.items()}


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


def _array_handler() -> ocp.PyTreeCheckpointHandler:
  return ocp.PyTreeCheckpointHandler(use_zarr3=True, use_compression=False)


def _handlers(*arrays: str) -> dict[str, ocp.CheckpointHandler]:
  handlers = {name: _array_handler() for name in arrays}
  return handlers | {"run": ocp.JsonCheckpointHandler()}


def _save_args(tree) -> ocp.args.PyTreeSave:
  def args(path, _):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return ocp.SaveArgs(
      chunk_byte_size=_CHUNK_BYTES,
      shard_axes=(0,) if "blocks/" in name else (),
    )

  save_args = jax.tree_util.tree_map_with_path(args, tree)
  return ocp.args.PyTreeSave(tree, save_args=save_args)


def _restore_args(like) -> ocp.args.PyTreeRestore:
  return ocp.args.PyTreeRestore(
    item=like,
    restore_args=ocp.checkpoint_utils.construct_restore_args(like),
  )
