"""Numbers of a run, with their conventions, and where they are written.

Losses are nats per token of their stream. Throughput counts tokens without
padding. MFU is given by two conventions (see `accounting`): `mfu` counts
those tokens and the keys they attend to; `mfu_full` counts every slot of the
batch and the full square of the context, as most published figures do.
"""

from collections.abc import Mapping
import json
from typing import Any

from etils import epath
import jax
import numpy as np
import tensorboardX

from yue_jax import chips
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


def utilisation(flops_per_second: float, device: jax.Device) -> float | None:
  """Fraction of the device's peak; None where the peak is not known."""
  peak = chips.peak_flops(device.device_kind)
  return None if peak is None else flops_per_second / peak


class MetricWriter:
  """Appends to metrics.jsonl and TensorBoard events; process 0 speaks."""

  def __init__(self, run_dir: epath.PathLike, *, resumed_at: int):
    """Drops what was written after step `resumed_at`: it will come again."""
    self._events = self._file = None
    if jax.process_index() != 0:
      return
    path = epath.Path(run_dir) / "metrics.jsonl"
    kept = [r for r in read_metrics(path) if r["step"] <= resumed_at]
    # Replaced in one move: a kill in between must not lose the history.
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(r) + "\n" for r in kept))
    temporary.replace(path)
    self._file = path.open("a")
    self._events = tensorboardX.SummaryWriter(
      str(run_dir), purge_step=resumed_at + 1, max_queue=100, flush_secs=30
    )

  def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
    """Writes one record: `kind` is "train" or "eval/<held-out set>"."""
    if self._file is None:
      return
    record = {"step": step, "kind": kind, **values}
    self._file.write(json.dumps(record) + "\n")
    self._file.flush()
    for name, value in values.items():
      if value is not None:
        self._events.add_scalar(f"{kind}/{name}", value, step)

  def close(self) -> None:
    if self._file is not None:
      self._file.close()
      self._events.close()


def read_metrics(path: epath.PathLike) -> list[dict[str, Any]]:
  """The records of a metrics.jsonl, in order.

  A last line without its newline was cut off by a kill, and is not a record.
  """
  path = epath.Path(path)
  if not path.exists():
    return []
  lines = path.read_text().split("\n")[:-1]
  return [json.loads(line) for line in lines]
