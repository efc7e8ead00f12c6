"""Exchange with Hugging Face folders, without PyTorch (see test_parity)."""

import dataclasses
import importlib
import json
import pathlib

from flax import nnx, traverse_util
import jax
import numpy as np
import pytest
import safetensors.numpy

from tests import tiny
from yue_jax import presets
from yue_jax.checkpoint import DataDescription
from yue_jax.checkpoint_chunks import whole
from yue_jax.config import MeshConfig
from yue_jax.exchange import folder, shards, table
from yue_jax.model import Decoder
from yue_jax.sharding import SPECS
from yue_jax.tokenizer import train_tokenizer
from yue_jax.vocab import RELEASED, Vocab
from yue_jax.weights import Weights, load_weights, open_weights, save_weights

LAYER_BYTES = 4 * 32 * 64  # one MLP matrix of the tiny model
VOCABULARY_OF_300 = Vocab.small(150, codes=16, codebooks=8)  # + 22 special
FILES = {
  "checksums.json",
  "config.json",
  "generation_config.json",
  "model.safetensors.index.json",
  "README.md",
  "vocabulary.json",
}


@pytest.fixture
def weights() -> Weights:
  return random_weights()


def random_weights() -> Weights:
  rng = np.random.default_rng(0)
  leaves = {
    row.ours: rng.standard_normal(table.our_shape(row, tiny.MODEL), np.float32)
    for row in table.TABLE
  }
  params = traverse_util.unflatten_dict(leaves, sep="/")
  return Weights(tiny.MODEL, tiny.VOCAB, 7, params)


def export(out, weights, **changes) -> pathlib.Path:
  options = {
    "dtype": "float32",
    "shard_bytes": 10 * LAYER_BYTES,
    "tokenizer_model": None,
  }
  folder.export_folder(out, weights, **(options | changes))
  return out


def imported(exported: pathlib.Path, **options) -> Weights:
  """What a folder becomes, with its arrays in memory."""
  run = exported.with_name(f"{exported.name}-imported")
  checkpoint = folder.import_folder(exported, run, **options)
  return in_memory(open_weights(checkpoint))


def in_memory(weights: Weights) -> Weights:
  params = jax.tree.map(lambda leaf: leaf[whole(leaf.shape)], weights.params)
  return dataclasses.replace(weights, params=params)


def refuse(exported: pathlib.Path, message: str, error=ValueError) -> None:
  """Importing is the error, and leaves nothing behind."""
  with pytest.raises(error, match=message):
    folder.import_folder(exported, exported.parent / "run")
  assert [path.name for path in exported.parent.iterdir()] == [exported.name]


def assert_same_params(one: dict, other: dict) -> None:
  jax.tree.map(np.testing.assert_array_equal, one, other)


def changed_leaf(weights: Weights, path: str, change) -> Weights:
  leaves = traverse_util.flatten_dict(weights.params, sep="/")
  leaves[path] = change(leaves[path])
  params = traverse_util.unflatten_dict(leaves, sep="/")
  return dataclasses.replace(weights, params=params)


def test_table_has_every_parameter_of_the_decoder_in_its_shape():
  with jax.set_mesh(tiny.mesh(MeshConfig())):
    decoder = jax.eval_shape(lambda: Decoder(tiny.MODEL, rngs=nnx.Rngs(0)))
  tree = nnx.to_pure_dict(nnx.state(decoder, nnx.Param))
  leaves = traverse_util.flatten_dict(tree, sep="/")
  shapes = {r.ours: table.our_shape(r, tiny.MODEL) for r in table.TABLE}
  assert shapes == {path: leaf.shape for path, leaf in leaves.items()}


def test_query_row_n_h_is_head_n_component_h():
  cfg = presets.tiny(100)
  row = next(row for row in table.TABLE if row.ours == "blocks/attention/q")
  theirs = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
  q = table.to_ours(row, theirs, cfg)
  assert q.shape == (64, 4, 16)
  np.testing.assert_array_equal(q[:, 2, 5], theirs[2 * 16 + 5])


def test_float32_comes_back_bit_for_bit_from_several_shards(weights, tmp_path):
  out = export(tmp_path / "out", weights)
  files = {path.name for path in out.iterdir()}
  assert files - FILES == {
    f"model-{i:05}-of-00003.safetensors" for i in range(1, 4)
  }
  back = imported(out)
  assert back.vocab == tiny.VOCAB
  free = {"dtype": tiny.MODEL.dtype, "remat": tiny.MODEL.remat}
  assert dataclasses.replace(back.model, **free) == tiny.MODEL
  assert_same_params(back.params, weights.params)


def test_no_shard_exceeds_its_limit_except_for_a_single_tensor(
  weights, tmp_path
):
  limit = 2 * LAYER_BYTES
  out = export(tmp_path / "out", weights, shard_bytes=limit)
  for path in out.glob("*.safetensors"):
    tensors = safetensors.numpy.load_file(path)
    size = sum(tensor.nbytes for tensor in tensors.values())
    assert size <= limit or len(tensors) == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_comes_back_as_rounded_once(weights, tmp_path, dtype):
  once = imported(export(tmp_path / "a", weights, dtype=dtype))
  rounded = jax.tree.map(
    lambda x: x.astype(shards.DTYPES[dtype]).astype(np.float32), weights.params
  )
  assert_same_params(once.params, rounded)
  twice = imported(export(tmp_path / "b", once, dtype=dtype))
  assert_same_params(twice.params, once.params)


def test_weights_laid_out_over_a_mesh_give_the_same_files(weights, tmp_path):
  mesh = tiny.mesh(tiny.MESHES["fsdp2_tensor2"])
  layout = {"q": SPECS.q_dnh, "embed": SPECS.embed_vd, "down": SPECS.down_fd}

  def place(path, leaf):
    spec = layout.get(path[-1].key, (None,) * leaf.ndim)
    spec = (None,) * (leaf.ndim - len(spec)) + tuple(spec)
    sharding = jax.NamedSharding(mesh, jax.P(*spec))
    return jax.device_put(leaf, sharding)

  params = jax.tree_util.tree_map_with_path(place, weights.params)
  sharded = dataclasses.replace(weights, params=params)
  one = export(tmp_path / "one", weights)
  other = export(tmp_path / "other", sharded)
  for path in one.glob("*.safetensors"):
    assert path.read_bytes() == (other / path.name).read_bytes()


def test_tools_lead_from_checkpoint_to_folder_to_checkpoint(
  weights, tmp_path, capsys
):
  mesh = tiny.mesh(MeshConfig())
  save_weights(tmp_path / "run", weights)
  tool("export_hf")([str(tmp_path / "run"), str(tmp_path / "out")])
  tool("import_hf")([str(tmp_path / "out"), str(tmp_path / "again")])
  assert "step 7" in capsys.readouterr().out
  back = load_weights(tmp_path / "again", mesh)
  assert_same_params(back.params, weights.params)
  assert back.vocab == weights.vocab


def test_what_the_data_were_is_kept(weights, tmp_path):
  data = DataDescription(tokenizer="t", window=25)
  known = dataclasses.replace(weights, data=data)
  assert imported(export(tmp_path / "known", known)).data == data
  out = export(tmp_path / "unknown", weights)
  assert imported(out).data is None


@pytest.mark.parametrize("data", [{"window": 25}, [], 25])
def test_a_broken_description_of_the_data_is_named(exported, data):
  path = exported / "vocabulary.json"
  content = json.loads(path.read_text()) | {"data": data}
  path.write_text(json.dumps(content))
  refuse(exported, r"vocabulary.json: .*data")


def test_only_the_tokenizer_of_training_is_exported(weights, tmp_path):
  tokenizer = train_tokenizer(["la la"], tmp_path / "t.model", size=280)
  data = DataDescription(tokenizer.fingerprint(), window=25)
  same = dataclasses.replace(weights, data=data)
  other = dataclasses.replace(data, tokenizer="another")
  differs = dataclasses.replace(weights, data=other)
  export(tmp_path / "same", same, tokenizer_model=tokenizer.path)
  with pytest.raises(ValueError, match="trained with tokenizer another"):
    export(tmp_path / "out", differs, tokenizer_model=tokenizer.path)
  assert not (tmp_path / "out").exists()


def test_tools_say_in_one_line_what_is_wrong(tmp_path):
  with pytest.raises(SystemExit, match="export_hf: no finished checkpoint"):
    tool("export_hf")([str(tmp_path / "absent"), str(tmp_path / "out")])
  with pytest.raises(SystemExit, match=r"import_hf: .*config.json is missing"):
    tool("import_hf")([str(tmp_path / "absent"), str(tmp_path / "out")])


def tool(name: str):
  path = pathlib.Path(__file__).parent.parent / "tools" / f"{name}.py"
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.main


def test_released_folder_needs_no_vocabulary_and_others_do(tmp_path):
  assert folder.read_vocab(tmp_path, presets.stage2_1b()) == RELEASED
  with pytest.raises(FileNotFoundError, match="vocab_size=192"):
    folder.read_vocab(tmp_path, tiny.MODEL)


def test_vocabulary_larger_than_the_model_is_refused(exported):
  large = VOCABULARY_OF_300.to_json()
  (exported / "vocabulary.json").write_text(json.dumps(large))
  refuse(exported, "has 300 ids, but the model 192 rows")


def test_card_names_shape_vocabulary_and_licence(weights, tmp_path):
  card = (export(tmp_path / "out", weights) / "README.md").read_text()
  assert card.startswith("---\nlicense: apache-2.0\n")
  assert "| layers | 3 |" in card
  assert "| 0 .. 39 | text |" in card
  assert "| 62 .. 189 | xcodec: 8 x 16 codes |" in card
  assert "| 190 .. 191 | padding |" in card


def test_generation_ends_with_the_document(weights, tmp_path):
  out = export(tmp_path / "out", weights)
  written = json.loads((out / "generation_config.json").read_text())
  assert written["eos_token_id"] == tiny.VOCAB.eod


@pytest.mark.parametrize(
  ("path", "change", "message"),
  [
    ("blocks/attention/q_bias", lambda _: np.zeros(3), "q_bias"),
    ("unembed", lambda x: x[:-1], "unembed is float32 .191, 32."),
    ("blocks/mlp/up", lambda x: x.astype(np.float64), "up is float64"),
    ("norm/scale", lambda x: x * np.float32("nan"), "model.norm.weight is not"),
  ],
)
def test_parameters_the_format_cannot_hold_are_refused(
  weights, tmp_path, path, change, message
):
  leaves = traverse_util.flatten_dict(weights.params, sep="/")
  leaves[path] = change(leaves.get(path))
  params = traverse_util.unflatten_dict(leaves, sep="/")
  broken = dataclasses.replace(weights, params=params)
  with pytest.raises(ValueError, match=message):
    export(tmp_path / "out", broken)
  assert list(tmp_path.iterdir()) == []


def test_overflow_is_refused_and_leaves_nothing(weights, tmp_path):
  def grow(leaf):
    leaf = leaf.copy()
    leaf[2, 1, 3] = 7e4
    return leaf

  broken = changed_leaf(weights, "blocks/mlp/down", grow)
  with pytest.raises(
    ValueError, match=r"layers.2.mlp.down_proj.weight .*float16.*70000"
  ):
    export(tmp_path / "out", broken, dtype="float16")
  assert list(tmp_path.iterdir()) == []
  export(tmp_path / "out", broken, dtype="bfloat16")


def test_existing_folder_is_not_touched(weights, tmp_path):
  (tmp_path / "out").mkdir()
  with pytest.raises(FileExistsError, match="choose another directory"):
    export(tmp_path / "out", weights)
  assert list((tmp_path / "out").iterdir()) == []


def test_too_little_room_is_said_before_anything_is_written(
  weights, tmp_path, monkeypatch
):
  usage = folder.shutil.disk_usage(tmp_path)
  monkeypatch.setattr(
    folder.shutil, "disk_usage", lambda _: usage._replace(free=1000)
  )
  with pytest.raises(OSError, match="GiB free"):
    export(tmp_path / "out", weights)
  assert list(tmp_path.iterdir()) == []


@pytest.fixture
def exported(weights, tmp_path) -> pathlib.Path:
  return export(tmp_path / "out", weights, shard_bytes=2**30)


SHARD = "model-00001-of-00001.safetensors"


def rewrite(exported: pathlib.Path, change) -> None:
  """Applies `change` to the tensors; the index follows."""
  (exported / "checksums.json").unlink()
  tensors = safetensors.numpy.load_file(exported / SHARD)
  change(tensors)
  safetensors.numpy.save_file(tensors, exported / SHARD)
  index = {"weight_map": dict.fromkeys(tensors, SHARD)}
  (exported / shards.INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda t: t.pop("lm_head.weight"), "missing .'lm_head.weight'."),
    (
      lambda t: t.update({"model.norm.bias": np.zeros(32, np.float32)}),
      "not part of this LlamaForCausalLM .'model.norm.bias'.",
    ),
    (
      lambda t: t.update({"model.norm.weight": np.zeros(33, np.float32)}),
      "model.norm.weight is float32 .33,., expected .32,.",
    ),
    (
      lambda t: t.update({"model.norm.weight": np.zeros(32, np.int8)}),
      "model.norm.weight is I8",
    ),
    (
      lambda t: t.update({"model.norm.weight": np.full(32, np.inf, "f4")}),
      "model.norm.weight has infinities",
    ),
  ],
)
def test_other_tensors_than_the_config_says_are_refused(
  exported, change, message
):
  rewrite(exported, change)
  refuse(exported, message)


def test_truncated_file_is_refused(exported):
  content = (exported / SHARD).read_bytes()
  (exported / SHARD).write_bytes(content[:-1])
  refuse(exported, "not a whole safetensors file")


@pytest.mark.parametrize("file", ["../out.safetensors", "/etc/passwd", "a/b"])
def test_index_that_leads_out_of_the_folder_is_refused(exported, file):
  index = {"weight_map": {"lm_head.weight": file}}
  (exported / shards.INDEX).write_text(json.dumps(index))
  refuse(exported, "not a plain name")


def test_index_that_names_an_absent_file_is_refused(exported):
  (exported / SHARD).rename(exported / "other.safetensors")
  refuse(exported, f"names {SHARD}", FileNotFoundError)


def test_index_and_file_must_name_the_same_tensors(exported):
  index = json.loads((exported / shards.INDEX).read_text())
  del index["weight_map"]["lm_head.weight"]
  (exported / shards.INDEX).write_text(json.dumps(index))
  refuse(exported, r"differ in \['lm_head.weight'\]")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}'])
def test_broken_index_is_named(exported, content):
  (exported / shards.INDEX).write_text(content)
  refuse(exported, r"model.safetensors.index.json")


def test_pickled_weights_are_never_read(exported):
  (exported / SHARD).unlink()
  (exported / shards.INDEX).unlink()
  (exported / "pytorch_model.bin").write_bytes(b"")
  refuse(exported, "never read", FileNotFoundError)


def test_single_file_without_index_is_read(exported, weights):
  (exported / SHARD).rename(exported / shards.SINGLE)
  (exported / shards.INDEX).unlink()
  assert_same_params(imported(exported).params, weights.params)


def test_plan_keeps_order_and_gives_large_tensors_their_own_shard():
  sizes = {"a": 3, "b": 3, "c": 9, "d": 1}
  assert shards.plan(sizes, 6) == [["a", "b"], ["c"], ["d"]]
