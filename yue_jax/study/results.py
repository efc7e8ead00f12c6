"""What raters sent back, checked against the key of the study."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from yue_jax.study.comparisons import Key

FORMAT = "yue_jax study result 1"
_ANSWER = {
  "comparison": str,
  "left": str,
  "right": str,
  "choices": dict,
  "heard": dict,
}
_HEARD = dict.fromkeys(("left", "right"), int | float)  # seconds
_SCORES = {"left": 1.0, "tie": 0.5, "right": 0.0}  # of the clip on the left


@dataclasses.dataclass(frozen=True, eq=False)
class Judgements:
  """All answers; one judgement is one rater's on one comparison.

  Attributes:
    key: of the study.
    raters: their names.
    rater: (judgements,) index of who judged.
    comparison: (judgements,) index of what, in the order of the key.
    scores: (judgements, aspects) of the comparison's first clip: 1 where it is
      better, 0.5 for a tie, 0 where the second is.
    first_left: (judgements,) whether the first clip was on the left.
    heard: (judgements,) seconds that were heard of the clip that was heard
      less, however often.
  """

  key: Key
  raters: tuple[str, ...]
  rater: np.ndarray
  comparison: np.ndarray
  scores: np.ndarray
  first_left: np.ndarray
  heard: np.ndarray

  @property
  def systems(self) -> np.ndarray:
    """(judgements, 2) indices of the systems of the first and second clip."""
    number = {name: i for i, name in enumerate(self.key.systems)}
    pairs = [
      [number[self.key.clips[clip].system] for clip in two]
      for two in self.key.comparisons.values()
    ]
    return np.array(pairs)[self.comparison]


def read_results(
  paths: Sequence[pathlib.Path], key: Key, *, incomplete: bool = False
) -> Judgements:
  """Reads the files that raters saved.

  Args:
    paths: of one rater each.
    key: of the study that they took part in.
    incomplete: whether to use those of raters who have not answered all.

  Raises:
    ValueError: a line for every file that cannot be used, with the reason.
  """
  if not paths:
    raise ValueError("no results; expected the files that raters saved")
  results, problems = [], []
  owners: dict[str, pathlib.Path] = {}
  for path in paths:
    try:
      result = _read(path, key, incomplete)
      name = result["rater"]
      if name in owners:
        raise ValueError(
          f"rater {name} is that of {owners[name]} too; keep one of the files"
        )
    except ValueError as error:
      problems.append(f"{path}: {error}")
    else:
      owners[name] = path
      results.append(result)
  if problems:
    raise ValueError(
      f"{len(problems)} of {len(paths)} results cannot be used\n"
      + "\n".join(problems)
    )
  return _joined(results, key)


def _read(path: pathlib.Path, key: Key, incomplete: bool) -> dict[str, Any]:
  try:
    result = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(f"not JSON ({error})") from None
  form = result.get("format") if isinstance(result, dict) else None
  if form != FORMAT:
    raise ValueError(f"of format {form!r}, expected {FORMAT!r}")
  _expect(
    result, {"study": str, "rater": str, "assigned": int, "answers": list}
  )
  if result["study"] != key.study:
    raise ValueError(
      f"of study {result['study']}; the key is that of study {key.study}"
    )
  _check_answers(result["answers"], key)
  answers, assigned = len(result["answers"]), result["assigned"]
  if answers < assigned and not incomplete:
    raise ValueError(
      f"{answers} of {assigned} comparisons answered; let {result['rater']} go"
      " on, or take incomplete results (--incomplete)"
    )
  if not answers:
    raise ValueError("no answers")
  return result


def _check_answers(answers: Iterable[Any], key: Key) -> None:
  seen = set()
  for answer in answers:
    _expect(answer, _ANSWER)
    _expect(answer["heard"], _HEARD)
    name, choices = answer["comparison"], answer["choices"]
    two = key.comparisons.get(name, ())
    if sorted(two) != sorted((answer["left"], answer["right"])):
      raise ValueError(f"{name} is not a comparison of these two clips")
    if name in seen:
      raise ValueError(f"{name} is answered twice")
    seen.add(name)
    if lacking := [aspect for aspect in key.aspects if aspect not in choices]:
      raise ValueError(f"{name} has no answers for {', '.join(lacking)}")
    if extra := sorted(set(choices) - set(key.aspects)):
      raise ValueError(f"{name} has answers for {', '.join(extra)}, not asked")
    if wrong := {a: c for a, c in choices.items() if c not in list(_SCORES)}:
      raise ValueError(f"{name} has answers {wrong}; expected left, tie, right")


def _expect(found: Any, fields: Mapping[str, type]) -> None:
  for name, kind in fields.items():
    if not isinstance(found, dict) or not isinstance(found.get(name), kind):
      raise ValueError(f"no {name} where it should be")


def _joined(results: Sequence[dict[str, Any]], key: Key) -> Judgements:
  numbers = {name: i for i, name in enumerate(key.comparisons)}
  rater, comparison, scores, first_left, heard = [], [], [], [], []
  for number, result in enumerate(results):
    for answer in result["answers"]:
      left = answer["left"] == key.comparisons[answer["comparison"]][0]
      given = [_SCORES[answer["choices"][aspect]] for aspect in key.aspects]
      rater.append(number)
      comparison.append(numbers[answer["comparison"]])
      scores.append(given if left else [1 - score for score in given])
      first_left.append(left)
      heard.append(min(answer["heard"]["left"], answer["heard"]["right"]))
  return Judgements(
    key=key,
    raters=tuple(result["rater"] for result in results),
    rater=np.array(rater),
    comparison=np.array(comparison),
    scores=np.array(scores),
    first_left=np.array(first_left),
    heard=np.array(heard, float),
  )
