"""What the rows of a decoding batch have to work off, as arrays.

An entry of a row's queue is a token, fed as it is, or SAMPLE: tokens are drawn
by a `Rule` until it is satisfied. Sections of a song and windows of residual
codebooks differ in their queues alone:

  a song     head <SOA> <xcodec> SAMPLE(0) text <SOA> <xcodec> SAMPLE(0) ...
  a window   <SOA> <stage_1> ... <stage_2> c SAMPLE(0) c SAMPLE(0) c ...

Made in numpy; jax only learns that `Queue` and `RuleTable` are trees of arrays,
so that they can be handed to a compiled function. Nothing knows the model.
"""

from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

import jax
from jaxtyping import Float, Int
import numpy as np

SAMPLE = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
  """How the tokens of one SAMPLE entry are drawn.

  Attributes:
    cycle: ids allowed for the first, second ... token, then again from the
      first. Two tracks are a cycle of two, seven codebooks one of seven.
    maximum: tokens drawn at most, whole cycles; the stop token not counted.
    minimum: tokens drawn before the stop token is allowed.
    stop: id that ends the entry, after whole cycles only, forced once
      `maximum` is reached; None to draw `maximum` tokens and nothing more.
  """

  cycle: tuple[range, ...]
  maximum: int
  minimum: int = 0
  stop: int | None = None

  def __post_init__(self):
    if not self.cycle or not all(self.cycle):
      raise ValueError(f"cycle={self.cycle} allows no token at some step")
    if any(ids.step != 1 for ids in self.cycle):
      raise ValueError(f"cycle={self.cycle}: ids must follow each other")
    if self.maximum < 1 or self.maximum % len(self.cycle):
      raise ValueError(
        f"maximum={self.maximum}, expected a positive multiple of the"
        f" {len(self.cycle)} tokens of a cycle"
      )
    if not 0 <= self.minimum <= self.maximum:
      raise ValueError(
        f"minimum={self.minimum} is not within 0..maximum={self.maximum}"
      )
    if self.stop is None and self.minimum:
      raise ValueError(f"minimum={self.minimum} has no effect without a stop")
    if self.stop is not None and any(self.stop in ids for ids in self.cycle):
      raise ValueError(f"stop={self.stop} is one of the tokens to be drawn")

  @property
  def longest(self) -> int:
    """Most tokens an entry can take, the stop token included."""
    return self.maximum + (self.stop is not None)

  @property
  def ids(self) -> tuple[range, ...]:
    """All ids the rule names."""
    stop = () if self.stop is None else (range(self.stop, self.stop + 1),)
    return self.cycle + stop


class Row(NamedTuple):
  """The queue of one row: three arrays with one number per entry."""

  tokens: np.ndarray  # int32, an id or SAMPLE
  rules: np.ndarray  # int32, number of the rule where tokens is SAMPLE
  guidance: np.ndarray  # float32, 1 for none; counts where tokens is SAMPLE

  @property
  def is_sampled(self) -> np.ndarray:
    return self.tokens == SAMPLE


def forced(ids: Sequence[int] | np.ndarray) -> Row:
  """Entries that are fed as they are."""
  ids = np.asarray(ids, np.int32)
  return Row(ids, np.zeros_like(ids), np.ones(ids.shape, np.float32))


def sampled(rule: int, *, guidance: float = 1.0) -> Row:
  """One entry that is drawn by rule number `rule`."""
  return Row(
    np.array([SAMPLE], np.int32),
    np.array([rule], np.int32),
    np.array([guidance], np.float32),
  )


def join(rows: Sequence[Row]) -> Row:
  """One queue after the other."""
  return Row(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))


def longest(row: Row, rules: Sequence[Rule]) -> int:
  """Most tokens the row can come to."""
  by_rule = np.array([rule.longest for rule in rules])
  return int(np.where(row.is_sampled, by_rule[row.rules], 1).sum())


def prompt_length(row: Row) -> int:
  """Number of forced entries before the first one that is drawn."""
  drawn = np.flatnonzero(row.is_sampled)
  return int(drawn[0]) if len(drawn) else len(row.tokens)


def check(
  rows: Sequence[Row],
  rules: Sequence[Rule],
  *,
  vocab_size: int,
  max_positions: int,
) -> None:
  """Raises ValueError for what no model of these sizes could work off."""
  for rule in rules:
    if not all(0 <= ids.start < ids.stop <= vocab_size for ids in rule.ids):
      raise ValueError(
        f"{rule} names ids outside the model's 0..{vocab_size - 1}; is it the"
        " model of this vocabulary?"
      )
  for number, row in enumerate(rows):
    _check_row(number, row, rules, vocab_size)
    given, most = int((~row.is_sampled).sum()), longest(row, rules)
    if most > max_positions:
      raise ValueError(
        f"row {number} could come to {most} tokens ({given} given, at most"
        f" {most - given} drawn), but the model has max_positions="
        f"{max_positions}; lower the rule's maximum or shorten the prompt"
      )


def _check_row(
  number: int, row: Row, rules: Sequence[Rule], vocab_size: int
) -> None:
  if not prompt_length(row):
    raise ValueError(f"row {number} must begin with a token to feed")
  if row.tokens.min() < SAMPLE or row.tokens.max() >= vocab_size:
    raise ValueError(
      f"row {number} has tokens {row.tokens.min()}..{row.tokens.max()},"
      f" expected ids of the model, 0..{vocab_size - 1}, or SAMPLE"
    )
  used = row.rules[row.is_sampled]
  if len(used) and not 0 <= used.min() <= used.max() < len(rules):
    raise ValueError(
      f"row {number} uses rules {used.min()}..{used.max()}, but there are"
      f" {len(rules)}"
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Queue:
  """All rows' entries, padded to S, the number of slots."""

  tokens: Int[np.ndarray, "B S"]
  rules: Int[np.ndarray, "B S"]
  guidance: Float[np.ndarray, "B S"]
  lengths: Int[np.ndarray, "B"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RuleTable:
  """The rules R as arrays; C is the longest cycle, stop -1 for none.

  `first` and `last` are the ids between which, both included, the token of a
  step of the cycle lies.
  """

  first: Int[np.ndarray, "R C"]
  last: Int[np.ndarray, "R C"]
  cycle: Int[np.ndarray, "R"]
  minimum: Int[np.ndarray, "R"]
  maximum: Int[np.ndarray, "R"]
  stop: Int[np.ndarray, "R"]


def stack(rows: Sequence[Row], slots: int) -> Queue:
  """Pads every row to `slots` entries of token 0."""
  padded = [
    [np.pad(part, (0, slots - len(part))) for part in row] for row in rows
  ]
  tokens, rules, guidance = (np.stack(x) for x in zip(*padded, strict=True))
  lengths = np.array([len(row.tokens) for row in rows], np.int32)
  return Queue(tokens, rules, guidance, lengths)


def tabulate(rules: Sequence[Rule]) -> RuleTable:
  shape = (len(rules), max(len(rule.cycle) for rule in rules))
  first, last = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
  for number, rule in enumerate(rules):
    for step, ids in enumerate(rule.cycle):
      first[number, step], last[number, step] = ids[0], ids[-1]

  def column(values):
    return np.array(list(values), np.int32)

  return RuleTable(
    first,
    last,
    cycle=column(len(rule.cycle) for rule in rules),
    minimum=column(rule.minimum for rule in rules),
    maximum=column(rule.maximum for rule in rules),
    stop=column(-1 if rule.stop is None else rule.stop for rule in rules),
  )


def span(rules: Sequence[Rule], *, vocab_size: int, multiple: int) -> range:
  """The ids from the first to the last that any rule names.

  Both ends are widened to a multiple, but not beyond the vocabulary.
  Example: rules naming 45..50 and 70..79, multiple 16 -> 32..79.
  """
  named = [ids for rule in rules for ids in rule.ids]
  start = min(ids[0] for ids in named) // multiple * multiple
  stop = -(-(max(ids[-1] for ids in named) + 1) // multiple) * multiple
  return range(start, min(stop, vocab_size))
