"""The bias of IsoFLOP parabolas, against expansions by hand."""

import json
import pathlib
import runpy

import numpy as np
import pytest

from yue_jax.scaling import bias
from yue_jax.scaling.bias import LAWS, Grid
from yue_jax.scaling.law import SIX_ND

TOOL = pathlib.Path(__file__).parent.parent / "tools/measure_isoflop.py"


@pytest.fixture(scope="module")
def rows():
  return list(bias.noiseless())


def of(rows, law, **grid):
  [row] = [
    row
    for row in rows
    if row["law"] == law
    and row["varied"] in grid
    and all(row[name] == value for name, value in grid.items())
  ]
  return row


def test_every_law_and_grid_has_a_row(rows):
  assert len(rows) == len(LAWS) * len(list(bias.grids()))


def test_equal_exponents_and_centred_grids_have_no_bias(rows):
  for width in bias.WIDTHS:
    row = of(rows, "equal exponents", width=width)
    assert row["size_ratio"] == pytest.approx(1)
    assert row["exponent_error"] == pytest.approx(0, abs=1e-9)


def test_the_first_order_in_the_asymmetry():
  """Half the difference of two laws with exponents exchanged: odd orders."""
  grid = Grid(width=1.5, centre=1.1)
  shifts = []
  for name in ("size-hungry", "data-hungry"):
    runs = bias._planted(LAWS[name], grid)
    found = bias.isoflop.fit(runs, draws=0)
    shifts.append(np.log(bias._ratio(LAWS[name], found, runs.flops.max())))
  # The formula is of an even density; seven points reach farther out.
  points = np.linspace(-1, 1, bias.SIZES)
  reach = np.sum(points**4) / np.sum(points**2) / (3 / 5)
  half, off = np.log(grid.width) / 2, np.log(grid.centre)
  asymmetry = 0.45 - 0.25
  assert (shifts[0] - shifts[1]) / 2 == pytest.approx(
    asymmetry * (off**2 / 2 - reach * half**2 / 10), rel=0.01
  )
  assert bias.first_order(LAWS["size-hungry"], Grid(width=4.0)) == (
    pytest.approx(np.exp(-asymmetry * np.log(2) ** 2 / 10))
  )


def test_only_drift_falsifies_the_exponent(rows):
  for row in rows:
    if "exponent" in row and row["varied"] != "drift":
      assert abs(row["exponent_error"]) < 1e-3
  assert of(rows, "text", drift=1 / 16)["exponent_error"] < -0.02
  assert of(rows, "text", drift=16.0)["exponent_error"] > 0.02


def test_the_law_is_found_from_any_grid(rows):
  for row in rows:
    assert row["fit_exponent_error"] == pytest.approx(0, abs=2e-3)


def test_grids_off_the_centre_are_refused(rows):
  assert of(rows, "text", centre=1 / 8)["refused"] == "NoInteriorMinimum"


def test_waste_is_the_budget_that_the_best_size_saves():
  law, flops = LAWS["text"], 1e22
  best, _ = law.optimum(flops, SIX_ND)
  assert bias.waste(law, best, flops) == pytest.approx(0, abs=1e-6)
  share = 1 - bias.waste(law, best / 3, flops)
  reached = law.loss(best / 3, flops / 6 / (best / 3))
  assert law.loss(*law.optimum(share * flops, SIX_ND)) == pytest.approx(
    reached, rel=1e-5
  )
  assert 0.1 < 1 - share < 0.5


def test_the_tool_writes_results_and_the_page(tmp_path, monkeypatch, capsys):
  pytest.importorskip("matplotlib", reason="the picture needs matplotlib")
  for name, value in (
    ("TRIED", (("size-hungry", Grid()),)),
    ("WIDTHS", (16.0,)),
    ("CENTRES", (1 / 8, 1.0)),
    ("DRIFTS", (1.0,)),
    ("_DRAWS", 20),
  ):
    monkeypatch.setattr(bias, name, value)
  arguments = [str(TOOL), f"--out={tmp_path}", "--tables=2"]
  monkeypatch.setattr("sys.argv", arguments)
  runpy.run_path(str(TOOL), run_name="__main__")
  results = tmp_path / "isoflop.json"
  [row] = json.loads(results.read_text())["noisy"]
  for method in ("fit", "parabolas"):
    assert row[method]["refused"] == 0
    assert abs(row[method]["exponent"]["bias"]) < 0.03
  page = (tmp_path / "isoflop.md").read_text()
  assert "| size-hungry | 16 | 1 | 1 | fit | 0 |" in page
  assert "NoInteriorMinimum | | | |" in page
  (tmp_path / "isoflop.md").unlink()
  before = results.read_bytes()
  monkeypatch.setattr("sys.argv", [*arguments, "--from_results"])
  runpy.run_path(str(TOOL), run_name="__main__")
  assert (tmp_path / "isoflop.md").read_text() == page
  assert results.read_bytes() == before
