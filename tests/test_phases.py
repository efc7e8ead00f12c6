"""Phases as steps: arithmetic on the config alone."""

import pytest

from yue_jax.phases import (
  PhaseConfig,
  RateConfig,
  SourceConfig,
  first_steps,
  phase_at,
  steps_by_phase,
)

SONGS = SourceConfig(data="", kind="cot", weight=1.0)


def phase(tokens: int, **changes) -> PhaseConfig:
  """Ten tokens a step."""
  fields = {"context": 5, "samples": 2, "rate": RateConfig(peak=1.0)}
  return PhaseConfig(
    name="x", tokens=tokens, mixture={"songs": SONGS}, **fields | changes
  )


def test_tokens_are_rounded_up_to_steps():
  assert [phase(t).steps for t in (1, 10, 11, 95)] == [1, 1, 2, 10]


def test_first_steps_and_the_phase_of_a_step():
  phases = [phase(30), phase(20)]
  assert first_steps(phases) == [0, 3, 5]
  assert [phase_at(phases, s) for s in range(7)] == [0, 0, 0, 1, 1, 1, 1]


def test_steps_are_taken_phase_by_phase():
  phases = [phase(30), phase(20)]
  taken = [steps_by_phase(phases, n) for n in range(7)]
  assert taken[:4] == [[0, 0], [1, 0], [2, 0], [3, 0]]
  assert taken[4:] == [[3, 1], [3, 2], [3, 2]]


def test_a_phase_ended_early_keeps_its_plan():
  early = phase(95, stop_after=31)
  assert (early.steps, early.planned_steps) == (4, 10)
  assert phase(95, stop_after=1000).steps == 10


def test_the_steps_of_the_paper():
  """Section 4.1.2, with 768 sequences a step throughout."""

  def paper(billions, context):
    return phase(billions * 10**9, context=context, samples=768).steps

  assert [paper(280, 8192), paper(720, 8192)] == [44_505, 114_441]
  assert [paper(750, 16_384), paper(40, 16_384)] == [59_605, 3_179]


@pytest.mark.parametrize("fields", [{}, {"weight": 1.0, "rounds": 1.0}])
def test_a_source_has_a_weight_or_rounds(fields):
  with pytest.raises(ValueError, match="exactly one"):
    SourceConfig(data="d", kind="cot", **fields)
