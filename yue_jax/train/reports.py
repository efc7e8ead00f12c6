"""What is written down of every training step, and when one is the last straw.

A report waits for its step to end, so the loop asks for it one step late.
"""

import dataclasses
import logging
import time

import jax

from yue_jax import accounting, metrics
from yue_jax.config import RunConfig
from yue_jax.data.course import OpenedPhase
from yue_jax.optimizer import learning_rate
from yue_jax.phases import PhaseConfig
from yue_jax.train.rows import describe_samples
from yue_jax.train.skipping import Skips
from yue_jax.train.step import Metrics
from yue_jax.vocab import Stream

_log = logging.getLogger(__name__)


class Reports:
  """Reports of one run, step by step."""

  def __init__(
    self, cfg: RunConfig, writer: metrics.MetricWriter, *, devices: int
  ):
    self._cfg, self._writer = cfg, writer
    self._rate = learning_rate(cfg.phases)
    self._meter = _Meter(cfg, devices)
    self._skips = Skips(cfg.train.max_skipped_steps)

  @property
  def note(self) -> str:
    """The last step in a few words."""
    return self._meter.note

  def pause(self) -> None:
    """What passed since the last report was spent on something else."""
    self._meter.pause()

  def step(
    self, step: int, result: Metrics, phase: OpenedPhase, *, in_phase: int
  ) -> None:
    """Blocks until the step is done; writes a record where one is due.

    Args:
      step: steps taken in the run, this one included.
      result: what the step returned.
      phase: it belongs to.
      in_phase: number of the step in its phase, from 0.

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
      self._not_finite(step, result, describe_samples(phase, in_phase))
    self._meter.count(result, phase.config)
    every = self._cfg.train.log_every
    if step == self._cfg.last_step or step % every == 0:
      self._write(step, result)

  def _write(self, step: int, result: Metrics) -> None:
    with jax.transfer_guard("allow"):  # a few numbers, not of the step
      rate = float(self._rate(step - 1))
    values = {
      "loss": float(result["loss"]),
      **metrics.losses_by_stream(result["nats"], result["tokens"]),
      "grad_norm": float(result["grad_norm"]),
      "learning_rate": rate,
      "skipped": self._skips.read(),
      **self._meter.read(),
    }
    self._writer.write(step, "train", values)

  def _not_finite(self, step: int, result: Metrics, samples: str) -> None:
    """Says which samples gave a skipped update; the last straw is an error."""
    found = (
      f"step {step}: loss {result['loss']}, gradient norm"
      f" {result['grad_norm']}, from {samples}"
    )
    if self._skips.too_many:
      raise FloatingPointError(
        f"{found}. More than train.max_skipped_steps ="
        f" {self._cfg.train.max_skipped_steps} updates in a row were not"
        " finite. tools/replay_step.py shows which rows and which weights; a"
        " lower rate.peak or another data.seed may help."
      )
    _log.warning("%s; this update is skipped", found)


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
      * accounting.train_flops_per_token_full(
        self.cfg.model, phase.context, self.cfg.lora
      )
    )
    self._tokens += float(result["inputs"])
    self._keys += float(result["keys"])
    self.note = f"loss {float(result['loss']):.3f}"

  def pause(self) -> None:
    """Forgets the time since the last count, spent on something else."""
    self._since = time.monotonic()

  def read(self) -> dict[str, float | None]:
    """Rates since the last reading; starts anew."""
    cfg, device = self.cfg, jax.devices()[0]
    # A token of a causal document attends to (length + 1) / 2 keys.
    length = 2 * self._keys / self._tokens - 1
    causal = self._tokens * accounting.train_flops_per_token(
      cfg.model, length, cfg.lora
    )
    device_seconds = self._seconds * self.devices
    values = {
      "tokens_per_second": self._tokens / self._seconds,
      "fill": self._tokens / self._slots,
      "mean_segment": length,
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
