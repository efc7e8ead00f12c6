"""The data of a whole run: every phase opened, counted and checked.

  phases ─► data sets, each opened once
     └ selection   who is trained on, held out, excluded
        └ sources  documents of a kind from the selected songs
           └ lines how many samples of each, and from which on
              └ a mixture per phase: sample n of the phase

The batch of step s is thereby a function of (data sets, phases, seed, s).
What a phase reads does not depend on later phases, so that one can be
appended in mid-run; its fingerprint says whether an earlier one was changed.
"""

from collections.abc import Sequence
import dataclasses
import hashlib
import json
import pathlib

import numpy as np

from yue_jax.data import selection
from yue_jax.data.mixture import Line, Mixture, allot
from yue_jax.data.opening import Collection, open_collection
from yue_jax.data.samples import PlannedSamples, Sample
from yue_jax.phases import DataConfig, PhaseConfig, SourceConfig
from yue_jax.vocab import Vocab


@dataclasses.dataclass(frozen=True)
class OpenedPhase:
  """A phase whose data are open.

  Attributes:
    mixture: its samples.
    fingerprints: of what each source gives to it, by name of the source.
    passes: how often each source will have been read since the run began.
  """

  config: PhaseConfig
  mixture: Mixture
  fingerprints: dict[str, str]
  passes: dict[str, float]


class Course:
  """All phases of a run, opened; ValueError or OSError if one cannot be."""

  def __init__(
    self,
    phases: Sequence[PhaseConfig],
    data: DataConfig,
    *,
    vocab: Vocab,
    cache: pathlib.Path | None = None,
  ):
    """Opens every data set, and plans what has not been planned before.

    Args:
      phases: one after the other.
      data: what is the same in all of them.
      vocab: that of the model; must be that of every data set.
      cache: directory in which plans are kept; None keeps none.
    """
    self._config, self._cache = data, cache
    sources = [s for phase in phases for s in _lines(phase).values()]
    self.collections: dict[str, Collection] = {
      path: open_collection(path, vocab)
      for path in dict.fromkeys(source.data for source in sources)
    }
    self._evaluated = {
      name: open_collection(line.data, vocab)
      for name, line in data.evaluation.items()
    }
    hashes = [c.hashes for c in self.collections.values()]
    sides = selection.sides(hashes, data.heldout)
    self.sides = dict(zip(self.collections, sides, strict=True))
    self._left = {}  # where the reading of (data, kind) was left
    self.phases = [self._open_phase(phase) for phase in phases]

  @property
  def tokenizer(self) -> str:
    """Fingerprint of the one tokenizer; "" if no data set records it."""
    return self._common("tokenizer") or ""

  @property
  def window(self) -> int:
    """Frames of a window, in all data sets; 0 if none records it."""
    return self._common("window") or 0

  def evaluations(
    self, phase: PhaseConfig, most: int
  ) -> dict[str, "FirstSamples"]:
    """What is evaluated in a phase: held-out songs by source and language.

    Args:
      phase: gives context and sources.
      most: how many samples of each; 0 for all.
    """
    found = {}
    for name, collection in self._evaluated.items():
      line = SourceConfig(
        data=self._config.evaluation[name].data,
        kind=self._config.evaluation[name].kind,
        weight=1.0,
      )
      members = np.flatnonzero(collection.eligible(line.kind))
      found[name] = self._plan(collection, line, members, phase)
    if self._config.heldout:
      found |= self._heldout(phase)
    return {name: FirstSamples(s, most) for name, s in found.items()}

  def _heldout(self, phase: PhaseConfig) -> dict[str, PlannedSamples]:
    found = {}
    for name, line in _lines(phase).items():
      collection = self.collections[line.data]
      chosen = self._members(line, phase, selection.HELDOUT)
      language = collection.language[chosen]
      for number in np.unique(language):
        tongue = collection.languages[number]
        found[f"{name}/{tongue}" if tongue else name] = self._plan(
          collection, line, chosen[language == number], phase
        )
    return found

  def _open_phase(self, phase: PhaseConfig) -> OpenedPhase:
    used = [(line.data, line.kind) for line in phase.mixture.values()]
    if len(set(used)) < len(used):
      raise ValueError(
        f"phase {phase.name!r} reads the same documents in two lines of its"
        f" mixture: {sorted(used)}; join them"
      )
    readings = {}
    for name, line in _lines(phase).items():
      try:
        readings[name] = self._continue(line, phase)
      except (ValueError, OSError) as error:
        raise type(error)(f"phase {phase.name!r}, {name}: {error}") from error
    counts = allot(
      phase,
      {
        name: _samples_of_rounds(samples, start, phase.mixture[name].rounds)
        for name, (samples, start) in readings.items()
        if phase.mixture[name].rounds
      },
    )
    mixture = Mixture(
      [Line(n, *readings[n], count) for n, count in counts.items()],
      context=phase.context,
    )
    passes = {}
    read = mixture.read_before(phase.steps * phase.samples)
    for line, count in zip(mixture.lines, read, strict=True):
      key = phase.mixture[line.name].data, phase.mixture[line.name].kind
      stop = line.start + count
      self._left[key] = line.samples, stop
      passes[line.name] = _passes(line.samples, stop)
    return OpenedPhase(phase, mixture, _fingerprints(phase, mixture), passes)

  def _continue(
    self, line: SourceConfig, phase: PhaseConfig
  ) -> tuple[PlannedSamples, int]:
    """The samples of a line, and which of them comes next.

    Reading goes on where an earlier phase left it; samples of another length
    begin with the next epoch, since the rest of the last has no counterpart.
    """
    members = self._members(line, phase, selection.TRAIN)
    collection = self.collections[line.data]
    samples = self._plan(collection, line, members, phase)
    if (line.data, line.kind) not in self._left:
      _expect_tokens(line, samples)
      return samples, 0
    before, stop = self._left[line.data, line.kind]
    if before.recipe == samples.recipe:
      return before, stop
    epoch = before.locate(stop - 1)[0] + 1 if stop else before.first_epoch
    return self._plan(collection, line, members, phase, first_epoch=epoch), 0

  def _members(
    self, line: SourceConfig, phase: PhaseConfig, side: int
  ) -> np.ndarray:
    """Numbers of the songs on a side that have such documents, ascending."""
    collection = self.collections[line.data]
    eligible = collection.eligible(line.kind)
    if not eligible.any():
      raise ValueError(
        f"{line.data} has no documents of kind {line.kind!r}, among"
        f" {len(eligible)} songs; choose another kind or data set"
      )
    chosen = eligible & (self.sides[line.data] == side)
    if phase.exclude:
      listed = selection.read_exclusions(phase.exclude)
      [excluded] = selection.among(collection.hashes.ids, listed)
      chosen &= ~excluded
    if side == selection.TRAIN and not chosen.any():
      raise ValueError(
        f"all {eligible.sum()} songs of {line.data} that have documents of"
        f" kind {line.kind!r} are held out or excluded"
      )
    return np.flatnonzero(chosen)

  def _plan(
    self,
    collection: Collection,
    line: SourceConfig,
    members: np.ndarray,
    phase: PhaseConfig,
    *,
    first_epoch: int = 0,
  ) -> PlannedSamples:
    source = collection.source(
      line.kind,
      members=members,
      seed=self._config.seed,
      longest=phase.context if line.overlong == "sections" else None,
    )
    return PlannedSamples(
      source,
      context=phase.context,
      seed=self._config.seed,
      packing=line.packing,
      order=line.order,
      attend_across_documents=self._config.attend_across_documents,
      first_epoch=first_epoch,
      cache=self._cache,
    )

  def _common(self, name: str):
    """What all data sets agree on that know it; None if none does."""
    values = {p: getattr(c, name) for p, c in self.collections.items()}
    known = {p: v for p, v in values.items() if v is not None}
    if len(set(known.values())) > 1:
      raise ValueError(
        f"the data sets differ in their {name}: {known}; prepare them with"
        " the same"
      )
    return next(iter(known.values()), None)


@dataclasses.dataclass(frozen=True)
class FirstSamples:
  """At most `most` samples of an epoch; 0 for all of it."""

  samples: PlannedSamples
  most: int

  @property
  def context(self) -> int:
    return self.samples.context

  def __len__(self) -> int:
    return min(len(self.samples), self.most or len(self.samples))

  def sample(self, number: int) -> Sample:
    return self.samples.sample(number)


def _lines(phase: PhaseConfig) -> dict[str, SourceConfig]:
  """By name, in an order that does not depend on how they were written."""
  return dict(sorted(phase.mixture.items()))


def _samples_of_rounds(
  samples: PlannedSamples, start: int, rounds: float
) -> int:
  """How many samples from `start` on make so many rounds."""
  stop, left = start, rounds
  while left > 1e-9:
    epoch, place = samples.locate(stop)
    size = samples.samples_in(epoch)
    taken = min(left, (size - place) / size)
    stop += round(taken * size)
    left -= taken
  return stop - start


def _passes(samples: PlannedSamples, stop: int) -> float:
  """Epochs begun before this one, and the part of it that is read."""
  if not stop:
    return float(samples.first_epoch)
  epoch, place = samples.locate(stop - 1)
  return epoch + (place + 1) / samples.samples_in(epoch)


def _expect_tokens(line: SourceConfig, samples: PlannedSamples) -> None:
  epoch = samples.first_epoch
  tokens = samples.samples_in(epoch) * samples.context * samples.fill(epoch)
  if line.expected_tokens and not (0.9 <= tokens / line.expected_tokens <= 1.1):
    raise ValueError(
      f"{line.data} has {tokens:.4g} tokens of {line.kind!r} in an epoch,"
      f" expected_tokens={line.expected_tokens:.4g}; correct the expectation,"
      " or set it to 0"
    )


def _fingerprints(phase: PhaseConfig, mixture: Mixture) -> dict[str, str]:
  """By source: all that decides what it gives to the steps of the phase.

  How many samples every source has decides who comes when.
  """
  shares = {line.name: line.count for line in mixture.lines}
  found = {}
  for line in mixture.lines:
    what = [line.samples.fingerprint, line.start, phase.samples, shares]
    text = json.dumps(what, sort_keys=True)
    found[line.name] = hashlib.sha256(text.encode()).hexdigest()[:16]
  return found
