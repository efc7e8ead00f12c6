"""A released mixture becomes a phase that reads the same data as often."""

import importlib.util
import pathlib

import numpy as np
import pytest

from yue_jax.data.course import Course
from yue_jax.data.megatron.writer import write_megatron
from yue_jax.phases import DataConfig, PhaseConfig, RateConfig, SourceConfig
from yue_jax.vocab import RELEASED

TOOL = pathlib.Path(__file__).parent.parent / "tools" / "convert_mixture.py"
# In the form of the released example.
NAME = "dummy.msa.xcodec_16k_stage_1_token_level_interleave"
MIXTURE = f"""TOKEN_COUNT_LOG_DIR: ./count_token_logs
GLOBAL_BATCH_SIZE: 8
SEQ_LEN: 32

1_ROUND:
  - ./example/mmap/{NAME}_cot_xcodec_textfirst_text_document.bin
  - ./example/mmap/{NAME}_long_prompt_msa_textfirst_dual_text_document.bin
2.5_ROUND:
  - ./example/mmap/mixture_text_document.bin
  - ./example/more/mixture_text_document.bin
  - ./example/more/mixture_text_document.bin
3_ROUND:
  - ./example/more/mixture_text_document.bin
"""
TOKENS = {  # of data sets, by prefix
  f"example/mmap/{NAME}_cot_xcodec_textfirst_text_document": 100,
  f"example/mmap/{NAME}_long_prompt_msa_textfirst_dual_text_document": 64,
  "example/mmap/mixture_text_document": 97,
  "example/more/mixture_text_document": 20,
}


@pytest.fixture(scope="module")
def tool():
  spec = importlib.util.spec_from_file_location("convert_mixture", TOOL)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture
def data(tmp_path):
  for name, tokens in TOKENS.items():
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    write_megatron(tmp_path / name, [[np.arange(tokens)]])
  return tmp_path


@pytest.fixture
def convert(tool, tmp_path, capsys):
  """convert(text, *flags) -> what is printed."""

  def run(text, *flags) -> str:
    path = tmp_path / "mixture.yml"
    path.write_text(text)
    tool.main([str(path), *flags])
    return capsys.readouterr().out

  return run


def phase_of(text: str) -> PhaseConfig:
  names = [PhaseConfig, RateConfig, SourceConfig]
  return eval(text, {cls.__name__: cls for cls in names})


def test_the_released_form(convert, data):
  path = "./example/mmap/mixture_text_document.bin"
  text = convert(
    MIXTURE, f"--root={data}", f"--kind-of={path}=megatron_mixture"
  )
  phase = phase_of(text)
  assert "attend_across_documents=True" in text
  assert (phase.name, phase.context, phase.samples) == ("finetune", 32, 8)
  sources = phase.mixture.values()
  assert [s.data for s in sources] == [str(data / name) for name in TOKENS]
  assert [s.rounds for s in sources] == [1.0, 1.0, 2.5, 5.5]
  assert [s.expected_tokens for s in sources] == list(TOKENS.values())
  assert [s.kind for s in sources] == [
    "megatron_dual",
    "megatron_dual",
    "megatron_mixture",
    "megatron_dual",
  ]
  assert {(s.packing, s.weight, s.order) for s in sources} == {
    ("split", 0.0, "random")
  }
  # Samples of 32: 4 + 2 + (2 * 4 + 2) + (5 * 1 + 0).
  assert phase.tokens == (4 + 2 + 10 + 5) * 32
  names = list(phase.mixture)
  assert names[2:] == ["mixture_text_document", "mixture_text_document_2"]
  assert names[0].startswith("dummy_msa_xcodec_16k_stage_1")


@pytest.mark.parametrize("rounds", ["2", "2.5", "0.3"])
def test_the_phase_reads_as_many_rounds(convert, data, rounds):
  """Opened as a run would; its steps hold the rounds and no whole step more."""
  phase = phase_of(
    convert(MIXTURE.replace("2.5_", f"{rounds}_"), f"--root={data}")
  )
  settings = DataConfig(attend_across_documents=True)
  course = Course([phase], settings, vocab=RELEASED)
  [opened] = course.phases
  for name, source in phase.mixture.items():
    epoch = -(-source.expected_tokens // phase.context)
    # Whole samples, and what fills up the last step.
    over = (opened.passes[name] - source.rounds) * epoch
    assert -1 < over < phase.samples
  assert phase.steps == -(-phase.tokens // (8 * 32))


def test_data_that_are_elsewhere(convert):
  phase = phase_of(
    convert(MIXTURE, "--tokens=123", "--kind=megatron_vocal", "--name=a")
  )
  assert (phase.name, phase.tokens) == ("a", 123)
  sources = list(phase.mixture.values())
  assert [s.data for s in sources] == list(TOKENS)
  assert {(s.kind, s.expected_tokens) for s in sources} == {
    ("megatron_vocal", 0.0)
  }
  with pytest.raises(SystemExit, match=r"idx does not exist.*give --root"):
    convert(MIXTURE)


@pytest.mark.parametrize(
  "old, new, message",
  [
    ("SEQ_LEN", "SEQ_LENGTH", r"unknown keys \['SEQ_LENGTH'\]; known are"),
    ("SEQ_LEN: 32", "", "SEQ_LEN=None, expected a positive integer"),
    ("SEQ_LEN: 32", "SEQ_LEN: 3.2", "SEQ_LEN=3.2, expected"),
    ("BATCH_SIZE: 8", "BATCH_SIZE: 0", "GLOBAL_BATCH_SIZE=0, expected"),
    ("2.5_ROUND", "x_ROUND", r"unknown keys \['x_ROUND'\]"),
    ("2.5_ROUND", "-1_ROUND", r"unknown keys \['-1_ROUND'\]"),
    ("2.5_ROUND", "0_ROUND", "0_ROUND reads nothing"),
    ("2.5_ROUND", "3_ROUND", r"has \['3_ROUND'\] more than once"),
    ("3_ROUND:", "3_ROUND: 1\n4_ROUND:", "3_ROUND=1, expected a list"),
    ("3_ROUND:", "4_ROUND:\n3_ROUND:", "4_ROUND=None, expected a list"),
    ("mixture_text_document.bin", "a.idx", r"'./example/mmap/a.idx', expected"),
    (MIXTURE, "GLOBAL_BATCH_SIZE: 8", "lists no data"),
    (MIXTURE, "a", "expected keys and values, got 'a'"),
    (MIXTURE, "", "expected keys and values, got None"),
    (MIXTURE, "a: [", "is no YAML"),
    (MIXTURE, "!!python/name:os.system a: 1", "is no YAML"),
  ],
)
def test_what_is_not_understood(convert, old, new, message):
  with pytest.raises(SystemExit, match=message):
    convert(MIXTURE.replace(old, new, 1), "--tokens=1")


@pytest.mark.parametrize("pair", ["a.bin=megatron_dual", "a.bin", "{}=cot"])
def test_kinds_of_nothing(convert, pair):
  path = "./example/mmap/mixture_text_document.bin"
  with pytest.raises(SystemExit, match=r"--kind-of=.*: expected PATH=KIND"):
    convert(MIXTURE, "--tokens=1", f"--kind-of={pair.format(path)}")
