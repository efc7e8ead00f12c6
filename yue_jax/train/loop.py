"""The training loop: the order of its side effects, and why.

Every turn:
  1. take the batch of this step: a function of (data sets, phases, seed, step);
  2. dispatch the step: an accelerator works while the host goes on;
  3. report the step before, which is ready by now;
  4. ask whether to stop, the same question in every process;
  5. evaluate, if due, by held-out losses and by what else was asked for;
  6. save, if due, after the reports up to this step are on disk, so that a
     continuation never finds a checkpoint ahead of its metrics.

A run continues by itself when its directory holds a checkpoint: the state is
restored, the data start at the restored step and metrics after it are dropped.
Phases follow one another without a stop; each has its own shape of batch, and
its steps are compiled once, before its first batch is read. Nothing moves
between host and devices but what says so.
"""

from collections.abc import Iterator, Sequence
import contextlib
import itertools
import json
import logging

from etils import epath
import jax
import numpy as np

from yue_jax import checkpoint, config, metrics
from yue_jax.config import RunConfig
from yue_jax.data import pipeline
from yue_jax.data.course import Course, OpenedPhase
from yue_jax.locations import check_locations
from yue_jax.losses import N_STREAMS
from yue_jax.optimizer import optimizer_of
from yue_jax.phases import first_steps
from yue_jax.progress import Progress
from yue_jax.sharding import check_divisible, make_mesh
from yue_jax.train.evaluators import Evaluator
from yue_jax.train.goodput import Goodput
from yue_jax.train.profiling import Profiler
from yue_jax.train.reports import Reports
from yue_jax.train.rows import batch_layout
from yue_jax.train.saving import SaveTimes
from yue_jax.train.start import load_base, start
from yue_jax.train.state import TrainState
from yue_jax.train.step import lower_train_step, make_eval_step
from yue_jax.train.stopping import StopRequests
from yue_jax.train.watchdog import Watchdog

_log = logging.getLogger(__name__)


class Run:
  """A training run, opened: fresh, from given weights, or where it stopped.

  Opening finds what is wrong with config, data or checkpoints (ValueError,
  OSError); `train` then takes all the steps that are left.

  Attributes:
    stopped: whether it was asked to stop before its last step.
  """

  def __init__(
    self,
    cfg: RunConfig,
    run_dir: epath.PathLike,
    *,
    local_dir: epath.PathLike | None = None,
    devices: Sequence[jax.Device] | None = None,
    evaluators: Sequence[Evaluator] = (),
  ):
    """Opens the run in `run_dir`, on all devices unless some are given.

    Args:
      cfg: all of it.
      run_dir: on a disk or in a bucket; shared by all processes.
      local_dir: for what needs a disk, if `run_dir` is none.
      devices: to use.
      evaluators: measure the weights every so often.
    """
    self._goodput, self.stopped = Goodput(), False
    self._cfg, run_dir = cfg, epath.Path(run_dir)
    local_dir = check_locations(cfg, run_dir, local_dir)
    check_divisible(cfg.model, cfg.mesh)
    self._mesh = make_mesh(cfg.mesh, devices)
    self._course = Course(
      cfg.phases, cfg.data, vocab=cfg.vocab, cache=local_dir / "plans"
    )
    data = _description(self._course)
    self._evaluators = evaluators
    for evaluator in evaluators:
      evaluator.open(self._mesh, data)
    base = load_base(cfg, self._mesh)
    self._checkpointer = checkpoint.Checkpointer(
      run_dir, cfg, data=data, base=base.fingerprint
    )
    with jax.set_mesh(self._mesh):
      tx = optimizer_of(cfg)
      self._state, self._first_step = start(
        cfg, tx, self._mesh, self._checkpointer, base
      )
      jax.block_until_ready(self._state)
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
    self._writer = metrics.MetricWriter(
      run_dir, local_dir, resumed_at=self._first_step
    )
    self._reports = Reports(cfg, self._writer, devices=self._mesh.size)
    self._save_times = SaveTimes(cfg.train)
    self._profiler = Profiler(local_dir, cfg.train.profile_steps)
    self._watchdog = Watchdog(
      cfg.train.watchdog_minutes,
      local_dir / f"stacks-{jax.process_index()}.txt",
    )
    self._stop_requests = StopRequests(self._first_step)
    # CPU devices share one pool of threads: a device that runs ahead into the
    # collectives of the next step can keep another from ending this one.
    self._in_turn = self._mesh.devices.flat[0].platform == "cpu"
    self._goodput.open(run_dir, resumed_at=self._first_step)

  def train(self) -> TrainState:
    """Trains to the last step, or until asked to stop; returns the state.

    Raises:
      FloatingPointError: too many updates in a row were not finite.
    """
    _log.info("at step %d of %d", self._first_step, self._cfg.last_step)
    with contextlib.ExitStack() as stack:
      stack.enter_context(jax.set_mesh(self._mesh))
      stack.enter_context(jax.transfer_guard("disallow"))
      for guard in (self._stop_requests, self._profiler, self._watchdog):
        stack.enter_context(guard)
      self._goodput.lap("start")
      try:
        state = self._take_all()
      except FloatingPointError as error:
        self._checkpointer.close()  # a save under way is finished first
        error.add_note(f"The last good checkpoint is that of {self._saved()}.")
        raise
      self._checkpointer.close()
    self._goodput.lap("checkpoint")
    self._goodput.write(self._checkpointer.latest_step)
    self._goodput.close()
    self._writer.close()
    if self.stopped:
      _log.warning("asked to stop: saved at %s, to be continued", self._saved())
    return state

  def _saved(self) -> str:
    return f"step {self._checkpointer.latest_step}"

  def _take_all(self) -> TrainState:
    state, self._state = self._state, None  # the first step donates it
    with Progress(
      self._cfg.last_step,
      "steps",
      "training",
      start=self._first_step,
      shown=jax.process_index() == 0,
    ) as progress:
      for number, first, stop in self._stretches():
        state = self._take(state, number, first, stop, progress)
        if self.stopped:
          break
    return state

  def _stretches(self) -> Iterator[tuple[int, int, int]]:
    """Phases with the steps that are left of each, counted in the run."""
    starts = first_steps(self._cfg.phases)
    for number, (begin, end) in enumerate(itertools.pairwise(starts)):
      first = max(begin, self._first_step)
      stop = min(end, self._cfg.last_step)
      if first < stop:
        yield number, first, stop

  def _take(
    self,
    state: TrainState,
    number: int,
    first: int,
    stop: int,
    progress: Progress,
  ) -> TrainState:
    """Takes the steps from `first` up to but not `stop` of one phase."""
    phase = self._course.phases[number]
    begin = first_steps(self._cfg.phases)[number]
    self._evaluations = self._course.evaluations(
      phase.config, self._cfg.train.eval_samples
    )
    _log.info("phase %s: steps %d to %d", phase.config.name, first, stop)
    train_step = self._compile(number)
    batches = pipeline.train_batches(
      phase.mixture,
      **batch_layout(phase.config, self._mesh),
      first_step=first - begin,
      last_step=stop - begin,
    )
    unreported = None
    for step, batch in enumerate(_placed(batches), start=first + 1):
      self._goodput.lap("data")
      self._profiler.before(step)
      state, result = train_step(state, batch)
      self._profiler.after(step, state)
      if self._in_turn:
        jax.block_until_ready(state)
      if unreported is not None:
        self._report(*unreported)
      unreported = step, result, phase, step - 1 - begin
      last = step == self._cfg.last_step
      self.stopped = self._stop_requests.reached(step) and not last
      evaluate = last or _due(step, self._cfg.train.eval_every)
      save = last or self.stopped or self._save_times.due(step)
      asked = [e for e in self._evaluators if _due(step, e.every)]
      if evaluate or asked or save or step == stop:
        self._report(*unreported)
        unreported = None
      if evaluate:
        self._evaluate(state.weights, step, phase)
      for evaluator in asked:
        self._ask(evaluator, state.weights, step)
      if save:
        self._save(state, step)
      progress.advance(note=self._reports.note)
      if self.stopped:
        break
    return state

  def _compile(self, number: int):
    """The training step of a phase; it refuses any other shape or layout."""
    self._watchdog.pause()
    self._eval_step = None  # compiled when it is first needed
    self._goodput.lap("data")
    compiled = lower_train_step(self._cfg, self._mesh, phase=number).compile()
    self._goodput.lap("compile")
    self._reports.pause()
    return compiled

  def _report(
    self, step: int, result, phase: OpenedPhase, in_phase: int
  ) -> None:
    self._reports.step(step, result, phase, in_phase=in_phase)
    self._watchdog.beat()
    self._goodput.lap("step")
    if _due(step, self._cfg.train.log_every):
      self._goodput.write(step)

  def _save(self, state: TrainState, step: int) -> None:
    self._writer.flush()
    self._goodput.flush()
    with jax.transfer_guard("allow"):  # Orbax fetches what it writes
      self._checkpointer.save(state, step)
    self._save_times.saved(step)
    self._goodput.lap("checkpoint")
    self._goodput.write(step)

  def _evaluate(self, params, step: int, phase: OpenedPhase) -> None:
    """One record for every held-out set, by name."""
    for name, samples in self._evaluations.items():
      # One at a time: programs that do not depend on each other may start in
      # another order on another device, and their collectives then wait for
      # each other for ever. Summed on the host, in float64.
      nats, tokens = np.zeros(N_STREAMS), np.zeros(N_STREAMS)
      batches = pipeline.eval_batches(
        samples, **batch_layout(phase.config, self._mesh)
      )
      for batch in _placed(batches):
        if self._eval_step is None:
          self._goodput.lap("evaluation")
          lowered = make_eval_step(self._cfg.model, self._cfg.loss).lower(
            params, batch
          )
          self._eval_step = lowered.compile()
          self._goodput.lap("compile")
        sums = jax.device_get(self._eval_step(params, batch))
        nats += sums["nats"]
        tokens += sums["tokens"]
        self._watchdog.beat()
      values = {
        "loss": metrics.weighted_loss(nats, tokens, self._cfg.loss.table),
        **metrics.losses_by_stream(nats, tokens),
      }
      _log.info("step %d %s: %s", step, name, values)
      self._writer.write(step, f"eval/{name}", values)
    self._goodput.lap("evaluation")
    self._reports.pause()

  def _ask(self, evaluator: Evaluator, params, step: int) -> None:
    self._watchdog.pause()  # it may compile first
    with jax.transfer_guard("allow"):
      values = evaluator.evaluate(params, step, alive=self._watchdog.beat)
    self._watchdog.beat()
    self._writer.write(step, evaluator.kind, values)
    self._goodput.lap("evaluation")
    self._reports.pause()


def _placed(batches: Iterator[pipeline.Batch]) -> Iterator[pipeline.Batch]:
  """The batches; making arrays of them counts as an implicit transfer."""
  while True:
    with jax.transfer_guard("allow"):
      batch = next(batches, None)
    if batch is None:
      return
    yield batch


def _description(course: Course) -> checkpoint.DataDescription:
  return checkpoint.DataDescription(
    tokenizer=course.tokenizer,
    window=course.window,
    phases=tuple(phase.fingerprints for phase in course.phases),
  )


def _due(step: int, every: int) -> bool:
  return every > 0 and step % every == 0
