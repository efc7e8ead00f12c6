"""The training loop: the order of its side effects, and why.

Every turn:
  1. take the batch of this step: a function of (data sets, phases, seed, step);
  2. dispatch the step: an accelerator works while the host goes on;
  3. write the metrics of the step before, which is ready by now;
  4. evaluate, if due;
  5. save, if due, after the metrics up to this step are on disk, so that a
     continuation never finds a checkpoint ahead of its metrics.

A run continues by itself when its directory holds a checkpoint: the state is
restored, the data start at the restored step and metrics after it are dropped.
Phases follow one another without a stop; each has its own shape of batch.
"""

from collections.abc import Iterator, Sequence
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
from yue_jax.data.course import Course, OpenedPhase
from yue_jax.losses import N_STREAMS
from yue_jax.optimizer import learning_rate, make_optimizer
from yue_jax.phases import PhaseConfig, first_steps
from yue_jax.progress import Progress
from yue_jax.sharding import SPECS, check_divisible, make_mesh
from yue_jax.train.rows import describe_samples
from yue_jax.train.saving import SaveTimes
from yue_jax.train.skipping import Skips
from yue_jax.train.state import (
  TrainState,
  abstract_state,
  init_params,
  init_state,
  resize_vocabulary,
)
from yue_jax.train.step import make_eval_step, make_train_step
from yue_jax.train.stopping import StopRequests
from yue_jax.vocab import Stream

_log = logging.getLogger(__name__)


class Run:
  """A training run, opened: fresh, from given weights, or where it stopped.

  Opening finds what is wrong with config, data or checkpoints (ValueError,
  OSError); `train` then takes all the steps that are left.

  Attributes:
    stopped: whether it was asked to stop before its last step.
  """

  stopped = False

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
    self._rate = learning_rate(cfg.phases)
    self._course = Course(
      cfg.phases, cfg.data, vocab=cfg.vocab, cache=run_dir / "plans"
    )
    self._checkpointer = checkpoint.Checkpointer(
      run_dir, cfg, data=_description(self._course)
    )
    with jax.set_mesh(self._mesh):
      self._state, self._first_step = _start(
        cfg, self._mesh, self._checkpointer
      )
      jax.block_until_ready(self._state)
      self._train_step = make_train_step(
        cfg.model, cfg.loss, make_optimizer(cfg.optimizer, self._rate)
      )
      self._eval_step = make_eval_step(cfg.model)
    if self._first_step > cfg.last_step:
      raise ValueError(
        f"{run_dir} is at step {self._first_step}, beyond the last step"
        f" {cfg.last_step}; raise train.last_step, append a phase, or use"
        " another run directory"
      )
    if jax.process_index() == 0:
      run_dir.mkdir(parents=True, exist_ok=True)
      text = json.dumps(config.to_json(cfg), indent=2)
      (run_dir / "config.json").write_text(text + "\n")
    self._writer = metrics.MetricWriter(run_dir, resumed_at=self._first_step)
    # CPU devices share one pool of threads: a device that runs ahead into the
    # collectives of the next step can keep another from ending this one.
    self._in_turn = self._mesh.devices.flat[0].platform == "cpu"
    self._meter = _Meter(cfg, self._mesh.size)
    self._save_times = SaveTimes(cfg.train)
    self._skips = Skips(cfg.train.max_skipped_steps)

  def train(self) -> TrainState:
    """Trains to the last step, or until asked to stop; returns the state."""
    last = self._cfg.last_step
    _log.info("at step %d of %d", self._first_step, last)
    shown = jax.process_index() == 0
    with (
      jax.set_mesh(self._mesh),
      StopRequests(self._first_step) as self._stop_requests,
      Progress(
        last, "steps", "training", start=self._first_step, shown=shown
      ) as progress,
    ):
      state, self._state = self._state, None  # the first step donates it
      for phase, first, stop in self._stretches():
        _log.info("phase %s: steps %d to %d", phase.config.name, first, stop)
        self._evaluations = self._course.evaluations(
          phase.config, self._cfg.train.eval_samples
        )
        state = self._take(state, phase, first, stop, progress)
        if self.stopped:
          break
    self._checkpointer.close()
    self._writer.close()
    if self.stopped:
      saved = self._checkpointer.latest_step
      _log.warning("asked to stop: saved at step %d, to be continued", saved)
    return state

  def _stretches(self) -> Iterator[tuple[OpenedPhase, int, int]]:
    """Phases with the steps that are left of each, counted in the run."""
    starts = first_steps(self._cfg.phases)
    for phase, start, stop in zip(
      self._course.phases, starts[:-1], starts[1:], strict=True
    ):
      first = max(start, self._first_step)
      stop = min(stop, self._cfg.last_step)
      if first < stop:
        yield phase, first, stop

  def _layout(self, phase: PhaseConfig) -> dict:
    return {
      "samples_per_step": phase.samples,
      "microbatches": phase.microbatches,
      "sharding": jax.NamedSharding(self._mesh, SPECS.batch_abt),
    }

  def _take(
    self,
    state: TrainState,
    phase: OpenedPhase,
    first: int,
    stop: int,
    progress: Progress,
  ) -> TrainState:
    """Takes the steps from `first` up to but not `stop` of one phase."""
    every = self._cfg.train
    start = self._start_of(phase)
    batches = pipeline.train_batches(
      phase.mixture,
      **self._layout(phase.config),
      first_step=first - start,
      last_step=stop - start,
    )
    pending = None
    for step, batch in enumerate(batches, start=first + 1):
      state, result = self._train_step(state, batch)
      if self._in_turn:
        jax.block_until_ready(state)
      if pending is not None:
        self._log(*pending)
      pending = (step, result, phase)
      last = step == self._cfg.last_step
      self.stopped = self._stop_requests.reached(step) and not last
      evaluate = last or _due(step, every.eval_every)
      save = last or self.stopped or self._save_times.due(step)
      if evaluate or save or step == stop:
        self._log(*pending)
        pending = None
      if evaluate:
        self._evaluate(state.params, step, phase.config)
      if save:
        self._checkpointer.save(state, step)
        self._save_times.saved(step)
      progress.advance(note=self._meter.note)
      if self.stopped:
        break
    return state

  def _start_of(self, phase: OpenedPhase) -> int:
    return first_steps(self._cfg.phases)[self._course.phases.index(phase)]

  def _log(self, step: int, result, phase: OpenedPhase) -> None:
    """Blocks until the step is done; writes a record where one is due.

    Raises:
      ValueError: the loss weighs nothing of what the data hold.
      FloatingPointError: too many updates in a row were not finite.
    """
    result = jax.device_get(result)
    if not result["weight"]:
      raise ValueError(
        f"step {step}: no token of the batch has a weight; its streams are"
        f" {_names(result['tokens'])}, loss.weights {self._cfg.loss.weights}"
      )
    self._skips.count(result["skipped"])
    if result["skipped"]:
      self._not_finite(step, result, phase)
    self._meter.count(result, phase.config)
    if step != self._cfg.last_step and not _due(
      step, self._cfg.train.log_every
    ):
      return
    values = {
      "loss": float(result["loss"]),
      **metrics.losses_by_stream(result["nats"], result["tokens"]),
      "grad_norm": float(result["grad_norm"]),
      "learning_rate": float(self._rate(step - 1)),
      "skipped": self._skips.read(),
      **self._meter.read(),
    }
    self._writer.write(step, "train", values)

  def _not_finite(self, step: int, result, phase: OpenedPhase) -> None:
    """Says which samples gave a skipped update; the last straw is an error."""
    found = (
      f"step {step}: loss {result['loss']}, gradient norm"
      f" {result['grad_norm']}, from"
      f" {describe_samples(phase, step - 1 - self._start_of(phase))}"
    )
    if not self._skips.too_many:
      _log.warning("%s; this update is skipped", found)
      return
    self._checkpointer.close()  # a save under way is finished first
    raise FloatingPointError(
      f"{found}. More than train.max_skipped_steps ="
      f" {self._cfg.train.max_skipped_steps} updates in a row were not finite."
      f" The last good checkpoint is that of step"
      f" {self._checkpointer.latest_step}. A lower rate.peak or another"
      " data.seed may help."
    )

  def _evaluate(self, params, step: int, phase: PhaseConfig) -> None:
    """One record for every held-out set, by name."""
    for name, samples in self._evaluations.items():
      batches = pipeline.eval_batches(samples, **self._layout(phase))
      # One at a time: programs that do not depend on each other may start in
      # another order on another device, and their collectives then wait for
      # each other for ever. Summed on the host, in float64.
      nats, tokens = np.zeros(N_STREAMS), np.zeros(N_STREAMS)
      for batch in batches:
        sums = jax.device_get(self._eval_step(params, batch))
        nats += sums["nats"]
        tokens += sums["tokens"]
      values = metrics.losses_by_stream(nats, tokens)
      _log.info("step %d %s: %s", step, name, values)
      self._writer.write(step, f"eval/{name}", values)
    self._meter.pause()


def _description(course: Course) -> checkpoint.DataDescription:
  return checkpoint.DataDescription(
    tokenizer=course.tokenizer,
    window=course.window,
    phases=tuple(phase.fingerprints for phase in course.phases),
  )


def _start(cfg: RunConfig, mesh, checkpointer) -> tuple[TrainState, int]:
  """The restored state, or else given weights, or else fresh ones."""
  tx = make_optimizer(cfg.optimizer, learning_rate(cfg.phases))

  def fresh():
    return init_state(init_params(cfg.model, cfg.seed), tx)

  if checkpointer.latest_step is not None:
    like = abstract_state(cfg.model, tx, mesh)
    return checkpointer.restore(like), checkpointer.latest_step
  if cfg.initial_weights:
    weights = checkpoint.load_weights(cfg.initial_weights, mesh)
    checkpoint.check_same_model(weights, cfg.model, cfg.vocab)
    rows = cfg.model.vocab_size

    def given(params):
      return init_state(resize_vocabulary(params, rows), tx)

    return jax.jit(given)(weights.params), 0
  return jax.jit(fresh)(), 0


@dataclasses.dataclass
class _Meter:
  """Tokens per second and MFU since the record before."""

  cfg: RunConfig
  devices: int
  note: str = ""
  _slots: int = 0
  _full_flops: float = 0.0
  _tokens: float = 0.0
  _keys: float = 0.0
  _seconds: float = 0.0
  _since: float = dataclasses.field(default_factory=time.monotonic)

  def count(self, result, phase: PhaseConfig) -> None:
    now = time.monotonic()
    self._seconds += now - self._since
    self._since = now
    self._slots += phase.tokens_per_step
    self._full_flops += (
      phase.tokens_per_step
      * accounting.train_flops_per_token_full(self.cfg.model, phase.context)
    )
    self._tokens += float(result["inputs"])
    self._keys += float(result["keys"])
    self.note = f"loss {float(result['loss']):.3f}"

  def pause(self) -> None:
    """Forgets the time since the last count, spent on something else."""
    self._since = time.monotonic()

  def read(self) -> dict[str, float | None]:
    """Rates since the last reading; starts anew."""
    model, device = self.cfg.model, jax.devices()[0]
    # A token of a causal document attends to (length + 1) / 2 keys.
    length = 2 * self._keys / self._tokens - 1
    causal = self._tokens * accounting.train_flops_per_token(model, length)
    device_seconds = self._seconds * self.devices
    values = {
      "tokens_per_second": self._tokens / self._seconds,
      "fill": self._tokens / self._slots,
      "mfu": metrics.utilisation(causal / device_seconds, device),
      "mfu_full": metrics.utilisation(
        self._full_flops / device_seconds, device
      ),
    }
    self._slots, self._full_flops = 0, 0.0
    self._tokens, self._keys, self._seconds = 0.0, 0.0, 0.0
    return values


def _names(tokens) -> list[str]:
  return [s.name.lower() for s in Stream if tokens[s]]


def _due(step: int, every: int) -> bool:
  return every > 0 and step % every == 0
