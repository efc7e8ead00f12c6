"""The sweep of widths is what docs/mup.md says of it."""

import collections

import numpy as np
import pytest

from tests.conftest import ROOT
from yue_jax.json_lines import read_lines


@pytest.fixture
def tools(monkeypatch):
  monkeypatch.syspath_prepend(ROOT / "tools")
  pytest.importorskip("matplotlib", reason="the plot needs matplotlib")
  import plot_mup
  import sweep_mup

  return sweep_mup, plot_mup


def test_the_chain_is_as_uncertain_as_it_says(tools):
  """Against frequencies of what follows the same two tokens."""
  sweep, _ = tools
  batches, entropy = sweep.chain(0)
  inputs, targets = batches["inputs"], batches["targets"]
  follows = collections.defaultdict(list)
  for one, two, three in zip(
    inputs[..., :-1].flat, inputs[..., 1:].flat, targets[..., 1:].flat,
    strict=True,
  ):  # fmt: skip
    follows[int(one), int(two)].append(int(three))
  seen = [np.unique(v, return_counts=True)[1] for v in follows.values()]
  often = [counts for counts in seen if counts.sum() > 60]
  assert len(often) > 20
  p = [counts / counts.sum() for counts in often]
  found = [-np.sum(q * np.log(q)) for q in p]
  assert np.mean(found) < entropy < np.log(sweep.VOCABULARY)
  np.testing.assert_array_equal(inputs[..., 1:], targets[..., :-1])


def test_the_results_are_all_there_and_the_page_quotes_them(tools):
  sweep, plot = tools
  rows = read_lines(ROOT / "docs/mup.jsonl")
  done = {sweep.Run(*(row[f] for f in sweep.Run._fields)) for row in rows}
  assert done == set(sweep.runs()) and len(rows) == len(done)
  quoted = (ROOT / "docs/mup.md").read_text()
  for scaled, title in plot.TITLES.items():
    found = plot.tune(rows, scaled)
    for line in plot.lines(title, found):
      assert line in quoted
