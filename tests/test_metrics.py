"""Metrics survive kills, and say what they count."""

import json

import numpy as np

from yue_jax import metrics
from yue_jax.vocab import Stream


def test_losses_by_stream():
  nats, tokens = np.zeros(len(Stream)), np.zeros(len(Stream))
  nats[Stream.TEXT], tokens[Stream.TEXT] = 6, 3
  assert metrics.losses_by_stream(nats, tokens) == {"loss/text": 2.0}


def write(run_dir, steps, *, resumed_at):
  writer = metrics.MetricWriter(run_dir, run_dir, resumed_at=resumed_at)
  for step in steps:
    writer.write(step, "train", {"loss": 1.0 / step, "mfu": None})
  writer.close()


def steps_of(run_dir):
  return [r["step"] for r in metrics.read_metrics(run_dir / "metrics.jsonl")]


def test_a_continuation_drops_what_will_come_again(tmp_path):
  write(tmp_path, range(1, 8), resumed_at=0)
  write(tmp_path, range(5, 9), resumed_at=4)
  assert steps_of(tmp_path) == list(range(1, 9))


def test_a_line_cut_off_by_a_kill_is_no_record(tmp_path):
  write(tmp_path, range(1, 4), resumed_at=0)
  path = tmp_path / "metrics.jsonl"
  path.write_text(path.read_text() + '{"step": 4, "lo')
  assert steps_of(tmp_path) == [1, 2, 3]
  write(tmp_path, [4], resumed_at=3)
  assert steps_of(tmp_path) == [1, 2, 3, 4]


def test_floats_are_written_exactly(tmp_path):
  value = float(np.float32(0.1))
  writer = metrics.MetricWriter(tmp_path, tmp_path, resumed_at=0)
  writer.write(1, "train", {"loss": value})
  writer.close()
  [record] = metrics.read_metrics(tmp_path / "metrics.jsonl")
  assert record["loss"] == value
  assert json.dumps(record["loss"]) == repr(value)


def test_utilisation_of_known_and_unknown_devices():
  class Chip:
    device_kind = "TPU v5"

  class Laptop:
    device_kind = "cpu"

  assert metrics.utilisation(459e12 / 2, Chip()) == 0.5
  assert metrics.utilisation(1e12, Laptop()) is None


def test_the_weighted_loss_is_that_of_training():
  nats, tokens = np.zeros(len(Stream)), np.zeros(len(Stream))
  nats[Stream.TEXT], tokens[Stream.TEXT] = 6, 3
  nats[Stream.VOCAL], tokens[Stream.VOCAL] = 4, 1
  weights = np.zeros(len(Stream))
  assert np.isnan(metrics.weighted_loss(nats, tokens, weights))
  weights[Stream.TEXT], weights[Stream.VOCAL] = 0.5, 1.0
  assert metrics.weighted_loss(nats, tokens, weights) == (3 + 4) / (1.5 + 1)
