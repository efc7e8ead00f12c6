"""Linear probes: what frozen states of a model say, in the manner of MARBLE.

Songs of one group (an artist, an album) are all in one part, or a probe could
learn the group and seem to know the label. Layer and regularisation are chosen
by the validation part; the test part is looked at once, and its interval is
from drawing groups.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, NamedTuple

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from yue_jax.evaluation import estimates
from yue_jax.evaluation.estimates import Estimate

VALIDATION, TEST = 0.2, 0.2  # shares of the groups
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # inverse regularisation
_LEAST_GROUPS = 10
_ITERATIONS = 2000


class Parts(NamedTuple):
  """Indices of the songs of each part."""

  train: np.ndarray
  validation: np.ndarray
  test: np.ndarray


@dataclasses.dataclass(frozen=True)
class Probe:
  """What a linear probe reads off frozen states.

  Attributes:
    metric: accuracy, or r2.
    layers: the best validation score of each layer, the embedding first.
    layer: the best of them.
    strength: its inverse regularisation.
    test: the score of that layer on the test part.
    chance: the score there of the commonest class, or of the mean.
    songs: of each part.
  """

  metric: str
  layers: tuple[float, ...]
  layer: int
  strength: float
  test: Estimate
  chance: float
  songs: dict[str, int]


def probe_classes(
  states: np.ndarray,
  labels: Sequence[str],
  groups: Sequence[str],
  *,
  seed: int = 0,
) -> Probe:
  """Accuracy of logistic regression.

  Args:
    states: (songs, layers, width) pooled hidden states.
    labels: the class of each song.
    groups: songs of the same group are in the same part.
    seed: of the split.

  Raises:
    ValueError: too few groups, or a class that is missing where it is learnt.
  """
  targets = np.array(labels, str)
  parts = split(states, groups, seed=seed)
  if unknown := sorted(set(targets) - set(targets[parts.train])):
    raise ValueError(
      f"classes {unknown[:3]} have no training song in this split; they need"
      " several groups each, or another seed"
    )
  if len(set(targets)) < 2:
    raise ValueError(f"one class, {targets[0]!r}; expected at least two")
  return _probe(
    states,
    targets,
    np.array(groups, str),
    parts,
    lambda c: LogisticRegression(C=c, max_iter=_ITERATIONS),
    DummyClassifier(),
    accuracy_score,
    metric="accuracy",
  )


def probe_numbers(
  states: np.ndarray,
  numbers: Sequence[float],
  groups: Sequence[str],
  *,
  seed: int = 0,
) -> Probe:
  """R2 of ridge regression; arguments as of `probe_classes`."""
  targets = np.array(numbers, np.float64)
  if not np.isfinite(targets).all():
    raise ValueError(
      f"{(~np.isfinite(targets)).sum()} targets are not finite numbers"
    )
  return _probe(
    states,
    targets,
    np.array(groups, str),
    split(states, groups, seed=seed),
    lambda c: Ridge(alpha=1 / c),
    DummyRegressor(),
    r2_score,
    metric="r2",
  )


def split(states: np.ndarray, groups: Sequence[str], *, seed: int = 0) -> Parts:
  """Parts of 60, 20 and 20 % of the groups, none of them in two."""
  if states.ndim != 3 or len(states) != len(groups):
    raise ValueError(
      f"states of shape {states.shape} for {len(groups)} songs; expected"
      " (songs, layers, width)"
    )
  if not np.isfinite(states).all():
    raise ValueError("states are not finite; is the checkpoint damaged?")
  if (count := len(set(groups))) < _LEAST_GROUPS:
    raise ValueError(
      f"{count} groups of songs; a split that keeps groups together needs at"
      f" least {_LEAST_GROUPS}"
    )
  songs, names = np.arange(len(groups)), np.array(groups, str)
  rest, test = _cut(songs, names, TEST, seed)
  share = VALIDATION / (1 - TEST)
  train, validation = _cut(rest, names[rest], share, seed)
  return Parts(train, validation, test)


def _cut(songs: np.ndarray, groups: np.ndarray, share: float, seed: int):
  splitter = GroupShuffleSplit(1, test_size=share, random_state=seed)
  first, second = next(splitter.split(songs, groups=groups))
  return songs[first], songs[second]


def _probe(
  states: np.ndarray,
  targets: np.ndarray,
  groups: np.ndarray,
  parts: Parts,
  make: Callable[[float], Any],
  dummy: Any,
  score: Callable[[np.ndarray, np.ndarray], float],
  *,
  metric: str,
) -> Probe:
  def fitted(layer: int, strength: float, songs: np.ndarray):
    model = make_pipeline(StandardScaler(), make(strength))
    return model.fit(states[songs, layer], targets[songs])

  def validated(layer: int, strength: float) -> float:
    model = fitted(layer, strength, parts.train)
    predicted = model.predict(states[parts.validation, layer])
    return float(score(targets[parts.validation], predicted))

  scores = np.array(
    [[validated(k, c) for c in STRENGTHS] for k in range(states.shape[1])]
  )
  layer, place = np.unravel_index(scores.argmax(), scores.shape)
  known = np.concatenate([parts.train, parts.validation])
  model = fitted(layer, STRENGTHS[place], known)
  predicted = model.predict(states[parts.test, layer])
  truth = targets[parts.test]
  guessed = dummy.fit(known[:, None], targets[known]).predict(truth[:, None])
  return Probe(
    metric=metric,
    layers=tuple(scores.max(axis=1).tolist()),
    layer=int(layer),
    strength=STRENGTHS[place],
    test=_by_group(groups[parts.test], lambda i: score(truth[i], predicted[i])),
    chance=float(score(truth, guessed)),
    songs={name: len(songs) for name, songs in parts._asdict().items()},
  )


def _by_group(
  groups: np.ndarray, statistic: Callable[[np.ndarray], float]
) -> Estimate:
  """An interval from drawing groups with all of their songs."""
  members = [np.flatnonzero(groups == name) for name in np.unique(groups)]
  return estimates.percentile(
    lambda drawn: statistic(np.concatenate([members[k] for k in drawn])),
    len(members),
  )
