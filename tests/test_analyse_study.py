"""What is said of a study equals what is known of it otherwise."""

import itertools
import json
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from tests import studies
from tests.conftest import ROOT
from yue_jax.study.agreement import agreement
from yue_jax.study.analysis import analyse
from yue_jax.study.comparisons import write_key
from yue_jax.study.correlation import over_systems, within_songs
from yue_jax.study.metrics import Metric, read_metrics
from yue_jax.study.preference import (
  expanded_tail,
  preference,
  shares,
  strengths,
  tallies,
  wins,
  with_intervals,
)
from yue_jax.study.results import Judgements, read_results

# Figure 6 of the paper: row beats column, %.
PAPER = ("YuE", "Udio", "Suno V4", "Hailuo", "Tiangong")
BEATS = np.array(
  [
    [0, 47, 27, 64, 50],
    [53, 0, 24, 70, 51],
    [73, 76, 0, 83, 71],
    [36, 30, 17, 0, 31],
    [50, 49, 29, 69, 0],
  ]
)
OVERALL = np.array([47, 49, 76, 29, 49])  # its first column
# Tables 3 and 4: a metric of the five, and Pearson's r with their average.
TABLES = {
  "KL": ([0.372, 0.503, 0.620, 0.756, 0.708], -0.199),
  "FAD": ([1.624, 1.222, 1.544, 2.080, 2.547], -0.351),
  "CE": ([7.115, 7.112, 7.474, 7.350, 7.421], 0.357),
  "CU": ([7.543, 7.520, 7.813, 7.737, 7.766], 0.303),
  "PC": ([6.280, 6.626, 6.601, 6.793, 6.060], -0.128),
  "PQ": ([7.894, 7.803, 8.120, 8.132, 8.220], 0.054),
  "CLAP": ([0.118, 0.310, 0.265, 0.265, 0.244], 0.086),
  "CLaMP 3": ([0.240, 0.156, 0.160, 0.106, 0.114], 0.264),
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> Judgements:
  """Twelve raters of three systems by five songs."""
  key = studies.plan(3, 5, ("musicality", "melody"))
  rng = np.random.default_rng(0)
  choose = studies.draw_choice(rng, {"s0": 0.8, "s1": 0.0, "s2": -0.8})
  results = [studies.result(key, "r" * (i + 1), choose) for i in range(12)]
  return studies.judge(tmp_path_factory.mktemp("results"), key, results)


def judgements(key, rows) -> Judgements:
  """Of rows (rater, comparison, score of its first clip)."""
  rater, comparison, score = map(np.array, zip(*rows, strict=True))
  return Judgements(
    key=key,
    raters=tuple(map(str, range(rater.max() + 1))),
    rater=rater,
    comparison=comparison,
    scores=score[:, None].astype(float),
    first_left=np.ones(len(rater), bool),
    heard=np.ones(len(rater)),
  )


# ---- preference


def test_tallies_are_counts_with_wilsons_intervals(judged):
  scores = judged.scores[:, 0]
  for its in tallies(judged, scores):
    count = {"wins": 0, "ties": 0, "losses": 0}
    for systems, score in zip(judged.systems, scores, strict=True):
      names = [judged.key.systems[i] for i in systems]
      if sorted(names) == sorted((its.first, its.second)):
        score = score if names[0] == its.first else 1 - score
        count[{1: "wins", 0.5: "ties", 0: "losses"}[score]] += 1
    n, z = its.count, 1.959964
    assert n == sum(count.values()) == 60
    for name, hits in count.items():
      share = hits / n
      center = (share + z * z / (2 * n)) / (1 + z * z / n)
      half = (z / (1 + z * z / n)) * math.sqrt(
        share * (1 - share) / n + z * z / (4 * n * n)
      )
      found = getattr(its, name)
      assert found.value == pytest.approx(share)
      assert found.low == pytest.approx(center - half, abs=1e-6)
      assert found.high == pytest.approx(center + half, abs=1e-6)
    decided = count["wins"] + count["losses"]
    fewer = min(count["wins"], count["losses"])
    tail = sum(math.comb(decided, k) for k in range(fewer + 1)) / 2**decided
    assert its.p_value == pytest.approx(min(1, 2 * tail))


def test_preference_is_the_papers():
  won = BEATS.astype(float)
  np.testing.assert_allclose(100 * preference(won), OVERALL, atol=0.5)
  np.testing.assert_array_equal(np.isnan(shares(won)), np.eye(5, dtype=bool))


def test_strengths_of_two_systems_are_a_logit():
  for won, lost in ((3, 1), (10, 0), (2.5, 2.5)):
    first, second = strengths(np.array([[0, won], [lost, 0.0]]))
    logit = math.log((won + 0.5) / (lost + 0.5))
    assert first - second == pytest.approx(logit, abs=1e-6)
    assert first + second == pytest.approx(0, abs=1e-9)


def test_strengths_are_the_most_likely():
  won = BEATS / 4
  padded = won + 0.5 * (1 - np.eye(5))

  def unlikely(rest):
    lead = np.append(rest, -rest.sum())
    return (padded * np.logaddexp(0, lead[None, :] - lead[:, None])).sum()

  best = scipy.optimize.minimize(unlikely, np.zeros(4), tol=1e-10).x
  np.testing.assert_allclose(strengths(won)[:4], best, atol=1e-4)
  # Hunter's minorisation, 2004.
  power = np.ones(5)
  for _ in range(500):
    games = (padded + padded.T) / (power[:, None] + power[None, :])
    power = padded.sum(1) / games.sum(1)
  expected = np.log(power) - np.log(power).mean()
  np.testing.assert_allclose(strengths(won), expected, atol=1e-6)


def test_strengths_of_raters_who_follow_the_model(tmp_path):
  truth = {"s0": 1.0, "s1": 0.2, "s2": -1.2}
  key = studies.plan(3, 60)
  rng = np.random.default_rng(1)

  def choose(left, right, _):
    lead = truth[left.system] - truth[right.system]
    return "left" if rng.logistic() + lead > 0 else "right"

  results = [studies.result(key, "r" * (i + 1), choose) for i in range(20)]
  judged = studies.judge(tmp_path, key, results)
  won = wins(judged, judged.scores[:, 0])
  for bounded, expected in zip(
    with_intervals(won, strengths, draws=100), truth.values(), strict=True
  ):
    assert bounded.value == pytest.approx(expected, abs=0.1)
    assert bounded.high - bounded.low < 0.3


def test_intervals_are_those_of_a_mean_over_raters():
  rng = np.random.default_rng(0)
  raters = 400
  first = rng.beta(4, 2, raters)  # what a rater prefers, of ten comparisons
  won = np.zeros((raters, 2, 2))
  won[:, 0, 1], won[:, 1, 0] = 10 * first, 10 * (1 - first)
  bounded = with_intervals(won, preference, draws=2000)[0]
  half = 1.96 * first.std() / math.sqrt(raters)
  assert bounded.value == pytest.approx(first.mean())
  assert bounded.low == pytest.approx(first.mean() - half, abs=0.1 * half)
  assert bounded.high == pytest.approx(first.mean() + half, abs=0.1 * half)


def test_intervals_of_few_raters_are_wider_than_percentiles():
  # t of 9 degrees of freedom leaves 2.5 % beyond 2.262157; of one, 12.7062.
  expected = scipy.stats.norm.sf(2.262157 * math.sqrt(10 / 9))
  assert expanded_tail(10) == pytest.approx(expected, rel=1e-5)
  assert expanded_tail(10**6) == pytest.approx(0.025, rel=1e-4)
  rng = np.random.default_rng(0)
  first = rng.beta(4, 2, 6)
  won = np.zeros((6, 2, 2))
  won[:, 0, 1], won[:, 1, 0] = first, 1 - first
  bounded = with_intervals(won, preference, draws=2000)[0]
  means = first[rng.integers(6, size=(2000, 6))].mean(1)
  tail = expanded_tail(6)
  low, high = np.quantile(means, [tail, 1 - tail])
  assert bounded.low == pytest.approx(low, abs=0.02)
  assert bounded.high == pytest.approx(high, abs=0.02)
  assert bounded.low < np.quantile(means, 0.02)
  assert bounded.high > np.quantile(means, 0.98)


def test_one_rater_has_no_interval():
  (first, _) = with_intervals(np.array([[[0, 3], [1, 0.0]]]), preference)
  assert (first.value, first.low, first.high) == (0.75, None, None)


# ---- agreement


def alpha_by_pairs(units) -> float:
  """Krippendorff's alpha from its definition, every unit both ways round."""
  units = [u for u in units if len(u) > 1]
  units = [*units, *[[1 - value for value in u] for u in units]]
  values = [value for unit in units for value in unit]
  observed = sum(
    sum((a - b) ** 2 for a, b in itertools.permutations(unit, 2))
    / (len(unit) - 1)
    for unit in units
  ) / len(values)
  expected = sum((a - b) ** 2 for a, b in itertools.permutations(values, 2)) / (
    len(values) * (len(values) - 1)
  )
  return 1 - observed / expected


def test_agreement_is_krippendorffs_alpha():
  rng = np.random.default_rng(3)
  key = studies.plan(2, 8)
  rows = [
    (rater, comparison, rng.choice([0, 0.5, 1], p=[0.2, 0.2, 0.6]))
    for rater in range(4)
    for comparison in range(8)
    if rng.random() < 0.7 or comparison == 0
  ]
  units = [[s for _, c, s in rows if c == k] for k in range(8)]
  judged = judgements(key, rows)
  found = agreement(judged, judged.scores[:, 0])
  assert found.alpha == pytest.approx(alpha_by_pairs(units))
  pairs = [p for u in units for p in itertools.combinations(u, 2)]
  assert found.comparisons == sum(len(u) > 1 for u in units)
  # A mean over pairs of raters, hence of comparisons with many.
  same = sum(a == b for a, b in pairs) / len(pairs)
  assert found.same == pytest.approx(same)
  turned = [(r, c, 1 - s if c % 2 else s) for r, c, s in rows]
  judged = judgements(key, turned)
  assert agreement(judged, judged.scores[:, 0]).alpha == pytest.approx(
    found.alpha
  )


@pytest.mark.parametrize(
  ("answers", "alpha", "same"),
  [
    ([(1, 1, 1), (0, 0, 0)], 1.0, 1.0),
    ([(0.5, 0.5, 0.5)], None, 1.0),
    ([(1,), (0,)], None, None),
  ],
)
def test_agreement_at_its_ends(answers, alpha, same):
  rows = [(r, c, s) for c, its in enumerate(answers) for r, s in enumerate(its)]
  judged = judgements(studies.plan(2, 3), rows)
  found = agreement(judged, judged.scores[:, 0])
  assert found.alpha == alpha and found.same == same


# ---- correlation


@pytest.mark.parametrize("name", TABLES)
def test_correlations_over_systems_are_the_papers(name):
  values, expected = TABLES[name]
  key = studies.plan(5, 1)
  judged = judgements(key, [(0, 0, 1)])
  metric = Metric(dict(zip(key.systems, values, strict=True)), {})
  found = over_systems(metric, OVERALL / 100, judged)
  assert found.value == pytest.approx(expected, abs=6e-4)
  # Fisher's transformation, whose standard error is 1 / sqrt(n - 3).
  half = 1.959964 / math.sqrt(2)
  assert math.atanh(found.low) == pytest.approx(
    math.atanh(found.value) - half, abs=1e-5
  )


def test_correlations_that_would_mean_nothing():
  two = judgements(studies.plan(2, 1), [(0, 0, 1)])
  metric = Metric({"s0": 1.0, "s1": 2.0, "s2": 2.0}, {})
  assert over_systems(metric, np.array([0.4, 0.6]), two) is None
  three = judgements(studies.plan(3, 1), [(0, 0, 1)])
  assert over_systems(metric, np.full(3, 0.5), three) is None
  flat = Metric(dict.fromkeys(("s0", "s1", "s2"), 1.0), {})
  assert over_systems(flat, np.array([0.1, 0.5, 0.9]), three) is None
  assert within_songs(metric, three.scores[:, 0], three, draws=10) is None
  found = over_systems(metric, np.array([0.1, 0.5, 0.9]), three)
  assert found.value == pytest.approx(math.sqrt(3) / 2) and found.low is None


def test_correlation_within_songs_counts_comparisons_both_ways(judged):
  key, rng = judged.key, np.random.default_rng(2)
  by_song = {
    system: {str(song): rng.normal() for song in range(5)}
    for system in key.systems
  }
  scores = judged.scores[:, 1]
  xs, ys = [], []
  for number, two in enumerate(key.comparisons.values()):
    first, second = (key.clips[clip] for clip in two)
    x = by_song[first.system][first.song] - by_song[second.system][second.song]
    y = scores[judged.comparison == number].mean() - 0.5
    xs += [x, -x]
    ys += [y, -y]
  found = within_songs(Metric({}, by_song), scores, judged, draws=200)
  assert found.value == pytest.approx(np.corrcoef(xs, ys)[0, 1])
  assert -1 <= found.low < found.value < found.high <= 1


def test_a_metric_that_says_what_raters_say(judged):
  number = {name: -i for i, name in enumerate(judged.key.systems)}
  by_song = {s: {str(i): number[s] for i in range(5)} for s in number}
  difference = judged.systems[:, 1] - judged.systems[:, 0]
  scores = 0.5 + difference / 10
  found = within_songs(Metric({}, by_song), scores, judged, draws=50)
  assert found.value == pytest.approx(1)
  assert found.low == pytest.approx(1)


# ---- metrics from files


def test_metrics_of_all_forms(tmp_path):
  key = studies.plan(2, 2)
  path = tmp_path / "metrics.json"

  def read(described):
    path.write_text(json.dumps(described))
    return read_metrics(path, key)

  plain = read({"s0": {"a": 1, "b": 2}, "s1": {"a": 3.5}, "s9": {}})
  assert plain == {"a": Metric({"s0": 1.0, "s1": 3.5}, {})}
  songs = {"s0": {"0": 1.0, "1": 2.0, "9": 6.0}, "s1": {"0": 4.0, "1": 5.0}}
  by_song = read({s: {"a": values} for s, values in songs.items()})
  assert by_song == {"a": Metric({"s0": 3.0, "s1": 4.5}, songs)}
  evaluation = {
    "format": 1,
    "systems": {
      system: {
        "measures": {
          "range/mean": {"value": 7.0, "low": 6.0, "high": 8.0},
          "range/median": {"value": 6.5, "low": 6.0, "high": 8.0},
          "error": {"value": 0.3, "low": 0.2, "high": 0.4},
          "distance": {"value": 0.1, "low": 0.0, "high": 0.2},
        },
        "samples": {"range": values, "error": values},
      }
      for system, values in songs.items()
    },
  }
  found = read(evaluation)
  assert found["range/mean"] == Metric({"s0": 7.0, "s1": 7.0}, songs)
  assert found["range/median"] == Metric({"s0": 6.5, "s1": 6.5}, {})
  assert found["error"] == Metric({"s0": 0.3, "s1": 0.3}, songs)
  assert found["distance"] == Metric({"s0": 0.1, "s1": 0.1}, {})


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("{", "has no metrics"),
    ("[1]", "has no metrics"),
    ('{"s0": 3, "s1": 4}', "has no metrics"),
    ('{"s0": {"a": 1}}', "has no metrics of s1; it has systems s0"),
    ('{"s0": {"a": 1}, "s1": {"b": 1}}', "no metric that all systems have"),
    ('{"s0": {"a": NaN}, "s1": {"a": 1}}', "a is nan, not a finite number"),
    ('{"s0": {"a": "x"}, "s1": {"a": 1}}', "a is 'x', not a finite number"),
    ('{"s0": {"a": {}}, "s1": {"a": 1}}', "a has no songs"),
  ],
)
def test_metrics_that_cannot_be_used(tmp_path, text, message):
  path = tmp_path / "metrics.json"
  path.write_text(text)
  with pytest.raises(ValueError, match=message):
    read_metrics(path, studies.plan(2, 2))


# ---- results from files


def changed(change):
  key = studies.plan(2, 3, ("musicality", "melody"))
  result = studies.result(key, "anna", lambda *_: "tie")
  change(result)
  return key, result


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda r: r.update(study="0"), "of study 0; the key is that of study"),
    (lambda r: r.update(format="x"), "of format 'x'"),
    (lambda r: r["answers"].pop(), r"2 of 3 comparisons answered; let anna"),
    (lambda r: r["answers"][1].update(comparison="pair-0"), "pair-0 is not a"),
    (lambda r: r["answers"][1].update(left="clip-0"), "of these two clips"),
    (lambda r: r["answers"].append(r["answers"][0]), "is answered twice"),
    (lambda r: r["answers"][0]["choices"].pop("melody"), "answers for melody"),
    (lambda r: r["answers"][0]["choices"].update(melody="both"), "'both'"),
    (lambda r: r["answers"][0]["choices"].update(melody=[]), "expected left"),
    (lambda r: r["answers"][0]["choices"].update(joy="left"), "joy, not asked"),
    (lambda r: r["answers"][0]["heard"].pop("left"), "no left where"),
    (lambda r: r.pop("rater"), "no rater where"),
    (lambda r: r["answers"].insert(0, 3), "no comparison where"),
  ],
)
def test_results_that_cannot_be_used(tmp_path, change, message):
  key, result = changed(change)
  with pytest.raises(ValueError, match=message):
    studies.judge(tmp_path, key, [result])


def test_raters_who_are_there_twice_and_files_that_are_no_results(tmp_path):
  key, result = changed(lambda r: None)
  with pytest.raises(ValueError, match="rater anna is that of"):
    studies.judge(tmp_path, key, [result, result])
  (tmp_path / "1.json").write_text("nothing")
  (tmp_path / "2.json").write_text("[]")
  paths = [tmp_path / f"{i}.json" for i in range(3)]
  with pytest.raises(
    ValueError, match="2 of 3 results cannot be used"
  ) as error:
    read_results(paths, key)
  assert len(str(error.value).splitlines()) == 3  # one line for each
  with pytest.raises(ValueError, match="no results"):
    read_results([], key)


def test_incomplete_results_are_used_when_asked_for(tmp_path):
  key, result = changed(lambda r: r["answers"].pop())
  path = tmp_path / "anna.json"
  path.write_text(json.dumps(result))
  assert len(read_results([path], key, incomplete=True).rater) == 2
  result["answers"].clear()
  path.write_text(json.dumps(result))
  with pytest.raises(ValueError, match="no answers"):
    read_results([path], key, incomplete=True)


def test_a_system_that_nobody_judged():
  key = studies.plan(3, 1)
  judged = judgements(key, [(0, 0, 1), (1, 0, 0.5)])
  (lacking,) = set(range(3)) - set(judged.systems[0])
  with pytest.raises(ValueError, match=f"nobody has judged s{lacking}"):
    analyse(judged, {})


# ---- the tool


def test_the_tool(tmp_path, monkeypatch, capsys):
  monkeypatch.syspath_prepend(ROOT / "tools")
  import analyse_study

  key = studies.plan(3, 4, ("musicality", "lyrics"))
  write_key(key, tmp_path / "key.json", {})
  rng = np.random.default_rng(0)
  choose = studies.draw_choice(rng, {"s0": 2.0, "s1": 0.0, "s2": -2.0})
  results = []
  for rater in ("a", "bb", "ccc"):
    results.append(tmp_path / f"{rater}.json")
    results[-1].write_text(json.dumps(studies.result(key, rater, choose)))
  metrics = {
    s: {"range": 20.0 - i, "flat": 1} for i, s in enumerate(key.systems)
  }
  (tmp_path / "metrics.json").write_text(json.dumps(metrics))
  arguments = [
    str(tmp_path / "key.json"),
    *map(str, results),
    f"--metrics={tmp_path}/metrics.json",
    f"--out={tmp_path}/out",
    "--draws=20",
  ]
  analyse_study.main(arguments)
  said = capsys.readouterr().out
  assert "36 judgements of 3 raters" in said
  assert "median of each rater: 1.0 (a) to 1.0" in said
  assert (tmp_path / "out" / "tables.txt").read_text() in said
  assert "Musicality: s0 / s1" in said and "LyricFollow: s1 / s2" in said
  found = json.loads((tmp_path / "out" / "analysis.json").read_text())
  assert list(found["aspects"]) == ["musicality", "lyrics", "average"]
  average = found["aspects"]["average"]
  assert average["shares"][0][0] is None
  order = [average["strength"][s]["value"] for s in key.systems]
  assert order == sorted(order, reverse=True)
  assert average["correlations"]["range"]["systems"]["value"] > 0.9
  assert average["correlations"]["flat"]["systems"] is None
  assert (tmp_path / "out" / "study.png").read_bytes()[:4] == b"\x89PNG"
  with pytest.raises(SystemExit, match="exists already"):
    analyse_study.main(arguments)
  with pytest.raises(SystemExit, match="is not the key of a study"):
    analyse_study.main([arguments[1], arguments[2], "--out=x"])
