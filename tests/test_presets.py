"""Presets: the released shapes, and the sizes their docstrings promise."""

import re

import pytest

from yue_jax import accounting, presets
from yue_jax.config import MeshConfig
from yue_jax.sharding import check_divisible

LARGE = (
  presets.stage1_7b,
  presets.stage1_2b,
  presets.stage1_0b5,
  presets.stage2_1b,
)


@pytest.mark.parametrize("preset", LARGE)
def test_docstring_states_the_parameter_count(preset):
  billions = float(re.match(r"(\d\.\d\d) B parameters", preset.__doc__)[1])
  count = accounting.parameter_count(preset())
  assert billions == pytest.approx(count / 1e9, abs=0.005)


@pytest.mark.parametrize("preset", [presets.tiny, presets.small])
def test_docstring_states_the_parameter_count_by_vocabulary(preset):
  body, row = (
    int(number.replace(",", ""))
    for number in re.findall(r"\d[\d,]+", preset.__doc__)[:2]
  )
  for rows in (100, 1000):
    assert accounting.parameter_count(preset(rows)) == body + row * rows


@pytest.mark.parametrize("preset", LARGE)
def test_every_large_shape_can_be_cut_over_a_pod(preset):
  check_divisible(preset(), MeshConfig(fsdp=64, tensor=4))
