"""A damaged checkpoint is found and kept, and a good one is used instead."""

import shutil

from etils import epath
import jax
import pytest

from tests import tiny
from tests.test_checkpoint import (
  DATA,
  abstract,
  assert_same,
  config_of,
  make_state,
)
from yue_jax import checkpoint
from yue_jax.checkpoint_files import (
  find_damage,
  set_damaged_aside,
  unfinished,
)
from yue_jax.weights import load_weights

# Reads that Orbax had begun when another one failed are never awaited.
pytestmark = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning",
  "ignore:coroutine:RuntimeWarning",
)
CFG = config_of(train={"keep_checkpoints": 9})
STEPS = (3, 5, 8)


@pytest.fixture(scope="module")
def mesh():
  return tiny.mesh(tiny.MESHES["fsdp4"])


@pytest.fixture(scope="module")
def states(mesh):
  return {step: make_state(CFG, mesh, seed=step) for step in STEPS}


@pytest.fixture(scope="module")
def written(mesh, states, tmp_path_factory):
  root = tmp_path_factory.mktemp("written")
  saver = checkpoint.Checkpointer(root, CFG, data=DATA)
  with jax.set_mesh(mesh):
    for step, state in states.items():
      saver.save(state, step)
  saver.close()
  return root


@pytest.fixture
def run_dir(written, tmp_path):
  shutil.copytree(written, tmp_path / "run")
  return tmp_path / "run"


def truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_last_byte(path):
  """Orbax restores such a checkpoint as if nothing had happened."""
  path.write_bytes(path.read_bytes()[:-1])


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


def largest(folder):
  return max(folder.rglob("*"), key=lambda p: p.is_file() and p.stat().st_size)


DAMAGE = {
  "truncated arrays": lambda d: truncate(largest(d / "params")),
  "last byte lost": lambda d: cut_last_byte(largest(d / "params")),
  "arrays of the optimiser lost": lambda d: largest(d / "optimizer").unlink(),
  "empty": lambda d: largest(d / "params").write_bytes(b""),
  "flipped bit": lambda d: flip(d / "params/manifest.ocdbt"),
  "no description": lambda d: (d / "run/metadata").unlink(),
  "no weights": lambda d: shutil.rmtree(d / "params"),
  "list cut off": lambda d: truncate(d / "files.json"),
}


def restore(run_dir, mesh):
  """The step that is restored, and its state."""
  saver = checkpoint.Checkpointer(run_dir, CFG, data=DATA)
  with jax.set_mesh(mesh):
    state = saver.restore(abstract(CFG, mesh))
  return saver, state


def test_a_whole_checkpoint_has_no_damage(written):
  for step in STEPS:
    assert (written / f"checkpoints/{step}/files.json").is_file()
    assert find_damage(written / f"checkpoints/{step}") == []


@pytest.mark.parametrize("name", DAMAGE)
def test_the_last_good_one_is_used(run_dir, mesh, states, caplog, name):
  DAMAGE[name](run_dir / "checkpoints/8")
  if name == "list cut off":
    truncate(run_dir / "checkpoints/5/files.json")
  saver, state = restore(run_dir, mesh)
  left = 3 if name == "list cut off" else 5
  assert saver.latest_step == left
  assert_same(state, states[left])
  assert "the checkpoint of step 8 is damaged and was moved" in caplog.text
  assert (run_dir / "damaged/8-1").is_dir()
  with jax.set_mesh(mesh):
    saver.save(states[8], 8)  # the run comes by again
  saver.close()
  assert_same(restore(run_dir, mesh)[1], states[8])


def test_unreadable_arrays_are_left_for_older_ones(
  run_dir, mesh, states, caplog
):
  """Of a checkpoint without a list, only reading shows what it is worth."""
  for step in (5, 8):
    (run_dir / f"checkpoints/{step}/files.json").unlink()
    truncate(largest(run_dir / f"checkpoints/{step}/params"))
  saver, state = restore(run_dir, mesh)
  assert saver.latest_step == 3
  assert_same(state, states[3])
  assert sorted(p.name for p in (run_dir / "damaged").iterdir()) == [
    "5-1",
    "8-1",
  ]


def test_all_damaged_is_an_error_and_all_are_kept(run_dir, mesh):
  for step in STEPS:
    truncate(largest(run_dir / f"checkpoints/{step}/params"))
  with pytest.raises(OSError, match=r"all checkpoints .* damaged: 8: params/"):
    restore(run_dir, mesh)
  for step in STEPS:
    (run_dir / f"checkpoints/{step}/files.json").unlink()
  with pytest.raises(OSError, match="no older checkpoint; restore it"):
    restore(run_dir, mesh)
  assert (run_dir / "checkpoints/3").is_dir()


def test_in_a_bucket_unfinished_ones_have_their_names_already(run_dir, caplog):
  root = epath.Path(run_dir) / "checkpoints"
  (root / "9").mkdir()
  truncate(largest(run_dir / "checkpoints/8/params"))
  assert unfinished(root, STEPS) == [9]
  set_damaged_aside(root, STEPS)
  assert not (root / "8").exists()
  assert (root / "9").exists()


def test_other_arrays_are_no_damage(run_dir, mesh):
  saver = checkpoint.Checkpointer(run_dir, CFG, data=DATA)
  with jax.set_mesh(mesh):
    like = abstract(CFG, mesh)
    like.params["more"] = like.params["embed"]
    with pytest.raises(
      ValueError, match=r"more: saved None, given \(192, 32\)"
    ):
      saver.restore(like)
  assert not (run_dir / "damaged").exists()
  assert saver.latest_step == 8


def test_damaged_weights_are_not_loaded(run_dir, mesh):
  truncate(largest(run_dir / "checkpoints/8/params"))
  with pytest.raises(
    OSError, match=r"8 is damaged: .* bytes of .*an older one"
  ):
    load_weights(run_dir, mesh)
  weights = load_weights(run_dir / "checkpoints/5", mesh)
  assert weights.step == 5


def test_what_was_broken_off_is_said_and_removed(run_dir, mesh, caplog):
  left = run_dir / "checkpoints/9.orbax-checkpoint-tmp"
  shutil.copytree(run_dir / "checkpoints/8", left)
  saver, state = restore(run_dir, mesh)
  assert saver.latest_step == 8
  assert "the checkpoint of step 9 was not finished" in caplog.text
  with jax.set_mesh(mesh):
    saver.save(state, 9)
  saver.close()
  assert not left.exists()
  assert find_damage(run_dir / "checkpoints/9") == []
