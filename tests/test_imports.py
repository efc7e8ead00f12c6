"""The arrows between modules, read from the sources.

Nothing that builds documents or reads data needs a JAX device; nothing under
the model knows what a song is; a stage is a document format and a config.
"""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "yue_jax"

SONGS = {
  "errors", "tracks", "songs", "recordings", "sheets", "manifest", "documents",
  "encoding", "references", "codec", "tokenizer", "tokens", "lengths",
  "streams",
}  # fmt: skip
MODEL = {
  "model", "attention", "losses", "lora", "mup", "optimizer", "sharding",
}  # fmt: skip
TRAINER = {
  "train", "checkpoint", "checkpoint_arrays", "checkpoint_chunks",
  "checkpoint_files", "continuation", "main", "weights",
}  # fmt: skip
ABOVE_SONGS = {"data", "world", "sampling", "config"} | MODEL | TRAINER
# module or package -> packages of ours it must not import
FORBIDDEN = {
  "vocab": {"*"},
  "progress": {"*"},
  "whole_directory": {"*"},
  "accounting": ABOVE_SONGS - {"config"} | SONGS,
  "presets": ABOVE_SONGS - {"config"} | SONGS,
  "metrics": ABOVE_SONGS | SONGS,
  "json_lines": {"*"},
  "commands": {"*"},
  "pools": {"*"},
  "locations": ABOVE_SONGS - {"config"} | SONGS,
  **{name: ABOVE_SONGS for name in SONGS},
  "checks": {"*"},
  "chips": {"*"},
  "phases": ABOVE_SONGS | SONGS,
  "config_tables": ABOVE_SONGS | SONGS,
  "config": {"data", "world", "sampling"} | SONGS | MODEL | TRAINER,
  "audio": ABOVE_SONGS,
  "world": {"data", "sampling", "config"} | MODEL | TRAINER,
  "data": {"world", "sampling", "config"} | MODEL | TRAINER,
  **{name: {"data", "world", "sampling"} | SONGS | TRAINER for name in MODEL},
  "checkpoint": {"data", "world", "sampling", "weights"} | SONGS,
  "weights": {"data", "world", "sampling"} | SONGS,
  "checkpoint_arrays": {"*"},
  "checkpoint_chunks": ABOVE_SONGS - {"checkpoint_arrays"} | SONGS,
  "checkpoint_files": {"*"},
  "continuation": {"data", "world", "sampling", "train"} | SONGS | MODEL,
  "exchange": {"data", "world", "sampling"} | SONGS - {"tokenizer"},
  "sampling": {"data", "world", "main"},
  "train": {"world", "sampling", "rehearsal", "main"} | SONGS,
  "processes": {"*"},
  "evaluation": {"sampling", "config"} | MODEL | TRAINER,
  "hidden_states": ABOVE_SONGS - MODEL | {"optimizer", "losses"},
  "study": ABOVE_SONGS | SONGS,
  "planner": {"data", "world", "sampling", "main"}
  | {"checkpoint", "weights"}
  | SONGS,
  "scaling": ABOVE_SONGS | SONGS,
  "report": {"data", "world", "main"} | SONGS | MODEL,
  "sweeps": {"data", "world", "sampling"} | SONGS | MODEL,
  "rehearsal": {"main"},
  "main": {"world", "sampling"} | SONGS,
  "paper": {"planner", "exchange"},
  "__init__": {"*"},
}  # fmt: skip
# sub-package or module of data -> those of data it may import
FILES = {"layout", "records", "dataset"}
DATA = {
  "planning": set(),
  "sources": FILES,
  "megatron": FILES | {"sources"},
  "preparing": FILES | {"sources"},
  "layout": set(),
  "records": set(),
  "dataset": FILES | {"tfds_songs"},  # opens either form
  "tfds_songs": FILES | {"preparing"},
  "flags": set(),
  "selection": {"layout"},
  "opening": FILES | {"sources", "megatron", "selection"},
  "samples": {"planning", "sources"},
  "mixture": {"samples"},
  "course": {"samples", "mixture", "opening", "selection"},
  "pipeline": {"samples"},
  "__init__": set(),
}
# third-party packages that may be imported only below these modules
ONLY_IN = {
  "jax": MODEL
  | {"train", "checkpoint", "checkpoint_arrays", "checkpoint_chunks"}
  | {"main", "metrics", "processes", "weights", "hidden_states"}
  | {"exchange", "sampling", "rehearsal", "planner"}
  | {"paper/trained", "paper/losses", "paper/singing"}
  | {"data/pipeline"},
  "ml_collections": {"main", "sweeps/axes", "sweeps/saved"},
  "grain": {"data"},
  "array_record": {"data"},
  "apache_beam": {"data/preparing/beam"},
  "tensorflow_datasets": {"data/tfds_songs"},
  "tensorstore": {"checkpoint_chunks"},
  "tensorflow": set(),
  "sentencepiece": {"tokenizer", "exchange/tokenizer"},
  "torch": {"audio/xcodec", "evaluation/clap"},
  "transformers": {
    "audio/xcodec",
    "evaluation/clap",
    "evaluation/transcription",
  },
  "soundfile": {"audio", "study/clips", "world/folder"},
  "soxr": {"audio", "study/clips"},
  "pyloudnorm": {"audio/loudness", "study/clips"},
  "matplotlib": {
    "planner/plot",
    "scaling/plot",
    "scaling/bias_page",
    "evaluation/figures",
    "paper/figures",
    "study/figure",
  },
  "scipy": {"evaluation", "audio", "study", "world/singer"},
  "sklearn": {"audio/fitting", "evaluation"},
  "jiwer": {"evaluation/lyric_errors"},
  "choix": {"study/preference"},
  "krippendorff": {"study/agreement"},
  "pickle": set(),
  "yaml": set(),
}


def modules() -> list[pathlib.Path]:
  return sorted(PACKAGE.rglob("*.py"))


def imports_of(path: pathlib.Path) -> set[str]:
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      found |= {f"{node.module}.{alias.name}" for alias in node.names}
  return found


def name_of(path: pathlib.Path) -> str:
  return path.relative_to(PACKAGE).with_suffix("").as_posix()


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_arrows_point_one_way(path):
  name = name_of(path)
  top = name.split("/")[0]
  ours = {i.split(".")[1] for i in imports_of(path) if i.startswith("yue_jax.")}
  banned = FORBIDDEN[top]  # a new module needs a rule
  assert not (ours if banned == {"*"} else ours & banned)
  assert "main" not in ours


@pytest.mark.parametrize(
  "path", sorted((PACKAGE / "data").rglob("*.py")), ids=name_of
)
def test_data_has_layers(path):
  name = name_of(path).split("/")[1]
  imported = [i.split(".") for i in imports_of(path)]
  ours = {i[2] for i in imported if i[:2] == ["yue_jax", "data"]}
  assert ours <= DATA[name] | {name}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_heavy_packages_stay_where_they_belong(path):
  name = name_of(path)
  packages = {i.split(".")[0] for i in imports_of(path)}
  for package, places in ONLY_IN.items():
    if package in packages:
      assert {name, name.split("/")[0]} & places, f"{name} imports {package}"


def test_training_needs_no_planner():
  for path in modules():
    if name_of(path).split("/")[0] not in ("planner", "sweeps"):
      assert not any("planner" in i for i in imports_of(path)), path


def test_nothing_needs_the_paper():
  for path in modules():
    if name_of(path).split("/")[0] != "paper":
      assert not any("yue_jax.paper" in i for i in imports_of(path)), path


@pytest.mark.parametrize("name", ["model", "losses", "train"])
def test_the_trainer_knows_no_stages(name):
  for path in modules():
    if name_of(path).split("/")[0] == name:
      text = path.read_text().replace("jax.stages", "")
      assert not re.search(r"\bstage|stage_?[12]\b", text, re.IGNORECASE), path
