"""A step taken again reads what the run read, and names what is broken."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from tests import songs_on_disk as disk
from tests import tiny
from tests.conftest import ROOT
from yue_jax import config
from yue_jax.data.dataset import open_dataset
from yue_jax.metrics import read_metrics
from yue_jax.train import loop
from yue_jax.train.replay import Replay, broken_weights

STEPS = 7  # four, and three of another shape
DEVICES = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A finished run's directory, and the batches that it read."""
  root = tmp_path_factory.mktemp("replay")
  data = disk.prepared(root, 20)
  tree = tiny.run_dict(
    vocab=open_dataset(data).vocab.to_json(),
    mesh={"fsdp": 2, "tensor": 2},
    phases=[
      tiny.phase_dict(str(data), steps=4, context=64, samples=4, name="a")
      | {"microbatches": 2, "rate": {"peak": 1e-2}},
      tiny.phase_dict(str(data), steps=3, context=32, samples=2, name="b")
      | {"rate": {"peak": 1e-2}},
    ],
    train={"log_every": 1, "checkpoint_every": 2, "keep_checkpoints": 9},
  )
  tree["model"]["vocab_size"] = 512
  batches, placed = [], loop._placed

  def watched(given):
    for batch in placed(given):
      batches.append(jax.device_get(batch))
      yield batch

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(loop, "_placed", watched)
    cfg = config.from_config_dict(tree)
    loop.Run(cfg, root / "run", devices=jax.devices()[:DEVICES]).train()
  assert len(batches) == STEPS
  return root / "run", batches


@pytest.fixture(scope="module")
def replay(run) -> Replay:
  return Replay(run[0], devices=jax.devices()[:DEVICES])


def test_batches_are_those_of_the_run(run, replay):
  for step, expected in enumerate(run[1], start=1):
    got = jax.device_get(replay.batch(step))
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    assert jax.tree.structure(got) == jax.tree.structure(expected)


@pytest.mark.parametrize("step", [1, 5])
def test_losses_are_those_of_the_run(run, replay, step):
  """Bit for bit, with the weights of the step before and the same mesh."""
  params, saved = replay.weights(step)
  assert saved == step - 1
  result, gradients = replay.take(params, replay.batch(step))
  record = read_metrics(run[0] / "metrics.jsonl")[step - 1]
  assert record["step"] == step
  assert float(result["loss"]) == record["loss"]
  assert float(result["grad_norm"]) == pytest.approx(record["grad_norm"])
  squares = sum(np.sum(g["norm"] ** 2) for g in gradients.values())
  assert np.sqrt(squares) == pytest.approx(record["grad_norm"], rel=1e-5)
  assert gradients["blocks/mlp/up"]["norm"].shape == (2,)


def test_rows_add_up_to_the_step(replay):
  params, _ = replay.weights(3)
  batch = replay.batch(3)
  losses = np.array(list(replay.loss_by_row(params, batch)))
  table = np.array(replay.cfg.loss.table)
  weights = table[np.asarray(batch["streams"]).reshape(4, -1)].sum(axis=1)
  result, _ = replay.take(params, batch)
  mean = np.sum(losses * weights) / np.sum(weights)
  assert mean == pytest.approx(result["loss"], rel=1e-5)
  assert len(set(losses)) == 4


def test_broken_weights_and_gradients_are_named(replay):
  params, _ = replay.weights(1)
  assert broken_weights(params) == {}
  up = jax.device_get(params["blocks"]["mlp"]["up"]).copy()
  up[1, 0, :3] = np.nan
  sharding = params["blocks"]["mlp"]["up"].sharding
  params["blocks"]["mlp"]["up"] = jax.device_put(up, sharding)
  assert broken_weights(params) == {"blocks/mlp/up": 3}
  _, gradients = replay.take(params, replay.batch(1))
  assert gradients["blocks/mlp/down"]["bad"].all()  # all lie on the way


@pytest.mark.parametrize("step", [0, STEPS + 1])
def test_other_steps_are_an_error(replay, step):
  with pytest.raises(ValueError, match=r"none of the run's, 1 to 7"):
    replay.batch(step)


def replay_step(run_dir, *flags: str) -> subprocess.CompletedProcess:
  command = [sys.executable, "tools/replay_step.py", str(run_dir), *flags]
  return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_tool(run, replay, tmp_path):
  """On another mesh: the same batch, and losses within rounding."""
  path = tmp_path / "batch.npz"
  done = replay_step(run[0], "--step=6", "--fsdp=2", f"--save={path}")
  assert done.returncode == 0, done.stderr[-2000:]
  first, losses, *rows = done.stdout.splitlines()
  assert first == "step 6 with the weights of step 4"
  result, _ = replay.take(replay.weights(6)[0], replay.batch(6))
  assert float(losses.split()[1].rstrip(",")) == pytest.approx(
    result["loss"], rel=1e-4
  )
  assert len(rows) == 2
  row = replay.rows(6)[1]
  assert rows[1].startswith("row 1: loss ")
  document, start, length = row.pieces[0]
  assert (
    f"sample {row.sample} of the phase, {row.number} of 'songs', epoch"
    f" {row.epoch}, documents {document} from token {start} on, {length}"
  ) in rows[1]
  with np.load(path, allow_pickle=False) as saved:
    for name, values in run[1][5].items():
      np.testing.assert_array_equal(saved[name], values)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--step=9"], "step 9 is none of the run's, 1 to 7"),
    (["--step=1", "--tensor=4"], "model.kv_heads=2 is not divisible"),
  ],
)
def test_the_tool_names_mistakes(run, flags, message):
  assert message in replay_step(run[0], *flags).stderr.splitlines()[-1]
