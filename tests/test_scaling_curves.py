"""Parabolas over settings: best sizes of budgets, rates and batches."""

import numpy as np
import pytest

from tests.planted_laws import TOY
from yue_jax.scaling import bootstrap, curves, isoflop, refusals, tuning
from yue_jax.scaling.curves import PowerLaw
from yue_jax.scaling.planted import isoflops

RATES = np.geomspace(1e-4, 1e-2, 7)


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def minimum(settings, loss, rng):
  return curves.minimum(settings, loss, of="rate", draws=200, rng=rng)


def bowl(settings, best, noise, rng):
  loss = 2 + 0.05 * np.log(settings / best) ** 2
  return loss + noise * rng.standard_normal(len(settings))


def test_parabolas_are_those_of_polyfit(rng):
  x, loss = rng.uniform(3, 9, 12), rng.uniform(1, 2, 12)
  counts = rng.integers(0, 3, (5, 12)).astype(float)
  at, bends, least = curves.vertices(x, loss, counts)
  for number, times in enumerate(counts):
    c2, c1, c0 = np.polyfit(x, loss, 2, w=np.sqrt(times))
    assert bends[number] == pytest.approx(2 * c2)
    assert at[number] == pytest.approx(-c1 / (2 * c2))
    assert least[number] == pytest.approx(c0 - c1**2 / (4 * c2))


def test_the_minimum_lies_in_its_interval(rng):
  inside = []
  for _ in range(40):
    settings = np.tile(RATES, 2)
    found = minimum(settings, bowl(settings, 8e-4, 0.02, rng), rng)
    low, high = found.interval
    inside.append(low < 8e-4 < high)
    assert found.curvature == pytest.approx(0.1, rel=0.5)
  assert np.mean(inside) > 0.8  # of 95 %: samples of 14 are small


def test_a_parabola_the_wrong_way_up(rng):
  with pytest.raises(refusals.WrongWayUp, match="rate: the parabola has curv"):
    minimum(RATES, -bowl(RATES, 1e-3, 0, rng), rng)


def test_a_minimum_outside_the_settings(rng):
  with pytest.raises(refusals.NoInteriorMinimum, match=r"at 0\.03, outside"):
    minimum(RATES, bowl(RATES, 3e-2, 0, rng), rng)


def test_a_minimum_that_the_noise_moves_outside(rng):
  loss = bowl(RATES, 5e-3, 0, rng) + 0.15 * (-1.0) ** np.arange(7)
  with pytest.raises(refusals.NoInteriorMinimum, match="bootstrap samples"):
    minimum(RATES, loss, rng)


def test_too_few_settings(rng):
  settings = np.repeat(RATES[:3], 3)
  with pytest.raises(refusals.TooFewRuns, match="3 different settings"):
    minimum(settings, bowl(settings, 2e-4, 0, rng), rng)


def test_powers_are_those_of_least_squares(rng):
  variables = rng.uniform(1, 100, (9, 2))
  values = 3 * variables[:, 0] ** -0.7 * variables[:, 1] ** 0.3
  law = PowerLaw.through(variables, np.stack([values, 2 * values]))
  np.testing.assert_allclose(law.coefficient, [3, 6])
  np.testing.assert_allclose(law.exponents, [[-0.7, 0.3]] * 2)
  np.testing.assert_allclose(law.at(variables[4]), [values[4], 2 * values[4]])


def test_best_sizes_of_budgets():
  """Equal exponents have parabolas without bias, centred on the best size."""
  law = type(TOY)(E=0.9, A=60.0, B=300.0, alpha=0.45, beta=0.45)
  runs = isoflops(law, least=1e12, noise=2e-3)
  found = isoflop.fit(runs, draws=200)
  assert len(found.budgets) == 4
  assert found.left_out == 0
  for budget in found.budgets:
    best, _ = law.optimum(budget.flops, found.cost)
    assert budget.best.setting == pytest.approx(best, rel=0.1)
    low, high = budget.best.interval
    assert low / 1.1 < best < high * 1.1
  low, high = found.exponent_interval
  assert low < 0.5 < high
  assert found.exponent == pytest.approx(0.5, abs=0.03)


def test_runs_of_nearly_equal_cost_are_one_budget():
  runs = isoflops(TOY, least=1e12)
  wobble = np.random.default_rng(0).uniform(0.95, 1.05, len(runs))
  runs = type(runs)(
    runs.parameters, runs.tokens * wobble, runs.flops * wobble, runs.loss
  )
  groups = isoflop.group_budgets(runs.take(np.arange(len(runs))[::-1]))
  assert [len(group) for group in groups] == [6] * 4
  assert groups[0].flops.max() < groups[1].flops.min()


def test_too_few_budgets():
  runs = isoflops(TOY, least=1e12)
  few = runs.take(np.arange(len(runs)) < 15)  # 6, 6 and 3 sizes
  with pytest.raises(refusals.TooFewBudgets, match="2 budgets with at least 4"):
    isoflop.fit(few)
  assert isoflop.fit(runs.take(np.arange(24) < 21), draws=9).left_out == 3


def test_sizes_that_miss_the_best():
  runs = isoflops(TOY, least=1e12, width=4, centre=1 / 16)
  with pytest.raises(
    refusals.NoInteriorMinimum, match=r"size for 1e\+12 FLOPs"
  ):
    isoflop.fit(runs)


def cells_of(rng, noise=2e-3, settings=RATES, cells=6):
  """Best rate 0.5 N^-0.5 D^0.1, a bowl that steepens on the right."""
  made = {}
  for number in range(cells):
    size, tokens = 1e5 * 2.0**number, 1e7 * 4.0 ** (number % 3)
    best = 0.05 * size**-0.5 * tokens**0.1
    x = np.log(settings / best)
    loss = 2 + 0.05 * x**2 + 0.002 * x**3
    made[size, tokens] = (
      settings,
      loss + noise * rng.standard_normal(len(settings)),
    )
  return made


def test_the_best_rate_is_a_power_of_size_and_tokens(rng):
  settings = np.tile(np.geomspace(2e-5, 2e-2, 11), 2)
  tuned = tuning.fit(cells_of(rng, settings=settings), "rate", draws=200)
  assert tuned.variables == ("parameters", "tokens")
  np.testing.assert_allclose(tuned.law.exponents, [-0.5, 0.1], atol=0.1)
  for number, truth in enumerate((-0.5, 0.1)):
    low, high = bootstrap.interval(tuned.draws.exponents[:, number])
    assert low < truth < high
  rate, (low, high) = tuned.recommend(6.4e6, 1e8, furthest=10)
  truth = 0.05 * 6.4e6**-0.5 * 1e8**0.1
  assert low < truth < high
  assert rate == pytest.approx(truth, rel=0.3)
  with pytest.raises(
    refusals.Extrapolation, match=r"6.4e\+07 parameters are 20"
  ):
    tuned.recommend(6.4e7, 1e8, furthest=10)


def test_what_does_not_differ_is_no_variable(rng):
  cells = {
    (size, 1e8 * (1 + size / 1e9)): columns
    for (size, _), columns in cells_of(rng).items()
  }
  settings = np.geomspace(2e-5, 2e-2, 11)
  for size, tokens in cells:
    best = 0.5 * size**-0.5
    cells[size, tokens] = settings, bowl(settings, best, 0, rng)
  tuned = tuning.fit(cells, "rate", draws=20)
  assert tuned.variables == ("parameters",)
  np.testing.assert_allclose(tuned.law.exponents, [-0.5], atol=1e-6)


def test_a_best_rate_at_the_end_of_those_tried(rng):
  with pytest.raises(
    refusals.NoInteriorMinimum, match=r"rate of 1e\+05 parameters on 1e\+07"
  ):
    tuning.fit(cells_of(rng, settings=RATES[RATES > 5e-4]), "rate")


def test_too_few_cells(rng):
  with pytest.raises(refusals.TooFewRuns, match="3 pairs of size and tokens"):
    tuning.fit(cells_of(rng, cells=3), "rate")
