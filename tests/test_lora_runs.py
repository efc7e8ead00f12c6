"""Whole runs of adapters: small checkpoints, bit-exact continuation, export."""

import json
import math
import pathlib
import shutil

from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import songs_on_disk as disk
from tests import tiny
from tools import export_lora
from yue_jax import checkpoint_chunks, config, lora
from yue_jax.checkpoint_arrays import fingerprint
from yue_jax.checkpoint_chunks import boxes, whole
from yue_jax.config import MeshConfig
from yue_jax.data.preparing.prepare import prepare
from yue_jax.exchange.folder import export_folder
from yue_jax.exchange.merged import merged_weights
from yue_jax.metrics import read_metrics
from yue_jax.model import Decoder
from yue_jax.train import loop
from yue_jax.train.replay import Replay
from yue_jax.train.start import load_base
from yue_jax.train.state import decoder_of, init_params
from yue_jax.vocab import Vocab
from yue_jax.weights import (
  Adapters,
  Weights,
  describe_weights,
  load_adapters,
  load_weights,
  open_weights,
  save_weights,
)

ONE = MeshConfig()
STEPS, SAVED = 4, 2
LOGITS_TOLERANCE = 1e-5  # of the largest logit
MESH = {"replica": 2, "fsdp": 2, "tensor": 2}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> dict:
  """A run of adapters on weights whose vocabulary is padded otherwise."""
  root = tmp_path_factory.mktemp("lora")
  recipe = disk.small_recipe(disk.small_tokenizer(root / "tokenizer.model"))
  prepare(disk.write_songs(root, 6), root / "data", recipe=recipe, workers=1)
  phase = tiny.phase_dict(
    str(root / "data"), steps=STEPS, context=128, samples=4
  )
  phase["rate"] = {"peak": 3e-3}
  plain = tiny.run_dict()
  model = {**plain["model"], "vocab_size": 512, "init_std": 0.1}
  write_base(root / "base", model | {"vocab_size": 640}, recipe.vocab, seed=1)
  write_base(root / "other", model, recipe.vocab, seed=2)
  return {
    **plain,
    "vocab": recipe.vocab.to_json(),
    "model": {**model, "max_positions": 128},
    "phases": [phase],
    "mesh": MESH,
    "train": {"log_every": 1, "checkpoint_every": SAVED},
    "data": {"heldout": 0.3},
    "initial_weights": str(root / "base"),
    "lora": {"rank": 3, "alpha": 6.0},
  }


def write_base(path: pathlib.Path, model: dict, vocab: Vocab, seed: int):
  cfg = config.ModelConfig(**model)
  with jax.set_mesh(tiny.mesh(ONE)):
    params = jax.jit(lambda: init_params(cfg, seed))()
  save_weights(path, Weights(cfg, vocab, 0, params))


def open_run(tree: dict, run_dir: pathlib.Path) -> loop.Run:
  cfg = config.from_config_dict(tree)
  devices = jax.devices()[: math.prod(cfg.mesh.shape)]
  return loop.Run(cfg, run_dir, devices=devices)


def losses(run_dir: pathlib.Path) -> dict[int, float]:
  records = read_metrics(run_dir / "metrics.jsonl")
  return {r["step"]: r["loss"] for r in records if r["kind"] == "train"}


@pytest.fixture(scope="module")
def run(tree, tmp_path_factory) -> pathlib.Path:
  run_dir = tmp_path_factory.mktemp("run")
  open_run(tree, run_dir).train()
  return run_dir


def interrupted(run: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
  """The run as if it had been killed after its first checkpoint."""
  copy = shutil.copytree(run, tmp_path / "run")
  shutil.rmtree(copy / f"checkpoints/{STEPS}")
  return copy


def adapters_of(run_dir: pathlib.Path) -> Adapters:
  return load_adapters(run_dir, tiny.mesh(ONE))


def assert_same(a, b) -> None:
  jax.tree.map(
    np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b)
  )


def test_a_checkpoint_holds_adapters_alone(tree, run):
  got = losses(run)
  assert list(got) == [1, 2, 3, 4]
  assert got[4] < got[1]
  for item, copies in (("params", 1), ("optimizer", 2)):
    saved = run / f"checkpoints/{STEPS}/{item}/_METADATA"
    arrays = json.loads(saved.read_text())["tree_metadata"]
    names = [name for name in arrays if "blocks" in name]
    assert len(names) == copies * 2 * 4
    assert not any("embed" in name or "norm" in name for name in arrays)
  found = adapters_of(run)
  assert found.step == STEPS
  assert found.lora == config.from_config_dict(tree).lora
  assert found.params["blocks"]["attention"]["q"].b.shape == (2, 3, 4, 8)


def test_a_run_continues_bit_for_bit_wherever_its_weights_lie(
  tree, run, tmp_path
):
  copy = interrupted(run, tmp_path)
  moved = shutil.copytree(tree["initial_weights"], tmp_path / "moved")
  open_run({**tree, "initial_weights": str(moved)}, copy).train()
  assert losses(copy) == losses(run)
  assert_same(adapters_of(copy).params, adapters_of(run).params)


def test_other_weights_are_refused_by_fingerprint(tree, run, tmp_path):
  copy, mesh = interrupted(run, tmp_path), tiny.mesh(ONE)
  other = pathlib.Path(tree["initial_weights"]).parent / "other"
  prints = [
    fingerprint(load_weights(path, mesh).params)
    for path in (tree["initial_weights"], other)
  ]
  message = f"fingerprint {prints[0]}, but those of {other} have {prints[1]}"
  with pytest.raises(ValueError, match=message):
    open_run({**tree, "initial_weights": str(other)}, copy)
  with pytest.raises(ValueError, match=message):
    load_weights(run, mesh, base=other)


def test_other_adapters_are_another_course(tree, run, tmp_path):
  copy = interrupted(run, tmp_path)
  with pytest.raises(ValueError, match=r"lora.alpha: saved 6.0, given 3.0"):
    open_run({**tree, "lora": {"rank": 3, "alpha": 3.0}}, copy)


def test_loading_merges(tree, run):
  mesh = tiny.mesh(MeshConfig(fsdp=2))
  merged = load_weights(run, mesh)
  base = load_weights(tree["initial_weights"], mesh)
  assert (merged.step, merged.model.vocab_size) == (STEPS, 512)
  np.testing.assert_array_equal(
    merged.params["embed"], np.asarray(base.params["embed"])[:512]
  )
  k = adapters_of(run).params["blocks"]["attention"]["k"]
  np.testing.assert_allclose(
    merged.params["blocks"]["attention"]["k"],
    base.params["blocks"]["attention"]["k"]
    + 2.0 * np.einsum("LDR,LRKH->LDKH", k.a, k.b),
    atol=1e-6,
  )


def test_what_adapters_need_is_said(tree, run, tmp_path):
  mesh = tiny.mesh(ONE)
  with pytest.raises(FileNotFoundError, match="nowhere") as error:
    load_weights(run, mesh, base=tmp_path / "nowhere")
  assert tree["initial_weights"] in error.value.__notes__[0]
  with pytest.raises(ValueError, match="holds adapters, expected whole"):
    open_run({**tree, "initial_weights": str(run)}, tmp_path / "new")
  with pytest.raises(ValueError, match="whole weights, expected adapters"):
    load_adapters(tree["initial_weights"], mesh)


def test_a_step_is_replayed(run):
  """On another mesh, hence within rounding."""
  replay = Replay(run, mesh=ONE)
  params, saved = replay.weights(3)
  result, gradients = replay.take(params, replay.batch(3))
  assert saved == SAVED
  assert float(result["loss"]) == pytest.approx(losses(run)[3], rel=1e-5)
  assert len(gradients) == 2 * 4


def test_the_loss_of_a_run_is_that_of_the_next_token(tree, run):
  """Labels are shifted once: by numpy, from logits and the inputs alone."""
  replay = Replay(run, mesh=ONE)
  batch = {n: np.asarray(x)[0] for n, x in replay.batch(3).items()}
  tokens, segments = batch["inputs"], batch["segments"]
  saved = run / f"checkpoints/{SAVED}"
  logits = adapted_logits(tree, saved, tokens, segments, batch["positions"])
  logits = logits.astype(np.float64)
  log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
  # The last token of a segment has a target that is no input.
  inner = (segments[:, :-1] == segments[:, 1:]) & (segments[:, :-1] > 0)
  nexts = np.where(inner, tokens[:, 1:], batch["targets"][:, :-1])
  nexts = np.concatenate([nexts, batch["targets"][:, -1:]], axis=1)
  nats = -np.take_along_axis(log_p, nexts[..., None], axis=-1)[..., 0]
  weights = np.array(replay.cfg.loss.table)[batch["streams"]]
  loss = np.sum(weights * nats) / np.sum(weights)
  assert inner.mean() > 0.5
  assert loss == pytest.approx(losses(run)[3], rel=1e-5)


def test_fingerprints_know_bits_and_not_meshes():
  values = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)

  def of(values, cfg=ONE):
    layout = jax.NamedSharding(tiny.mesh(cfg), jax.P("fsdp", "tensor"))
    with jax.set_mesh(layout.mesh):
      return fingerprint({"a": jax.device_put(values, layout)})

  assert of(values, MeshConfig(**MESH)) == of(values)
  signs = values.copy()
  signs[3, 2] *= -1
  others = (signs, values[::-1], values[:, ::-1])
  assert of(values) not in map(of, others)


def test_weights_on_the_disk_have_the_same_fingerprint(tree):
  """In many chunks, of which each is summed alone."""
  path = tree["initial_weights"]
  arrays = flatten_dict(open_weights(path).params, sep="/")
  assert any(array.chunk != array.shape for array in arrays.values())
  assert checkpoint_chunks.fingerprint(arrays) == fingerprint(
    load_weights(path, tiny.mesh(ONE)).params
  )


def test_adapters_are_merged_box_by_box(tree, run):
  """Into what is loaded, whatever the boxes, with the tables' own rows."""
  loaded = load_weights(run, tiny.mesh(ONE))
  merged = merged_weights(describe_weights(run), adapters_of(run))
  assert merged.model.vocab_size == 640
  assert (merged.step, merged.kinds) == (STEPS, loaded.kinds)
  assert merged.data == loaded.data
  expected = flatten_dict(loaded.params, sep="/")
  for name, array in flatten_dict(merged.params, sep="/").items():
    for box in boxes(whole(array.shape), [-(-n // 2) for n in array.shape]):
      if box[0].stop <= 512:
        np.testing.assert_allclose(array[box], expected[name][box], atol=1e-6)


def test_adapters_are_merged_with_their_own_weights_alone(tree, run, tmp_path):
  described, adapters = describe_weights(run), adapters_of(run)
  other = pathlib.Path(tree["initial_weights"]).parent / "other"
  with pytest.raises(ValueError, match="the adapters belong to weights with"):
    merged_weights(described, adapters, other)
  with pytest.raises(FileNotFoundError, match="no finished") as raised:
    merged_weights(described, adapters, tmp_path)
  assert "--base" in raised.value.__notes__[0]


@pytest.mark.parametrize("merged", [False, True], ids=["peft", "merged"])
def test_exported_adapters_give_our_logits(tree, run, tmp_path, merged, capsys):
  """On a LlamaForCausalLM of the frozen weights, or as a model of their own."""
  reason = "parity needs PyTorch and PEFT, which are not installed"
  torch = pytest.importorskip("torch", reason=reason)
  peft = pytest.importorskip("peft", reason=reason)
  llama = pytest.importorskip("transformers", reason=reason).LlamaForCausalLM
  flags = ["--merged"] if merged else ["--base-model=of/mine"]
  export_lora.main([str(run), str(tmp_path / "out"), *flags])
  assert f"adapters of step {STEPS}, rank 3" in capsys.readouterr().out
  if merged:
    model = llama.from_pretrained(tmp_path / "out")
  else:
    mesh = tiny.mesh(ONE)
    base = load_weights(tree["initial_weights"], mesh)
    export_folder(
      tmp_path / "base",
      base,
      dtype="float32",
      shard_bytes=2**20,
      tokenizer_model=None,
    )
    model = llama.from_pretrained(tmp_path / "base")
    model = peft.PeftModel.from_pretrained(model, tmp_path / "out")
    assert model.peft_config["default"].base_model_name_or_path == "of/mine"
  ids = np.random.default_rng(3).integers(0, 512, (2, 64))
  with torch.no_grad():
    theirs = model.eval()(torch.from_numpy(ids)).logits.numpy()[..., :512]
  ours = adapted_logits(tree, run, ids)
  difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
  with capsys.disabled():
    print(f"\n  max |difference| {difference:.1e} of the largest logit")
  assert difference < LOGITS_TOLERANCE


def adapted_logits(
  tree: dict, checkpoint_dir: pathlib.Path, ids, segments=None, positions=None
) -> np.ndarray:
  """By the adapters beside the frozen weights, as they were trained."""
  cfg, mesh = config.from_config_dict(tree), tiny.mesh(ONE)
  adapters = adapters_of(checkpoint_dir).params
  params = lora.join(load_base(cfg, mesh).frozen, adapters)
  if segments is None:
    segments = np.ones_like(ids)
    positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
  with jax.set_mesh(mesh):
    decoder = decoder_of(params, cfg.model)
    arrays = [jnp.asarray(x) for x in (ids, segments, positions)]
    return np.asarray(jax.jit(Decoder.__call__)(decoder, *arrays))
