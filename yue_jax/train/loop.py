"""The training loop: the order of its side effects, and why.

Every turn:
  1. take the batch of this step: a function of (data set, seed, step);
  2. dispatch the step: an accelerator works while the host goes on;
  3. write the metrics of the step before, which is ready by now;
  4. evaluate, if due;
  5. save, if due, after the metrics up to this step are on disk, so that a
     continuation never finds a checkpoint ahead of its metrics.

A run continues by itself when its directory holds a checkpoint: the state is
restored, the data start at the restored step and metrics after it are dropped.
"""

from collections.abc import Sequence
import dataclasses
import json
import logging
import time

from etils import epath
import jax
import numpy as np

from yue_jax import accounting, checkpoint, config, metrics
from yue_jax.config import RunConfig
from yue_jax.data import pipeline
from yue_jax.losses import N_STREAMS
from yue_jax.optimizer import learning_rate, make_optimizer
from yue_jax.progress import Progress
from yue_jax.sharding import SPECS, check_divisible, make_mesh
from yue_jax.train.state import (
  TrainState,
  abstract_state,
  init_params,
  init_state,
)
from yue_jax.train.step import make_eval_step, make_train_step
from yue_jax.vocab import Stream

_log = logging.getLogger(__name__)


class Run:
  """A training run, opened: fresh, from given weights, or where it stopped.

  Opening finds what is wrong with config, data or checkpoints (ValueError,
  OSError); `train` then takes all the steps that are left.
  """

  def __init__(
    self,
    cfg: RunConfig,
    run_dir: epath.PathLike,
    *,
    devices: Sequence[jax.Device] | None = None,
  ):
    """Opens the run in `run_dir`, on all devices unless some are given."""
    run_dir = epath.Path(run_dir)
    check_divisible(cfg.model, cfg.mesh)
    self._cfg, self._mesh = cfg, make_mesh(cfg.mesh, devices)
    self._data, self._heldout = _open_data(cfg)
    self._checkpointer = checkpoint.Checkpointer(
      run_dir, cfg, data=_description(self._data.info)
    )
    with jax.set_mesh(self._mesh):
      self._state, self._first_step = _start(
        cfg, self._mesh, self._checkpointer
      )
      jax.block_until_ready(self._state)
      self._train_step = make_train_step(
        cfg.model, cfg.loss, make_optimizer(cfg.optimizer)
      )
      self._eval_step = make_eval_step(cfg.model)
    if self._first_step > cfg.train.last_step:
      raise ValueError(
        f"{run_dir} is at step {self._first_step}, beyond"
        f" train.last_step={cfg.train.last_step}; raise it or use another"
        " run directory"
      )
    if jax.process_index() == 0:
      run_dir.mkdir(parents=True, exist_ok=True)
      text = json.dumps(config.to_json(cfg), indent=2)
      (run_dir / "config.json").write_text(text + "\n")
    self._writer = metrics.MetricWriter(run_dir, resumed_at=self._first_step)
    self._rate = learning_rate(cfg.optimizer)
    # CPU devices share one pool of threads: a device that runs ahead into the
    # collectives of the next step can keep another from ending this one.
    self._in_turn = self._mesh.devices.flat[0].platform == "cpu"
    self._meter = _Meter(cfg, self._mesh.size)

  def train(self) -> TrainState:
    """Trains to `cfg.train.last_step` and returns the final state."""
    batches = pipeline.train_batches(
      self._data,
      **self._batch_layout(),
      first_step=self._first_step,
      last_step=self._cfg.train.last_step,
    )
    _log.info("at step %d of %d", self._first_step, self._cfg.train.last_step)
    with jax.set_mesh(self._mesh):
      state = self._take(batches)
    self._checkpointer.close()
    self._writer.close()
    return state

  def _batch_layout(self) -> dict:
    return {
      "samples_per_step": self._cfg.batch.samples,
      "microbatches": self._cfg.batch.microbatches,
      "sharding": jax.NamedSharding(self._mesh, SPECS.batch_abt),
    }

  def _take(self, batches) -> TrainState:
    every = self._cfg.train
    state, first_step = self._state, self._first_step
    self._state = None  # the first step donates it
    pending = None
    with Progress(
      every.last_step, "steps", "training", start=first_step
    ) as progress:
      for step, batch in enumerate(batches, start=first_step + 1):
        state, result = self._train_step(state, batch)
        if self._in_turn:
          jax.block_until_ready(state)
        if pending is not None:
          self._log(*pending)
        pending = (step, result)
        last = step == every.last_step
        evaluate = last or _due(step, every.eval_every)
        save = last or _due(step, every.checkpoint_every)
        if evaluate or save:
          self._log(*pending)
          pending = None
        if evaluate:
          self._evaluate(state.params, step)
        if save:
          self._checkpointer.save(state, step)
        progress.advance(note=self._meter.note)
    return state

  def _log(self, step: int, result) -> None:
    """Blocks until the step is done; writes a record where one is due.

    Raises:
      ValueError: the loss weighs nothing of what the data hold.
      FloatingPointError: the step was not finite; nothing was saved since.
    """
    result = jax.device_get(result)
    if not result["weight"]:
      raise ValueError(
        f"step {step}: no token of the batch has a weight; its streams are"
        f" {_names(result['tokens'])}, loss.weights {self._cfg.loss.weights}"
      )
    if not np.isfinite(result["loss"]) or not np.isfinite(result["grad_norm"]):
      raise FloatingPointError(
        f"step {step}: loss {result['loss']}, gradient norm"
        f" {result['grad_norm']}; the last good checkpoint is that of step"
        f" {self._checkpointer.latest_step}. A lower optimizer.peak_rate or"
        " another data.seed may help."
      )
    self._meter.count(result)
    if step != self._cfg.train.last_step and not _due(
      step, self._cfg.train.log_every
    ):
      return
    values = {
      "loss": float(result["loss"]),
      **metrics.losses_by_stream(result["nats"], result["tokens"]),
      "grad_norm": float(result["grad_norm"]),
      "learning_rate": float(self._rate(step - 1)),
      **self._meter.read(),
    }
    self._writer.write(step, "train", values)

  def _evaluate(self, params, step: int) -> None:
    if self._heldout is None:
      return
    batches = pipeline.eval_batches(self._heldout, **self._batch_layout())
    # One at a time: programs that do not depend on each other may start in
    # another order on another device, and their collectives then wait for
    # each other for ever. Summed on the host, in float64.
    nats, tokens = np.zeros(N_STREAMS), np.zeros(N_STREAMS)
    for batch in batches:
      sums = jax.device_get(self._eval_step(params, batch))
      nats += sums["nats"]
      tokens += sums["tokens"]
    values = metrics.losses_by_stream(nats, tokens)
    _log.info("step %d held out: %s", step, values)
    self._writer.write(step, "eval", values)
    self._meter.pause()


def _open_data(cfg: RunConfig):
  def open_(path):
    return pipeline.PlannedSamples(
      path,
      kind=cfg.data.kind,
      context=cfg.data.context,
      seed=cfg.data.seed,
      vocab=cfg.vocab,
      attend_across_documents=cfg.data.attend_across_documents,
    )

  heldout = open_(cfg.data.heldout) if cfg.data.heldout else None
  return open_(cfg.data.train), heldout


def _description(info: dict) -> checkpoint.DataDescription:
  return checkpoint.DataDescription(
    fingerprint=info["fingerprint"],
    tokenizer=info["tokenizer_fingerprint"],
    window=info["window"],
  )


def _start(cfg: RunConfig, mesh, checkpointer) -> tuple[TrainState, int]:
  """The restored state, or else given weights, or else fresh ones."""
  tx = make_optimizer(cfg.optimizer)

  def fresh():
    return init_state(init_params(cfg.model, cfg.seed), tx)

  if checkpointer.latest_step is not None:
    like = abstract_state(cfg.model, tx, mesh)
    return checkpointer.restore(like), checkpointer.latest_step
  if cfg.initial_weights:
    weights = checkpoint.load_weights(cfg.initial_weights, mesh)
    checkpoint.check_same_model(weights, cfg.model, cfg.vocab)
    return jax.jit(lambda p: init_state(p, tx))(weights.params), 0
  return jax.jit(fresh)(), 0


@dataclasses.dataclass
class _Meter:
  """Tokens per second and MFU since the record before."""

  cfg: RunConfig
  devices: int
  note: str = ""
  _steps: int = 0
  _tokens: float = 0.0
  _keys: float = 0.0
  _seconds: float = 0.0
  _since: float = dataclasses.field(default_factory=time.monotonic)

  def count(self, result) -> None:
    now = time.monotonic()
    self._seconds += now - self._since
    self._since = now
    self._steps += 1
    self._tokens += float(result["inputs"])
    self._keys += float(result["keys"])
    self.note = f"loss {float(result['loss']):.3f}"

  def pause(self) -> None:
    """Forgets the time since the last count, spent on something else."""
    self._since = time.monotonic()

  def read(self) -> dict[str, float | None]:
    """Rates since the last reading; starts anew."""
    model, device = self.cfg.model, jax.devices()[0]
    context = self.cfg.data.context
    slots = self._steps * self.cfg.batch.samples * context
    # A token of a causal document attends to (length + 1) / 2 keys.
    length = 2 * self._keys / self._tokens - 1
    causal = self._tokens * accounting.train_flops_per_token(model, length)
    full = slots * accounting.train_flops_per_token_full(model, context)
    device_seconds = self._seconds * self.devices
    values = {
      "tokens_per_second": self._tokens / self._seconds,
      "fill": self._tokens / slots,
      "mfu": metrics.utilisation(causal / device_seconds, device),
      "mfu_full": metrics.utilisation(full / device_seconds, device),
    }
    self._steps, self._tokens, self._keys, self._seconds = 0, 0.0, 0.0, 0.0
    return values


def _names(tokens) -> list[str]:
  return [s.name.lower() for s in Stream if tokens[s]]


def _due(step: int, every: int) -> bool:
  return every > 0 and step % every == 0
