"""One step of a run, taken again on its own, to see what went wrong in it.

The batch is that of the run, bit for bit: a function of the config, which lies
in the run directory, of the data and of the step. The weights are those of the
last checkpoint before the step. Nothing is written into the run.
"""

from collections.abc import Callable, Sequence
import dataclasses
import json
import math
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
import optax

from yue_jax import checkpoint, config, lora
from yue_jax.config import MeshConfig
from yue_jax.data import pipeline
from yue_jax.data.course import Course
from yue_jax.data.samples import empty_sample
from yue_jax.phases import first_steps, phase_at
from yue_jax.sharding import SPECS, check_divisible, make_mesh
from yue_jax.train.rows import Row, batch_layout, rows_of_step
from yue_jax.train.start import load_base
from yue_jax.train.state import init_state, initial_weights
from yue_jax.train.step import Batch, make_eval_step, make_train_step
from yue_jax.weights import load_adapters, load_weights

GradientReport = dict[str, dict[str, np.ndarray]]


class Replay:
  """A run, opened to look at single steps, which are numbered from 1.

  Attributes:
    cfg: that of the run, but for its mesh.
  """

  def __init__(
    self,
    run_dir: epath.PathLike,
    *,
    mesh: MeshConfig | None = None,
    devices: Sequence[jax.Device] | None = None,
  ):
    """Opens the data of a run; ValueError or OSError if that cannot be.

    Args:
      run_dir: has the config.json of the run.
      mesh: of the replay; None for that of the run.
      devices: to choose from; None for all.
    """
    self._run_dir = epath.Path(run_dir)
    path = self._run_dir / "config.json"
    if not path.exists():
      raise FileNotFoundError(f"{path} does not exist; no run was opened here")
    self.cfg = config.from_config_dict(json.loads(path.read_text()))
    if mesh is not None:
      self.cfg = dataclasses.replace(self.cfg, mesh=mesh)
    check_divisible(self.cfg.model, self.cfg.mesh)
    devices = jax.devices() if devices is None else devices
    size = math.prod(self.cfg.mesh.shape)
    self._mesh = make_mesh(self.cfg.mesh, devices[:size])
    self._layout = jax.NamedSharding(self._mesh, SPECS.batch_abt)
    self._course = Course(self.cfg.phases, self.cfg.data, vocab=self.cfg.vocab)

  def rows(self, step: int) -> list[Row]:
    """Where every row of the step comes from."""
    return rows_of_step(*self._place(step))

  def batch(self, step: int) -> Batch:
    """The batch that the run reads in a step."""
    phase, in_phase = self._place(step)
    return next(
      pipeline.train_batches(
        phase.mixture,
        **batch_layout(phase.config, self._mesh),
        first_step=in_phase,
        last_step=in_phase + 1,
        threads=0,
      )
    )

  def weights(self, step: int) -> tuple[dict, int]:
    """Parameters of the last checkpoint before a step, and their own step.

    With adapters, they are joined with the frozen weights (see `lora`).
    """
    root = self._run_dir / "checkpoints"
    saved = checkpoint.finished_steps(self._run_dir)
    before = max((s for s in saved if s < step), default=None)
    if before is not None:
      return self._saved(root / str(before)), before
    if self.cfg.initial_weights:
      raise ValueError(
        f"no checkpoint before step {step} is left in {root}; the run began"
        f" with {self.cfg.initial_weights}"
      )
    with jax.set_mesh(self._mesh):
      return jax.jit(lambda: initial_weights(self.cfg))(), 0

  def take(
    self, params: dict, batch: Batch
  ) -> tuple[dict[str, Any], GradientReport]:
    """What the step returns, and its gradients by parameter.

    Returns:
      The metrics of the training step, and for every parameter how many values
      of the gradient are not finite (`bad`) and its norm (`norm`): numbers, or
      (layers,) for the parameters of the blocks.
    """
    found = {}
    tx = _telling_optimizer(found.update)
    with jax.set_mesh(self._mesh):
      frozen, trained = lora.split(params)
      state = jax.jit(lambda p, f: init_state(p, tx, f))(trained, frozen)
      # A copy is donated: the given parameters stay.
      step = make_train_step(self.cfg.model, self.cfg.loss, tx)
      _, result = step(jax.tree.map(jnp.copy, state), batch)
      result = jax.device_get(result)
      jax.effects_barrier()
    return result, found

  def loss_by_row(self, params: dict, batch: Batch) -> list[float]:
    """Weighted nats per token of each row; NaN where no token has a weight.

    A row is computed alone, with padding for the other shards of the mesh.
    """
    table = np.array(self.cfg.loss.table)
    others = self.cfg.mesh.replica * self.cfg.mesh.fsdp - 1
    rows = {n: np.asarray(x).reshape(-1, x.shape[-1]) for n, x in batch.items()}
    padding = empty_sample(rows["inputs"].shape[-1])
    losses = []
    with jax.set_mesh(self._mesh):
      evaluate = make_eval_step(self.cfg.model, self.cfg.loss)
      for number in range(len(rows["inputs"])):
        alone = {
          name: np.stack([x[number]] + [padding[name]] * others)[None]
          for name, x in rows.items()
        }
        sums = evaluate(params, jax.device_put(alone, self._layout))
        sums = jax.device_get(sums)
        weight = np.sum(table * sums["tokens"])
        nats = np.sum(table * sums["nats"])
        losses.append(float(nats / weight) if weight else float("nan"))
    return losses

  def _saved(self, step_dir: epath.Path) -> dict:
    """All parameters at a checkpoint of the run."""
    if self.cfg.lora is None:
      return load_weights(step_dir, self._mesh).params
    base = load_base(self.cfg, self._mesh)
    adapters = load_adapters(step_dir, self._mesh)
    checkpoint.check_base(
      base.fingerprint, adapters.base, self.cfg.initial_weights
    )
    return lora.join(base.frozen, adapters.params)

  def _place(self, step: int):
    """The phase of a step, and its number there, from 0."""
    last = self.cfg.last_step
    if not 0 < step <= last:
      raise ValueError(f"step {step} is none of the run's, 1 to {last}")
    number = phase_at(self.cfg.phases, step - 1)
    begin = first_steps(self.cfg.phases)[number]
    return self._course.phases[number], step - 1 - begin


def broken_weights(params: dict) -> dict[str, int]:
  """Parameters with values that are not finite, and how many they have."""
  counts = _by_name(jax.jit(lambda p: _by_layer(_bad, p))(params))
  return {name: int(n.sum()) for name, n in counts.items() if n.any()}


def _telling_optimizer(
  tell: Callable[[GradientReport], None],
) -> optax.GradientTransformation:
  """Moves nothing; tells about the gradients it is given."""

  def report(bad, norm):
    bad, norm = _by_name(bad), _by_name(norm)
    tell({name: {"bad": bad[name], "norm": norm[name]} for name in bad})

  def update(grads, state, params):
    del params
    jax.debug.callback(report, _by_layer(_bad, grads), _by_layer(_norm, grads))
    return jax.tree.map(jnp.zeros_like, grads), state

  return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def _by_layer(reduce: Callable[..., jax.Array], params: dict) -> dict:
  """Reduces every parameter; those of the blocks layer by layer."""

  def reduce_one(path, x):
    stacked = path[0].key == "blocks"
    return reduce(x, axis=tuple(range(int(stacked), x.ndim)))

  return jax.tree_util.tree_map_with_path(reduce_one, params)


def _bad(x: jax.Array, axis: tuple[int, ...]) -> jax.Array:
  return jnp.sum(~jnp.isfinite(x), axis=axis)


def _norm(x: jax.Array, axis: tuple[int, ...]) -> jax.Array:
  return jnp.sqrt(jnp.sum(x * x, axis=axis))


def _by_name(tree: Any) -> dict[str, np.ndarray]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(x)
    for path, x in leaves
  }
