"""From the table of a sweep to what tools/fit_scaling_law.py prints."""

import csv
import json
import pathlib
import runpy

import numpy as np
import pytest

from tests.planted_laws import TOY
from yue_jax.scaling import refusals, table
from yue_jax.scaling.planted import isoflops

TOOL = pathlib.Path(__file__).parent.parent / "tools/fit_scaling_law.py"
RATES = tuple(2.5e-4 * 2**k for k in range(7))


def best_rate(size):
  return 3e-3 * (size / 1e5) ** -0.3


@pytest.fixture(scope="module")
def rows():
  """24 sizes and tokens, seven rates each; the best costs what TOY says."""
  runs = isoflops(TOY, least=1e12, noise=1e-3)
  made = []
  for size, tokens, flops, loss in zip(
    runs.parameters, runs.tokens, runs.flops, runs.loss, strict=True
  ):
    for rate in RATES:
      worse = 0.002 * np.log(rate / best_rate(size)) ** 2
      made.append(
        {
          "run": f"rate={rate},size={size:.0f}",
          "axes": {"size": f"{size:.0f}", "tokens": int(tokens), "rate": rate},
          "status": "done",
          "reason": "",
          "parameters": round(size),
          "parameters_without_embedding": round(size) - 5000,
          "tokens": round(tokens),
          "flops": flops,
          "loss": loss + worse,
          "eval": {"heldout": {"vocal": 1.0}},
        }
      )
  made[7] |= {"status": "diverged", "loss": None}
  return made


@pytest.fixture
def files(rows, tmp_path):
  lines = tmp_path / "results.jsonl"
  lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
  flat = [
    {k: v for k, v in row.items() if k not in ("axes", "eval")}
    | {f"axes.{name}": value for name, value in row["axes"].items()}
    for row in rows
  ]
  with (tmp_path / "results.csv").open("w", newline="") as file:
    writer = csv.DictWriter(file, flat[0])
    writer.writeheader()
    writer.writerows(flat)
  return lines, tmp_path / "results.csv"


def run_tool(monkeypatch, *arguments):
  monkeypatch.setattr("sys.argv", [str(TOOL), *map(str, arguments)])
  runpy.run_path(str(TOOL), run_name="__main__")


def test_both_forms_of_the_table_are_the_same(files):
  lines, flat = (
    table.tuned(table.finished(table.read(f))[0], ["rate"])[0] for f in files
  )
  one, other = (table.runs_of(rows) for rows in (lines, flat))
  np.testing.assert_array_equal(one.loss, other.loss)
  np.testing.assert_array_equal(one.tokens, other.tokens)
  assert len(one) == 24


def test_what_is_not_done_is_left_out_and_counted(rows):
  done, others = table.finished(rows)
  assert len(done) == 167
  assert others == {"diverged": 1}
  with pytest.raises(refusals.TooFewRuns, match="none of 1 runs"):
    table.finished([{"status": "failed"}])
  assert table.finished([{"loss": 1.0}]) == ([{"loss": 1.0}], {})


def test_tuned_takes_the_best_and_says_what_is_at_the_end(rows):
  done, _ = table.finished(rows)
  best, ends = table.tuned(done, ["rate"])
  assert len(best) == 24
  for row in best:
    beside = [r for r in done if r["axes"]["size"] == row["axes"]["size"]]
    assert row["loss"] == min(r["loss"] for r in beside)
  assert not ends
  high = [row for row in done if row["axes"]["rate"] > 2e-3]
  best, ends = table.tuned(high, ["rate"])
  at_end = [row["axes"]["rate"] in (RATES[4], RATES[-1]) for row in best]
  assert 0 < sum(at_end) == ends["rate"]
  with pytest.raises(
    ValueError, match=r"no axis 'rat' in the table; known: \["
  ):
    table.tuned(done, ["rat"])


def test_runs_that_differ_otherwise_are_no_runs_of_one_law(rows):
  done, _ = table.finished(rows)
  with pytest.raises(ValueError, match="differ in rate; choose a value by"):
    table.runs_of(done)
  assert len(table.runs_of(table.where(done, "rate", "0.002"))) == 24
  with pytest.raises(ValueError, match=r"no run has rate=3; known: 0\.00025, "):
    table.where(done, "rate", "3")


def test_seeds_are_repetitions(rows):
  one = rows[0] | {"axes": rows[0]["axes"] | {"seed": 0}}
  other = one | {"axes": one["axes"] | {"seed": 1}, "tokens": one["tokens"] + 9}
  assert len(table.runs_of([one, other])) == 2
  cells = table.cells_of(
    [r | {"axes": r["axes"] | {"seed": s}} for r in rows[:7] for s in (0, 1)],
    "rate",
  )
  [(settings, _)] = cells.values()
  assert len(settings) == 14


def test_sizes_without_embeddings(rows):
  one = table.runs_of(rows[:1], embeddings=False)
  assert one.parameters == rows[0]["parameters"] - 5000


def test_a_table_with_one_of_tokens_and_flops(tmp_path):
  path = tmp_path / "theirs.csv"
  path.write_text("Model Size,FLOP,loss\n1e6,6e13,3.5\n2e6,6e13,3.4\n")
  columns = {"parameters": "Model Size", "flops": "FLOP"}
  rows = table.read(path, columns)
  with pytest.raises(ValueError, match=r"has \['flops'\], expected both"):
    table.runs_of(rows)
  np.testing.assert_allclose(
    table.runs_of(rows, six_nd=True).tokens, [1e7, 5e6]
  )
  with pytest.raises(ValueError, match="no column 'N', but "):
    table.read(path, {"parameters": "N"})


@pytest.mark.parametrize(
  ("text", "error"),
  [
    ("", "has no rows"),
    ("{}\n{", "line 2 is no JSON"),
    ("[1]\n", "expected an object"),
  ],
)
def test_broken_tables(tmp_path, text, error):
  path = tmp_path / "results.jsonl"
  path.write_text(text)
  with pytest.raises(ValueError, match=error):
    table.read(path)


def test_the_tool_prints_the_law_and_draws_it(
  files, tmp_path, monkeypatch, capsys
):
  pytest.importorskip("matplotlib", reason="the picture needs matplotlib")
  png = tmp_path / "law.png"
  run_tool(
    monkeypatch, files[0], "--tuned", "rate", "--draws=60", f"--png={png}"
  )
  said = capsys.readouterr().out
  assert "1 runs left out: diverged" in said
  assert "24 best of 167 runs over rate" in said
  printed = {}
  for line in said.splitlines():
    name, *numbers = line.split() or [""]
    if name in ("E", "A", "B", "alpha", "beta") and "[" in line:
      printed[name] = [float(n.strip("[,]")) for n in numbers[:4]]
  for name, (value, error, low, high) in printed.items():
    assert low < value < high, name
    assert abs(value - getattr(TOY, name)) < 4 * error, name
  assert len(printed) == 5
  assert "(1x): N = " in said
  assert "best N goes as C^" in said
  for size in ("0.5B", "1B (stage 2)", "2B", "7B"):
    assert f"\n{size} " in said
  assert "three budgets of real songs" in said
  assert png.stat().st_size > 20_000


def test_the_tool_refuses_what_is_far_away(files, monkeypatch, capsys):
  run_tool(
    monkeypatch, files[1], "--tuned", "rate", "--draws=20", "--flops=1e24"
  )
  assert "refused: 1e+24 FLOPs are 1.56e+10 times" in capsys.readouterr().out


def test_the_tool_fits_rates(files, monkeypatch, capsys):
  run_tool(monkeypatch, files[0], "--setting", "rate", "--draws=50")
  said = capsys.readouterr().out
  assert "best rate goes as N^-0.3" in said


def test_the_tool_says_what_is_wrong(files, monkeypatch):
  with pytest.raises(SystemExit, match=r"fit_scaling_law: runs of .* differ"):
    run_tool(monkeypatch, files[0])
  with pytest.raises(SystemExit, match="'rate', expected NAME=VALUE"):
    run_tool(monkeypatch, files[0], "--where", "rate")


def test_help_is_given(monkeypatch, capsys):
  with pytest.raises(SystemExit) as stopped:
    run_tool(monkeypatch, "--help")
  assert stopped.value.code == 0
  assert "Fits a scaling law" in capsys.readouterr().out
