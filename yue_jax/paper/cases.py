"""What is trained and measured for a claim, as plain values with names.

  Claim ── cases(form) ──► Case(arm, x, run, measure), ...
                             └ Run(corpus, shape, phases, seed)

A run is named by a hash of everything in it, and so is a case: runs that two
arms or two claims have in common are trained once, and a case whose settings
were changed is another case, whose old result is not taken for the new.
"""

from collections.abc import Callable
import dataclasses
import functools
import hashlib
import json
from typing import Any, Protocol

from yue_jax import checks
from yue_jax.world.config import WorldConfig

FORMS = ("full", "quick")
_VERSION = 1  # raise it when the same values train or measure otherwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
  """Songs of one world, with one or several numbers of sections.

  Attributes:
    world: whose `sections` is not used.
    sections: of songs; each number has its share of the training songs, and
      held-out songs of its own.
    train: songs to learn from, in all.
    heldout: songs to measure on, of each number of sections.
  """

  world: WorldConfig
  sections: tuple[int, ...]
  train: int
  heldout: int

  def __post_init__(self):
    checks.positive(self, "train heldout")
    if not self.sections or len(set(self.sections)) < len(self.sections):
      raise ValueError(
        f"sections={self.sections}, expected numbers that differ, one or more"
      )

  def world_of(self, sections: int) -> WorldConfig:
    """The world of songs with so many sections; tables are the same in all."""
    return dataclasses.replace(self.world, sections=sections)

  @property
  def name(self) -> str:
    return _hash(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
  """A decoder's size; the MLP is three times as wide as the model."""

  width: int = 64
  layers: int = 2
  heads: int = 4

  def __post_init__(self):
    checks.positive(self, "width layers heads")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
  """A stretch of training, in optimiser steps.

  Attributes:
    kinds: of documents, with their weights in the mixture.
    order: of documents in an epoch, as in `phases.SourceConfig`.
    warmup, decay: steps in which the rate rises to `peak` and falls to
      `final`.
  """

  steps: int
  context: int
  samples: int
  kinds: tuple[tuple[str, float], ...]
  order: str = "random"
  peak: float = 5e-3
  final: float = 0.0
  warmup: int = 0
  decay: int = 0

  def __post_init__(self):
    checks.positive(self, "steps context samples peak")
    checks.not_negative(self, "final warmup decay")
    if self.warmup + self.decay > self.steps:
      raise ValueError(
        f"warmup={self.warmup} and decay={self.decay} exceed steps={self.steps}"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """A model to train. `seed` is of its weights and of the order of data."""

  corpus: Corpus
  shape: Shape
  phases: tuple[Phase, ...]
  seed: int

  @functools.cached_property
  def name(self) -> str:
    return _hash(self)


class Measure(Protocol):
  """A frozen dataclass of settings that looks at a trained model."""

  def __call__(self, trained: Any) -> dict[str, Any]:
    """Values by name, numbers or lists of numbers; see `trained.Trained`."""


@dataclasses.dataclass(frozen=True)
class All:
  """Several measures at once: their values by name, each name after a prefix.

  Example: (("", Losses(...)), ("icl_", Singing(...))) has "gap", "icl_error".
  """

  parts: tuple[tuple[str, Measure], ...]

  def __call__(self, trained: Any) -> dict[str, Any]:
    measured = [
      (prefix + name, value)
      for prefix, part in self.parts
      for name, value in part(trained).items()
    ]
    values = dict(measured)
    if len(values) < len(measured):
      raise ValueError(f"{self.parts}: two values have one name; use prefixes")
    return values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
  """One line of a table of results.

  Attributes:
    arm: what is compared with what.
    x: where on the axis of the claim; 0 where it has none.
    run: the model.
    measure: what is looked at.
  """

  arm: str
  x: float = 0.0
  run: Run
  measure: Measure

  @property
  def seed(self) -> int:
    return self.run.seed

  @functools.cached_property
  def name(self) -> str:
    return _hash([self.run, self.measure])


@dataclasses.dataclass(frozen=True)
class Panel:
  """One picture of a section: a value by `x` (or by place), a line an arm.

  Attributes:
    value: name of a measured number; of a list of numbers with `places`.
    ylabel, xlabel: what the axes say.
    places: names what a list goes along; the lists are then drawn at the
      largest `x`, each from place 1 on.
    bars: draws arms side by side rather than along `x`.
    log: whether the axis of `x` is logarithmic.
  """

  value: str
  ylabel: str
  xlabel: str = ""
  places: bool = False
  bars: bool = False
  log: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
  """A statement that holds when its differences are positive.

  Attributes:
    statement: what is claimed, in a sentence.
    differences: one number a seed of a table (`results.Table`).
    least: the smallest effect worth the name: an interval that lies wholly
      below it says that the statement does not hold here.
    unit: of the differences.
  """

  statement: str
  differences: Callable[[Any], list[float]]
  least: float
  unit: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
  """A claim of the paper and how it is tried here.

  Attributes:
    name: of its file.
    title: the claim, as a heading.
    text: paragraphs for the reader.
    cases: all that is to be measured, by form.
    findings: the first one decides the verdict.
    panels: of the figure.
  """

  name: str
  title: str
  text: str
  cases: Callable[[str], list[Case]]
  findings: tuple[Finding, ...]
  panels: tuple[Panel, ...]


def _plain(value: Any) -> Any:
  """A value of this module as what JSON can hold."""
  if not dataclasses.is_dataclass(value):
    raise TypeError(f"{value!r} is neither a dataclass nor plain")
  fields = dataclasses.fields(value)
  return {field.name: getattr(value, field.name) for field in fields}


def to_json(value: Any) -> str:
  """A dataclass of this module for reading."""
  return json.dumps(value, default=_plain, indent=1) + "\n"


def _hash(value: Any) -> str:
  """Twelve hex digits of a value; the same on every machine."""

  def named(value):
    return {"": type(value).__name__, **_plain(value)}

  text = json.dumps([_VERSION, value], default=named, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]
