"""Phases: what is trained on, how it is cut into steps, and at what rate.

A run is a row of phases. Each has its own mixture, context, batch and
schedule, and lasts a stated number of tokens:

  tokens          280 B              720 B            750 B         40 B
  phase           warm-up            constant         context       annealing
  steps      0 .......... 44,505 ......... 158,946 ....... 218,551 ..... 221,730

Tokens here are places in samples, padding included: samples times context.
Everything about steps is arithmetic on the config; no data set is opened.
"""

from collections.abc import Sequence
import dataclasses
import itertools

from yue_jax import checks

PACKINGS = ("best_fit", "split")
ORDERS = ("random", "length")
OVERLONG = ("cut", "sections")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceConfig:
  """One line of a mixture: documents of one kind from one data set.

  Exactly one of `weight` and `rounds` says how much of it is read.

  Attributes:
    data: prepared data set, or the prefix of a Megatron .bin/.idx pair.
    kind: of documents, one of `data.sources.kinds.KINDS`.
    weight: share of the tokens that lines with `rounds` leave, relative to
      the other weights.
    rounds: how often the phase reads the whole of it.
    packing: "best_fit" cuts no document that fits into a sample; "split"
      concatenates documents and splits them at every `context` tokens, as
      Megatron does.
    order: of documents in an epoch: "random", or by "length", short ones
      first (the curriculum of the paper's ablation).
    overlong: what becomes of songs longer than a sample: "cut" wherever it
      ends, or documents of whole "sections" that restate the head.
    expected_tokens: of one epoch, for planning before the data exist; 0 if
      not known. Data that differ by more than a tenth are refused.
  """

  data: str
  kind: str
  weight: float = 0.0
  rounds: float = 0.0
  packing: str = "best_fit"
  order: str = "random"
  overlong: str = "cut"
  expected_tokens: float = 0.0

  def __post_init__(self):
    checks.not_negative(self, "weight rounds expected_tokens")
    if (self.weight > 0) == (self.rounds > 0):
      raise ValueError(
        f"source {self.data!r} ({self.kind}) has weight={self.weight} and"
        f" rounds={self.rounds}; give exactly one of them"
      )
    checks.one_of(self, "packing", PACKINGS)
    checks.one_of(self, "order", ORDERS)
    checks.one_of(self, "overlong", OVERLONG)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RateConfig:
  """Learning rate over one phase, in tokens of the phase.

  It rises linearly from 0 to `peak`, stays there, and falls to `final` by a
  half cosine over the last `decay_tokens`. Without decay it ends at `peak`.
  """

  peak: float
  final: float = 0.0
  warmup_tokens: int = 0
  decay_tokens: int = 0

  def __post_init__(self):
    checks.positive(self, "peak")
    checks.not_negative(self, "final warmup_tokens decay_tokens")
    if self.final > self.peak:
      raise ValueError(f"final={self.final} exceeds peak={self.peak}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhaseConfig:
  """A stretch of training.

  Attributes:
    name: for messages and metrics.
    tokens: planned length; rounded up to whole steps.
    mixture: sources by name.
    context: tokens in one sample.
    samples: in one optimiser step.
    microbatches: parts in which a step is computed.
    rate: of learning.
    exclude: file of song ids, one per line, that are not read; "" for none.
    stop_after: ends the phase after so many tokens, though everything in it
      is planned for `tokens`; 0 for never. A running phase may be ended so.
  """

  name: str
  tokens: int
  mixture: dict[str, SourceConfig]
  context: int
  samples: int
  microbatches: int = 1
  rate: RateConfig
  exclude: str = ""
  stop_after: int = 0

  def __post_init__(self):
    checks.positive(self, "tokens context samples microbatches")
    checks.not_negative(self, "stop_after")
    checks.divides(self, "samples", "microbatches")
    if not self.mixture:
      raise ValueError(f"phase {self.name!r} has an empty mixture")
    if self.rate.warmup_tokens + self.rate.decay_tokens > self.tokens:
      raise ValueError(
        f"phase {self.name!r}: warmup_tokens={self.rate.warmup_tokens} and"
        f" decay_tokens={self.rate.decay_tokens} exceed tokens={self.tokens}"
      )

  @property
  def tokens_per_step(self) -> int:
    return self.samples * self.context

  @property
  def planned_steps(self) -> int:
    """Steps of the whole plan, whether or not the phase ends before."""
    return -(-self.tokens // self.tokens_per_step)

  @property
  def steps(self) -> int:
    if not self.stop_after:
      return self.planned_steps
    return min(self.planned_steps, -(-self.stop_after // self.tokens_per_step))

  @property
  def warmup_steps(self) -> int:
    return round(self.rate.warmup_tokens / self.tokens_per_step)

  @property
  def decay_steps(self) -> int:
    return round(self.rate.decay_tokens / self.tokens_per_step)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
  """A data set that is only evaluated, whole."""

  data: str
  kind: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """What is the same about the data in all phases.

  Attributes:
    seed: of the order of documents and of every draw.
    heldout: share of the songs of every data set that is never trained on,
      by a hash of the song's id; songs with the same codes stay together.
      Evaluated by source and language.
    evaluation: data sets of their own to evaluate on, by name.
    attend_across_documents: whether a token sees the documents packed before
      its own in a sample, as in the released training.
  """

  seed: int = 0
  heldout: float = 0.0
  evaluation: dict[str, EvaluationConfig] = dataclasses.field(
    default_factory=dict
  )
  attend_across_documents: bool = False

  def __post_init__(self):
    if not 0 <= self.heldout < 1:
      raise ValueError(f"heldout={self.heldout} is not in [0, 1)")


def first_steps(phases: Sequence[PhaseConfig]) -> list[int]:
  """Where each phase begins, and in the end where the last one stops.

  Example: phases of 3 and 2 steps -> [0, 3, 5].
  """
  return list(itertools.accumulate((p.steps for p in phases), initial=0))


def steps_by_phase(phases: Sequence[PhaseConfig], steps: int) -> list[int]:
  """How many of the first `steps` steps of a run are taken in each phase.

  Example: 4 steps of phases of 3 and 2 steps -> [3, 1].
  """
  begins = first_steps(phases)[:-1]
  return [
    min(max(steps - begin, 0), phase.steps)
    for phase, begin in zip(phases, begins, strict=True)
  ]


def places(phases: Sequence[PhaseConfig], steps: int) -> int:
  """Places for tokens in the first `steps` steps of a run, padding included."""
  taken = steps_by_phase(phases, steps)
  return sum(n * p.tokens_per_step for n, p in zip(taken, phases, strict=True))


def phase_at(phases: Sequence[PhaseConfig], step: int) -> int:
  """Number of the phase in which step `step` (from 0) is taken.

  Example: phases of 3 and 2 steps: steps 0 to 2 -> 0, from 3 on -> 1.
  """
  starts = first_steps(phases)[:-1]
  return max(i for i, start in enumerate(starts) if start <= step)
