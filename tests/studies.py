"""Small listening tests: songs of tones, and what raters answer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import json
import pathlib
from typing import Any

import numpy as np
import soundfile

from yue_jax.study.aspects import aspects_named
from yue_jax.study.clips import Excerpt
from yue_jax.study.comparisons import Clip, Key, plan_comparisons
from yue_jax.study.folder import StudyConfig, write_study
from yue_jax.study.results import Judgements, read_results
from yue_jax.study.songs import Prompt, shared_songs

SYSTEMS = ("alpha-system", "beta-system", "gamma-system")


def write_tone(
  path: pathlib.Path,
  *,
  seconds: float = 1.5,
  rate: int = 16_000,
  channels: int = 1,
  amplitude: float = 0.1,
) -> pathlib.Path:
  """A tone whose pitch is decided by its path."""
  path.parent.mkdir(parents=True, exist_ok=True)
  pitch = 200 + sum(str(path.parent.name + path.stem).encode()) % 400
  time = np.arange(round(seconds * rate)) / rate
  tone = amplitude * np.sin(2 * np.pi * pitch * time)
  soundfile.write(path, np.stack([tone] * channels, axis=1), rate)
  return path


def write_songs(
  root: pathlib.Path, systems: Sequence[str], songs: Iterable[str], **tone
) -> dict[str, pathlib.Path]:
  """Folders of systems that have all songs."""
  for system in systems:
    for song in songs:
      write_tone(root / system / f"{song}.wav", **tone)
  return {system: root / system for system in systems}


def make(
  root: pathlib.Path,
  *,
  systems: Sequence[str] = SYSTEMS[:2],
  songs: Sequence[str] = ("song-a", "song-b", "song-c"),
  aspects: Sequence[str] = ("musicality", "melody", "lyrics"),
  tone: Mapping[str, float] | None = None,
  **config,
) -> Key:
  """A study in root/study, of songs with prompts."""
  shared = shared_songs(write_songs(root, systems, songs, **(tone or {})))
  prompts = {n: Prompt("pop airy", f"[verse]\n</script> {n}") for n in songs}
  cfg = StudyConfig(
    title="A test & a title",
    aspects=aspects_named(aspects),
    excerpt=Excerpt(),
    **config,
  )
  return write_study(root / "study", shared, prompts, cfg)


def plan(
  systems: int, songs: int, aspects: Sequence[str] = ("musicality",), seed=0
) -> Key:
  """A key alone; systems are s0, s1, ... and songs 0, 1, ..."""
  return plan_comparisons(
    [f"s{i}" for i in range(systems)],
    [str(i) for i in range(songs)],
    aspects,
    content="",
    seed=seed,
  )


def result(
  key: Key, rater: str, choose: Callable[[Clip, Clip, str], str]
) -> dict[str, Any]:
  """What the page saves for a rater.

  Args:
    key: of the study.
    rater: whose; every other rater has the sides turned round.
    choose: of the clips on the left and right, and the aspect.
  """
  answers = []
  for number, (name, two) in enumerate(key.comparisons.items()):
    left, right = two if (number + len(rater)) % 2 else two[::-1]
    clips = key.clips[left], key.clips[right]
    answers.append(
      {
        "comparison": name,
        "left": left,
        "right": right,
        "choices": {aspect: choose(*clips, aspect) for aspect in key.aspects},
        "seconds": 1.5,
        "heard": {"left": 1.5, "right": 1.0},
      }
    )
  return {
    "format": "yue_jax study result 1",
    "study": key.study,
    "rater": rater,
    "assigned": len(answers),
    "started": "2026-01-01T00:00:00.000Z",
    "saved": "2026-01-01T01:00:00.000Z",
    "answers": answers,
  }


def draw_choice(rng: np.random.Generator, strengths: Mapping[str, float]):
  """A rater who follows Bradley-Terry, and calls close ones a tie."""

  def choose(left: Clip, right: Clip, _) -> str:
    lead = strengths[left.system] - strengths[right.system] + rng.logistic()
    if abs(lead) < 0.2:
      return "tie"
    return "left" if lead > 0 else "right"

  return choose


def judge(
  root: pathlib.Path, key: Key, results: Iterable[Mapping[str, Any]]
) -> Judgements:
  """Results, written and read."""
  paths = []
  for number, its in enumerate(results):
    paths.append(root / f"{number}.json")
    paths[-1].write_text(json.dumps(its))
  return read_results(paths, key)
