"""A config is read whole or not at all."""

import json
import pathlib

import ml_collections
import pytest

from tests import tiny
from yue_jax import config


def changed(path: str, value) -> dict:
  tree = tiny.run_dict()
  *parents, name = path.replace("phases[0]", "phases.0").split(".")
  table = tree
  for parent in parents:
    table = table[int(parent) if parent.isdigit() else parent]
  table[name] = value
  return tree


def test_round_trip_through_json():
  cfg = config.from_config_dict(ml_collections.ConfigDict(tiny.run_dict()))
  text = json.dumps(config.to_json(cfg))
  assert config.from_config_dict(json.loads(text)) == cfg


@pytest.mark.parametrize(
  ("path", "value", "message"),
  [
    ("model.widht", 64, r"unknown keys \['model.widht'\]"),
    ("extra", 1, r"unknown keys \['extra'\]"),
    ("model.width", 30, "width=30 is not divisible by heads=4"),
    ("model.kv_heads", 3, "heads=4 is not divisible by kv_heads=3"),
    ("model.width", 64.0, "config.model.width must be int, got float"),
    ("model.layers", True, "config.model.layers must be int, got bool"),
    ("model.layers", 0, "layers=0 must be positive"),
    ("model.dtype", "float16", "dtype='float16' is not one of"),
    ("model.remat", "some", "remat='some' is not one of"),
    ("model.heads", 32, "head width"),
    ("model.vocab_size", 100, "no room for the"),
    ("mesh", {"context": 3}, "context=16 cannot be cut into two equal"),
    ("model.attention", "flash", "attention='flash' is not one of"),
    ("model.offload", ["qkv"], "offload=.* with remat='none'"),
    ("optimizer.moment_dtype", "int8", "moment_dtype='int8' is not one of"),
    ("loss.z_loss", -1.0, "z_loss"),
    ("mesh", {"fsdp": 3}, "8 rows cannot be dealt"),
    ("phases[0].context", 128, "exceeds model.max_positions=64"),
    ("phases[0].microbatches", 3, "samples=8 is not divisible"),
    ("phases[0].rate.final", 1.0, "exceeds peak=0.01"),
    ("phases[0].rate.decay_tokens", 9999, "exceed tokens=1280"),
    ("phases[0].mixture", {}, "'only' has an empty mixture"),
    ("phases[0].mixture.songs.rounds", 2.0, "give exactly one of them"),
    ("phases[0].mixture.songs.packing", "loose", "is not one of"),
    ("phases[0].mixture.songs.wieght", 2.0, r"songs.wieght"),
    ("phases", [], "needs at least one"),
    ("phases", {}, "config.phases must be a list"),
    ("data.heldout", 1.0, r"heldout=1.0 is not in \[0, 1\)"),
    ("optimizer.beta1", 1.0, r"beta1=1.0 is not in \[0, 1\)"),
    ("phases[0].rate.warmup_tokens", -1, "must not be negative"),
    ("loss.weights", {"voice": 1.0}, "unknown stream 'voice'"),
    ("loss.weights", {"vocal": -1.0}, "expected a finite number"),
    ("loss.weights", 3, "config.loss.weights must be a table, got 3"),
    ("phases[0].rate.peak", float("nan"), "peak=nan must be positive"),
    ("vocab", 3, "config.vocab must be a table, got 3"),
    ("vocab", {"text_size": 9, "codec_blocks": []}, "no 'xcodec'"),
    ("loss.weights", {"vocal": 0.0}, "trains no stream"),
    ("optimizer", 3, "config.optimizer must be a table"),
    ("train.profile_steps", (3,), r"profile_steps=\(3,\), expected the first"),
    ("train.profile_steps", (3, 2), "the first and the last step"),
    ("train.profile_steps", ("a", 2), r"profile_steps\[0\] must be int"),
    ("train.keep_every", 1500, "is no multiple of checkpoint_every=1000"),
    ("train.last_step", "10", "must be int, got str '10'"),
    ("train.last_step", 11, "beyond the 10 steps of all phases"),
  ],
)
def test_mistakes_are_named(path, value, message):
  with pytest.raises((ValueError, TypeError), match=message):
    config.from_config_dict(changed(path, value))


def test_missing_table_is_named():
  tree = tiny.run_dict()
  del tree["optimizer"]
  with pytest.raises(ValueError, match=r"lacks \['optimizer'\]"):
    config.from_config_dict(tree)


def test_whole_numbers_are_accepted_for_fractions():
  cfg = config.from_config_dict(changed("phases[0].rate.peak", 1))
  assert cfg.phases[0].rate.peak == 1.0


def test_weights_of_unnamed_streams_are_zero():
  table = config.LossConfig(weights={"vocal": 2.0}).table
  assert table[config.Stream.VOCAL] == 2.0
  assert sum(table) == 2.0


def experiments() -> list[pathlib.Path]:
  """All that are one run; those of sweeps are tested with tools/sweep.py."""
  root = pathlib.Path(__file__).parent.parent / "experiments"
  return sorted(
    path
    for path in root.glob("*.py")
    if "def get_sweep" not in path.read_text()
  )


@pytest.mark.parametrize("path", experiments(), ids=lambda p: p.stem)
def test_experiments_resolve_and_list_every_field(path):
  """A field that the table lacks could not be set on the command line."""
  table = tiny.load_experiment(path)
  cfg = config.from_config_dict(table)
  assert cfg.last_step > 0
  assert json.loads(table.to_json()) == json.loads(
    json.dumps(config.to_json(cfg))
  )
