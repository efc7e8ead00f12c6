"""Says what a run will read, before anything runs.

  python tools/describe_mixture.py --config=experiments/yue_four_phases.py

prints for every phase its steps and, for every source, the tokens of one
epoch, its share, the tokens that the phase reads of it, how often that is,
and how often it was read in all by then; the same by kind of document; and
warnings. Sources whose data sets exist are opened and counted (and their
documents and packing reported); for others `expected_tokens` is
believed, and marked with "~".

Any field of the config can be overridden, as in training.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import math
import pathlib
import sys

from absl import app, flags
from ml_collections import config_flags

from yue_jax import config
from yue_jax.data.course import Course
from yue_jax.phases import PhaseConfig, SourceConfig, first_steps

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Experiment file; see experiments/.", lock_config=True
)
# Repeating text data up to 4 times costs little, 16 times much of its value,
# and 40 times nearly all of it (arXiv 2305.16264).
OFTEN, TOO_OFTEN = 4, 16


@dataclasses.dataclass(frozen=True)
class Reading:
  """What one phase reads of one source.

  Attributes:
    epoch_tokens: of one epoch; NaN if nobody knows.
    tokens: that the phase reads, padding included.
    note: songs, fill and the like; "" where the data do not exist yet.
  """

  phase: str
  name: str
  source: SourceConfig
  epoch_tokens: float
  tokens: float
  note: str = ""

  @property
  def rounds(self) -> float:
    return self.tokens / self.epoch_tokens

  @property
  def documents(self) -> tuple[str, str]:
    """What is the same documents, however it is called in a phase."""
    return self.source.data, self.source.kind


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments {argv[1:]}; see --help")
  try:
    cfg = config.from_config_dict(_CONFIG.value)
    readings = read_or_expect(cfg)
  except (ValueError, TypeError, OSError) as error:
    sys.exit(f"describe_mixture: {error}")
  print("\n".join(describe(cfg, readings)))


def read_or_expect(cfg: config.RunConfig) -> list[Reading]:
  """From the data if all of them exist, else from what is expected."""
  paths = {s.data for p in cfg.phases for s in p.mixture.values()}
  missing = sorted(p for p in paths if not _exists(p))
  if not missing:
    return list(_counted(Course(cfg.phases, cfg.data, vocab=cfg.vocab)))
  unknown = sorted(
    f"{phase.name}.{name}"
    for phase in cfg.phases
    for name, source in phase.mixture.items()
    if not source.expected_tokens
  )
  if unknown:
    raise ValueError(
      f"{missing} do not exist, and {unknown} have no expected_tokens; prepare"
      " the data, or say how many tokens to expect"
    )
  return [r for phase in cfg.phases for r in _expected(phase)]


def describe(cfg: config.RunConfig, readings: list[Reading]) -> Iterator[str]:
  """Lines of text."""
  starts, warned = first_steps(cfg.phases), {}
  for number, phase in enumerate(cfg.phases):
    yield (
      f"{phase.name}: steps {starts[number]:,} to {starts[number + 1]:,},"
      f" {phase.samples} x {phase.context:,} tokens a step,"
      f" {_short(phase.steps * phase.tokens_per_step)} tokens,"
      f" rate {phase.rate.peak:g}"
    )
    yield _row(
      "source", "data", "kind", "epoch", "share", "read", "x", "in all"
    )
    ours = [r for r in readings if r.phase == phase.name]
    before = readings[: readings.index(ours[0])]
    total = math.fsum(r.tokens for r in ours)
    for r in ours:
      same = [b for b in before if b.documents == r.documents]
      yield _row(
        r.name,
        r.source.data,
        r.source.kind,
        ("" if r.note else "~") + _short(r.epoch_tokens),
        f"{r.tokens / total:.1%}",
        _short(r.tokens),
        f"{r.rounds:.2f}",
        f"{math.fsum(s.rounds for s in [*same, r]):.2f}",
      ) + (f"  {r.note}" if r.note else "")
    yield "  by then, of each kind:"
    for kind, (distinct, times) in repeats([*before, *ours]).items():
      yield f"    {kind}: {_short(distinct)} tokens, read {times:.1f} times"
      warned[kind] = max(times, warned.get(kind, 0.0))
    yield ""
  tokens = math.fsum(r.tokens for r in readings)
  yield f"in all: {starts[-1]:,} steps, {_short(tokens)} tokens"
  yield from (f"warning: {line}" for line in warnings(warned))


def repeats(readings: list[Reading]) -> dict[str, tuple[float, float]]:
  """By kind: tokens of all its data sets, and how often they were read."""
  kinds = sorted({r.source.kind for r in readings})
  found = {}
  for kind in kinds:
    ours = [r for r in readings if r.source.kind == kind]
    distinct = math.fsum({r.documents: r.epoch_tokens for r in ours}.values())
    found[kind] = distinct, math.fsum(r.tokens for r in ours) / distinct
  return found


def warnings(times_by_kind: Mapping[str, float]) -> Iterator[str]:
  for kind, times in sorted(times_by_kind.items()):
    if times > TOO_OFTEN:
      yield (
        f"{kind} documents are read {times:.0f} times; beyond {TOO_OFTEN}"
        " times repeated text taught little more (arXiv 2305.16264)"
      )
    elif times > OFTEN:
      yield f"{kind} documents are read {times:.1f} times; new ones teach more"
    elif times < 1:
      yield f"{1 - times:.0%} of the {kind} documents are never read"


def _counted(course: Course) -> Iterator[Reading]:
  for phase in course.phases:
    counts = phase.mixture.read_before(
      phase.config.steps * phase.config.samples
    )
    for line, count in zip(phase.mixture.lines, counts, strict=True):
      samples, epoch = line.samples, line.samples.first_epoch
      size, fill = samples.samples_in(epoch), samples.fill(epoch)
      songs, cuts = samples.source.overlong(epoch, samples.context)
      yield Reading(
        phase.config.name,
        line.name,
        phase.config.mixture[line.name],
        size * samples.context * fill,
        count * samples.context * fill,
        f"{len(samples.source):,} documents in {size:,} samples,"
        f" {fill:.1%} full, {songs:,} songs longer than one, cut in"
        f" {cuts:,} places",
      )


def _expected(phase: PhaseConfig) -> Iterator[Reading]:
  """Shares of a phase whose data do not exist yet."""
  room = float(phase.planned_steps * phase.tokens_per_step)
  part = phase.steps / phase.planned_steps
  rounds = {n: s.rounds * s.expected_tokens for n, s in phase.mixture.items()}
  weights = {n: s.weight for n, s in phase.mixture.items()}
  left = room - sum(rounds.values())
  if left < 0 or (not any(weights.values()) and left / room > 0.01):
    raise ValueError(
      f"phase {phase.name!r}: rounds of the expected tokens make"
      f" {sum(rounds.values()):.4g} tokens, but tokens={phase.tokens:.4g}"
    )
  for name, source in sorted(phase.mixture.items()):
    share = left * weights[name] / max(math.fsum(weights.values()), 1e-300)
    yield Reading(
      phase.name,
      name,
      source,
      source.expected_tokens,
      (rounds[name] + share) * part,
    )


def _exists(data: str) -> bool:
  return pathlib.Path(data).exists() or pathlib.Path(f"{data}.idx").exists()


def _short(tokens: float) -> str:
  """1234567890 -> "1.23 B"."""
  for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
    if tokens >= size:
      return f"{tokens / size:.3g} {unit}"
  return f"{tokens:.3g}"


def _row(name, data, kind, epoch, share, read, rounds, in_all) -> str:
  return (
    f"  {name:13} {data:22} {kind:12} {epoch:>8} {share:>6} {read:>8}"
    f" {rounds:>7} {in_all:>7}"
  )


if __name__ == "__main__":
  flags.mark_flags_as_required(["config"])
  app.run(main)
