"""Numbers of a run, with their conventions, and where they are written.

Losses are nats per token of their stream. Throughput counts tokens without
padding. MFU is given by two conventions (see `accounting`): `mfu` counts
those tokens and the keys they attend to; `mfu_full` counts every slot of the
batch and the full square of the context, as most published figures do.
"""

from collections.abc import Mapping, Sequence
import math
from typing import Any

from etils import epath
import jax
import numpy as np

from yue_jax import chips
from yue_jax.json_lines import JsonLines, read_lines
from yue_jax.vocab import Stream


def losses_by_stream(nats, tokens) -> dict[str, float]:
  """Nats per token of every stream that has tokens.

  Example: 6 nats over 3 text tokens give {"loss/text": 2.0}.
  """
  nats, tokens = np.asarray(nats), np.asarray(tokens)
  return {
    f"loss/{stream.name.lower()}": float(nats[stream] / tokens[stream])
    for stream in Stream
    if tokens[stream]
  }


def weighted_loss(nats, tokens, weights: Sequence[float]) -> float:
  """Nats per token over all streams, each weighted as in the training loss.

  NaN where no token has a weight. Arguments by stream number.
  """
  weights = np.asarray(weights)
  weight = weights @ np.asarray(tokens)
  return float(weights @ np.asarray(nats) / weight) if weight else math.nan


def utilisation(flops_per_second: float, device: jax.Device) -> float | None:
  """Fraction of the device's peak; None where the peak is not known."""
  peak = chips.peak_flops(device.device_kind)
  return None if peak is None else flops_per_second / peak


class MetricWriter:
  """Appends to metrics.jsonl and TensorBoard events; process 0 speaks."""

  def __init__(
    self,
    run_dir: epath.PathLike,
    local_dir: epath.PathLike,
    *,
    resumed_at: int,
  ):
    """Drops what was written after step `resumed_at`: it will come again.

    Args:
      run_dir: of metrics.jsonl.
      local_dir: of the events, on a disk.
      resumed_at: steps that were taken before.
    """
    self._events = self._file = None
    if jax.process_index() != 0:
      return
    import tensorboardX  # slow: it imports PyTorch where that is installed

    self._file = JsonLines(
      epath.Path(run_dir) / "metrics.jsonl",
      keep=lambda record: record["step"] <= resumed_at,
    )
    self._events = tensorboardX.SummaryWriter(
      str(local_dir), purge_step=resumed_at + 1, max_queue=100, flush_secs=30
    )

  def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
    """Writes one record: `kind` is "train", "eval/<held-out set>" or that
    of an evaluator.

    What is not finite, as the loss of a skipped step, is written as null.
    """
    if self._file is None:
      return
    values = {k: _finite(v) for k, v in values.items()}
    self._file.write({"step": step, "kind": kind, **values})
    for name, value in values.items():
      if value is not None:
        self._events.add_scalar(f"{kind}/{name}", value, step)

  def flush(self) -> None:
    """Call before a checkpoint, which must not be ahead of its metrics."""
    if self._file is not None:
      self._file.flush()

  def close(self) -> None:
    if self._file is not None:
      self._file.close()
      self._events.close()


def read_metrics(path: epath.PathLike) -> list[dict[str, Any]]:
  """The records of a metrics.jsonl, in order; none if there is no file."""
  return read_lines(path)


def _finite(value: Any) -> Any:
  """JSON has no word for what is not a number."""
  return value if value is None or math.isfinite(value) else None
