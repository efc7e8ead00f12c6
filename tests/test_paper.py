"""The machine of the paper in miniature, with stand-ins for training."""

import dataclasses
import json
import math
import pathlib
import runpy

import numpy as np
import pytest

from tests.conftest import ROOT
from yue_jax.paper import (
  cases,
  claims,
  corpora,
  machine,
  report,
  setting,
  statistics,
  training,
)
from yue_jax.paper.cases import Case, Claim, Finding, Panel
from yue_jax.paper.results import Results, Table
from yue_jax.sweeps.outcomes import Outcome
from yue_jax.world import corpus as world_corpus
from yue_jax.world.config import WorldConfig

CORPUS = cases.Corpus(
  world=WorldConfig(words=8, syllables=8, codebooks=1),
  sections=(1, 2),
  train=5,
  heldout=2,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
  """A measure that tells how long a run was, times a factor."""

  factor: float = 1.0

  def __call__(self, trained):
    return {"steps": self.factor * trained.steps, "list": [1.0, trained.steps]}


@dataclasses.dataclass(frozen=True)
class FakeTrained:
  run: cases.Run
  folder: pathlib.Path
  corpus: pathlib.Path

  @property
  def steps(self) -> int:
    assert (self.folder / "done").exists() and self.corpus.is_dir()
    return self.run.phases[0].steps


class FakeTraining:
  """`running.run_all` that takes no steps, and dies or diverges on demand."""

  def __init__(self):
    self.trained, self.dies_at, self.outcomes = [], None, {}

  def __call__(self, configs, out, *, parallel, ended):
    done = {}
    for name, cfg in configs.items():
      if (out / name / "done").exists():
        done[name] = Outcome("done")
        continue
      if len(self.trained) == self.dies_at:
        raise KeyboardInterrupt
      self.trained.append(name)
      (out / name).mkdir(parents=True, exist_ok=True)
      (out / name / "done").touch()
      done[name] = self.outcomes.get(cfg.seed, Outcome("done"))
      ended(name, done[name])
    return done


@pytest.fixture
def train() -> FakeTraining:
  return FakeTraining()


@pytest.fixture
def root(tmp_path, corpus) -> pathlib.Path:
  """Where the corpus of all runs is there already."""
  (tmp_path / "work/corpora").mkdir(parents=True)
  (tmp_path / "work/corpora" / CORPUS.name).symlink_to(corpus)
  return tmp_path


def run_of(steps: int, seed: int) -> cases.Run:
  phase = cases.Phase(steps=steps, context=16, samples=2, kinds=(("cot", 1.0),))
  return cases.Run(
    corpus=CORPUS, shape=cases.Shape(), phases=(phase,), seed=seed
  )


def claim_of(factor: float = 1.0, name: str = "steps") -> Claim:
  def make(form):
    return [
      Case(arm=arm, run=run_of(steps + seed, seed), measure=Steps(factor=f))
      for seed in (0, 1)
      for arm, steps, f in (("long", 20, factor), ("short", 10, 1.0))
    ]

  return Claim(
    name=name,
    title="More steps are more steps",
    text="Of course.",
    cases=make,
    findings=(
      Finding(
        statement="long is longer",
        differences=lambda t: t.differences("steps", of="long", minus="short"),
        least=1.0,
      ),
    ),
    panels=(Panel(value="steps", ylabel="steps", bars=True),
            Panel(value="list", ylabel="steps", places=True)),
  )  # fmt: skip


def complete(claims, root, train) -> tuple[int, int, int]:
  places = machine.Places(root / "work", root / "results")
  done = machine.complete(
    claims, "quick", places, parallel=1, train=train, look=FakeTrained
  )
  return done.done, done.dropped, done.measured


def lines(root, name="steps"):
  text = (root / "results" / f"{name}.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]


# -- names ------------------------------------------------------------------


def test_a_name_is_that_of_everything_in_a_run():
  run = run_of(10, 0)
  assert run.name == run_of(10, 0).name
  world = dataclasses.replace(CORPUS.world, vocal_noise=0.03)
  others = [
    run_of(11, 0),
    run_of(10, 1),
    dataclasses.replace(run, shape=cases.Shape(width=32)),
    dataclasses.replace(run, corpus=dataclasses.replace(CORPUS, world=world)),
  ]
  assert len({run.name, *(other.name for other in others)}) == 5


def test_a_case_is_its_run_and_measure_whatever_it_is_called():
  case = Case(arm="a", run=run_of(10, 0), measure=Steps())
  renamed = dataclasses.replace(case, arm="b", x=3.0)
  changed = dataclasses.replace(case, measure=Steps(factor=2.0))
  assert case.name == renamed.name != changed.name


def test_bad_settings_are_refused():
  with pytest.raises(ValueError, match="warmup=8 and decay=3 exceed steps=10"):
    cases.Phase(
      steps=10, context=8, samples=1, kinds=(("cot", 1.0),), warmup=8, decay=3
    )
  with pytest.raises(ValueError, match="expected numbers that differ"):
    dataclasses.replace(CORPUS, sections=(2, 2))
  twice = [Case(arm="a", run=run_of(10, 0), measure=Steps())] * 2
  with pytest.raises(ValueError, match="a place of its own"):
    machine.check_cases("x", twice)


# -- the machine ------------------------------------------------------------


def test_each_run_is_trained_once_and_each_case_has_a_line(root, train):
  both = [claim_of(), claim_of(name="again")]
  assert complete(both, root, train) == (0, 0, 8)
  assert len(train.trained) == len(set(train.trained)) == 4
  for name in ("steps", "again"):
    found = {
      (r["arm"], r["seed"]): r["values"]["steps"] for r in lines(root, name)
    }
    assert found == {
      ("long", 0): 20,
      ("long", 1): 21,
      ("short", 0): 10,
      ("short", 1): 11,
    }


def test_a_kill_loses_nothing_that_was_measured(root, train):
  train.dies_at = 2
  with pytest.raises(KeyboardInterrupt):
    complete([claim_of()], root, train)
  before = lines(root)
  assert len(before) == 2
  train.dies_at = None
  assert complete([claim_of()], root, train) == (2, 0, 2)
  assert lines(root)[:2] == before and len(lines(root)) == 4
  assert len(train.trained) == len(set(train.trained)) == 4


def test_what_was_trained_and_not_measured_is_measured(root, train):
  complete([claim_of()], root, train)
  path = root / "results/steps.jsonl"
  path.write_text(path.read_text()[:-20])  # the last line is cut off
  assert complete([claim_of()], root, train) == (3, 0, 1)
  assert len(lines(root)) == len(train.trained) == 4


def test_a_changed_case_is_done_again_and_its_old_line_goes(root, train):
  complete([claim_of()], root, train)
  assert complete([claim_of(factor=3.0)], root, train) == (2, 2, 2)
  assert {r["values"]["steps"] for r in lines(root)} == {60, 63, 10, 11}


def test_a_diverged_run_has_lines_without_values(root, train):
  train.outcomes[0] = Outcome("diverged", "the loss is not finite")
  assert complete([claim_of()], root, train) == (0, 0, 4)
  lost = [r for r in lines(root) if r["seed"] == 0]
  assert {r["outcome"] for r in lost} == {"diverged (the loss is not finite)"}
  assert not any(r["values"] for r in lost)
  table = Table.read(root / "results/steps.jsonl", claim_of().cases("quick"))
  assert table.differences("steps", of="long", minus="short") == [10]


def test_failed_runs_are_named_after_all_others_are_measured(root, train):
  train.outcomes[0] = Outcome("failed", "OSError: the disk is full")
  with pytest.raises(machine.FailedRuns, match=r"2 trainings .* disk is full"):
    complete([claim_of()], root, train)
  assert [r["seed"] for r in lines(root)] == [1, 1]


# -- tables, statistics -----------------------------------------------------


def test_tables_pair_by_seed():
  claim = claim_of()
  all_cases = claim.cases("quick")
  records = [
    {"case": c.name, "values": {"v": 10 * c.seed + (c.arm == "long")}}
    for c in all_cases[:3]  # the last is missing
  ]
  table = Table(all_cases, [*records, {"case": "old", "values": {}}])
  assert len(table) == 3 and table.expected == 4
  assert table.by_seed("v", "long") == {0: 1, 1: 11}
  assert table.differences("v", of="long", minus="short") == [1]
  assert table.by_seed("w", "long") == {}


def test_the_quantiles_are_those_of_students_t():
  """By integrating the density."""
  for freedom, quantile in enumerate(statistics._T, start=1):
    scale = math.gamma((freedom + 1) / 2) / (
      math.gamma(freedom / 2) * math.sqrt(freedom * math.pi)
    )
    x = np.linspace(0, quantile, 20_001)
    density = scale * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    assert np.trapezoid(density, x) == pytest.approx(0.475, abs=2e-6)


def test_intervals_cover_their_mean_as_often_as_they_say():
  rng = np.random.default_rng(0)
  for count in (2, 3, 5):
    drawn = rng.normal(1.0, 2.0, (4000, count))
    found = [statistics.interval(row.tolist()) for row in drawn]
    covered = np.mean([i.low < 1.0 < i.high for i in found])
    assert abs(covered - 0.95) < 0.012


@pytest.mark.parametrize(
  ("numbers", "least", "expected"),
  [
    ([1.0, 1.1, 0.9], 0.1, "holds"),
    ([-1.0, -1.1, -0.9], 0.1, "does not hold here"),
    ([0.01, 0.02, 0.015], 0.1, "does not hold here"),  # there, but too small
    ([1.0, -1.0, 0.5], 0.1, "undecided"),
    ([5.0], 0.1, "undecided"),
  ],
)
def test_verdicts(numbers, least, expected):
  found = statistics.interval(numbers)
  assert statistics.verdict(found, least=least) == expected


def test_no_numbers_are_undecided():
  assert statistics.verdict(None, least=0.1) == "undecided"
  with pytest.raises(ValueError, match="at least one"):
    statistics.interval([])


# -- the document -----------------------------------------------------------


def test_the_document_follows_from_results_alone(root, train):
  pytest.importorskip("matplotlib", reason="figures need matplotlib")
  complete([claim_of()], root, train)
  path = root / "doc.md"
  results = root / "results"
  said = report.write([claim_of()], "quick", results, path)
  text, picture = path.read_text(), (results / "steps.png").read_bytes()
  assert said == ["steps: holds (4/4 cases)"]
  assert "Verdict: **holds**" in text and "](results/steps.png)" in text
  assert "+10.000 [+10.000, +10.000]" in text
  assert "| long | 0 | 20.500 |" in text
  report.write([claim_of()], "quick", results, path)
  assert path.read_text() == text
  assert (results / "steps.png").read_bytes() == picture


def test_without_results_everything_is_undecided(tmp_path):
  path = tmp_path / "doc.md"
  said = report.write([claim_of()], "quick", tmp_path, path)
  assert said == ["steps: undecided (0/4 cases)"]
  assert "0 of 4 cases" in path.read_text()


# -- corpora, configs, claims -----------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("corpora") / CORPUS.name
  corpora.make(CORPUS, folder)
  return folder


def test_a_corpus_has_songs_of_all_lengths(corpus):
  info = json.loads((corpus / "train/dataset.json").read_text())
  assert info["songs"] == 5 and not sum(info["rejected"].values())
  for sections in (1, 2):
    world = world_corpus.read_world(corpus / f"world-{sections}.json")
    assert world.cfg == CORPUS.world_of(sections)
    manifest = corpus / f"songs/heldout-{sections}/songs.jsonl"
    assert len(manifest.read_text().splitlines()) == 2
  before = sorted((corpus, p.stat().st_mtime) for p in corpus.iterdir())
  corpora.make(CORPUS, corpus)  # is there
  assert before == sorted((corpus, p.stat().st_mtime) for p in corpus.iterdir())


def test_a_run_becomes_a_config(corpus):
  phase = setting.phase("quick", {"cot": 2.0, "icl": 1.0}, steps=120)
  run = dataclasses.replace(run_of(10, 3), phases=(phase,))
  made = training.run_config(run, corpus)
  assert made.seed == made.data.seed == 3
  (only,) = made.phases
  assert (only.warmup_steps, only.steps, only.decay_steps) == (20, 120, 40)
  assert {k: s.kind for k, s in only.mixture.items()} == {
    "cot": "cot",
    "icl": "icl",
  }


@pytest.mark.parametrize("form", cases.FORMS)
def test_claims_are_what_they_should_be(form):
  loaded = claims.load(ROOT / "experiments/paper")
  for claim in loaded:
    found = claim.cases(form)
    machine.check_cases(claim.name, found)
    assert len({case.seed for case in found}) >= (3 if form == "full" else 2)
    empty = Table(found, [])
    assert all(not f.differences(empty) for f in claim.findings)
    for case in found:
      for phase in case.run.phases:
        assert phase.context <= training._POSITIONS


@pytest.mark.parametrize("name", claims.ORDER)
def test_findings_use_every_seed_and_panels_what_is_measured(name):
  (claim,) = claims.load(ROOT / "experiments/paper", [name])
  found = claim.cases("full")
  numbers = (
    "error good unreadable gap vocal singer copied clip_error clip_singer"
  )
  rng = np.random.default_rng(0)
  records = [
    {
      "case": case.name,
      "values": {n: rng.random() for n in numbers.split()}
      | {"by_section": rng.random(setting.LONGEST).tolist()},
    }
    for case in found
  ]
  table = Table(found, records)
  for finding in claim.findings:
    assert len(finding.differences(table)) == len(table.seeds)
    one = Table(
      found, [r for r, c in zip(records, found, strict=True) if c.seed == 1]
    )
    assert len(finding.differences(one)) == 1
  for panel in claim.panels:
    for arm in table.arms:
      assert table.by_seed(panel.value, arm)


def test_help_says_how_to_be_quick(capsys, monkeypatch):
  pytest.importorskip("matplotlib", reason="figures need matplotlib")
  tool = str(ROOT / "tools/paper.py")
  monkeypatch.setattr("sys.argv", [tool, "--help"])
  with pytest.raises(SystemExit) as stopped:
    runpy.run_path(tool, run_name="__main__")
  assert stopped.value.code == 0
  assert "make paper QUICK=1" in capsys.readouterr().out


def test_unknown_claims_are_refused():
  with pytest.raises(ValueError, match=r"no claims \['dreams'\]"):
    claims.load(ROOT / "experiments/paper", ["dreams"])


def test_results_refuse_nothing_that_counts(tmp_path):
  found = claim_of().cases("quick")
  file = Results(tmp_path / "a.jsonl", found)
  file.add(found[0], {"v": 1.0}, seconds=0.26)
  file.close()
  again = Results(tmp_path / "a.jsonl", found)
  again.close()
  assert list(again.done) == [found[0].name] and again.dropped == 0
  assert again.done[found[0].name]["seconds"] == 0.3
