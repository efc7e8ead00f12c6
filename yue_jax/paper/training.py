"""Trains the runs of claims: a process of `yue_jax.main` each.

    FOLDER/run.json       the run
        start.json        the config it became
        log.txt           what its processes said
        checkpoints/      and all else that training writes

A run that was interrupted goes on from its last checkpoint; one that is done
is not started again.
"""

from collections.abc import Sequence
import json
import os
import pathlib
import subprocess
import sys
import threading

from yue_jax import config, phases
from yue_jax.checkpoint import finished_steps
from yue_jax.paper import corpora
from yue_jax.paper.cases import Phase, Run, Shape, to_json
from yue_jax.vocab import Vocab

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
EXPERIMENT = "experiments/paper/run.py"
_EVERY = 200  # steps between two checkpoints
_POSITIONS = 1.5  # of the context: a model may sing longer than the songs
# Text is random, hence measured only; all else is trained.
_WEIGHTS = {
  name: 1.0
  for name in ("restated", "mark", "reference", "vocal", "backing", "mixture")
}


class TrainingError(RuntimeError):
  """A process of training ended with an error."""


class Trainer:
  """Starts processes, and ends those that run when it is closed."""

  def __init__(self, root: pathlib.Path):
    """Runs and corpora lie in `root`/runs and `root`/corpora."""
    self._root = root.absolute()
    self._processes: set[subprocess.Popen] = set()
    self._lock, self._closed = threading.Lock(), False

  def folder(self, run: Run) -> pathlib.Path:
    return self._root / "runs" / run.name

  def corpus(self, run: Run) -> pathlib.Path:
    return self._root / "corpora" / run.corpus.name

  def is_done(self, run: Run) -> bool:
    last = sum(phase.steps for phase in run.phases)
    return last in finished_steps(self.folder(run))

  def train(self, run: Run) -> None:
    """Trains a run to its end; its corpus must be there."""
    if self.is_done(run):
      return
    folder = self.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    made = run_config(run, self.corpus(run))
    (folder / "run.json").write_text(to_json(run))
    text = json.dumps(config.to_json(made), indent=1)
    (folder / "start.json").write_text(text + "\n")
    with (folder / "log.txt").open("a") as log:
      code = self._wait(self.command(run), log)
    if code or not self.is_done(run):
      raise TrainingError(
        f"training in {folder} ended with {code}; its log.txt says why, and"
        " the same command goes on from its last checkpoint"
      )

  def command(self, run: Run) -> list[str]:
    folder = self.folder(run)
    return [
      sys.executable,
      "-m",
      "yue_jax.main",
      f"--config={EXPERIMENT}:{folder / 'start.json'}",
      f"--run_dir={folder}",
    ]

  def close(self) -> None:
    """Asks all processes to save and stop, and waits for them."""
    with self._lock:
      self._closed = True
      running = list(self._processes)
    for process in running:
      process.terminate()
    for process in running:
      process.wait()

  def _wait(self, command: Sequence[str], log) -> int:
    with self._lock:
      if self._closed:
        raise TrainingError("training was stopped before it began")
      process = subprocess.Popen(
        command, cwd=ROOT, env=self._environment(), stdout=log, stderr=log
      )
      self._processes.add(process)
    try:
      return process.wait()
    finally:
      with self._lock:
        self._processes.discard(process)

  def _environment(self) -> dict[str, str]:
    """One thread a process, since several run side by side."""
    return {
      **os.environ,
      "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
      "OMP_NUM_THREADS": "1",
      "JAX_COMPILATION_CACHE_DIR": str(self._root / "compiled"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def run_config(run: Run, corpus: pathlib.Path) -> config.RunConfig:
  """What `yue_jax.main` trains."""
  vocab = corpora.vocabulary(corpus, run.corpus)
  return config.RunConfig(
    seed=run.seed,
    vocab=vocab,
    model=model_config(run.shape, vocab, context=run.context),
    mesh=config.MeshConfig(),
    data=phases.DataConfig(seed=run.seed),
    phases=tuple(
      _phase(f"phase{number}", phase, corpus / "train")
      for number, phase in enumerate(run.phases, start=1)
    ),
    optimizer=config.OptimizerConfig(),
    loss=config.LossConfig(weights=_WEIGHTS),
    train=config.TrainConfig(
      log_every=10, checkpoint_every=_EVERY, keep_checkpoints=1
    ),
  )


def model_config(
  shape: Shape, vocab: Vocab, *, context: int
) -> config.ModelConfig:
  return config.ModelConfig(
    vocab_size=vocab.padded_size(64),
    width=shape.width,
    mlp_width=3 * shape.width,
    layers=shape.layers,
    heads=shape.heads,
    kv_heads=shape.heads,
    max_positions=round(_POSITIONS * context),
    dtype="float32",
    remat="none",
  )


def _phase(name: str, phase: Phase, data: pathlib.Path) -> phases.PhaseConfig:
  step = phase.samples * phase.context
  return phases.PhaseConfig(
    name=name,
    tokens=phase.steps * step,
    context=phase.context,
    samples=phase.samples,
    rate=phases.RateConfig(
      peak=phase.peak,
      final=phase.final,
      warmup_tokens=phase.warmup * step,
      decay_tokens=phase.decay * step,
    ),
    mixture={
      kind: phases.SourceConfig(
        data=str(data), kind=kind, weight=weight, order=phase.order
      )
      for kind, weight in phase.kinds
    },
  )
