"""An analysis as tables, in the order of the paper's."""

from collections.abc import Iterable, Iterator, Sequence
import math

from yue_jax.study.agreement import Agreement
from yue_jax.study.analysis import AVERAGE, Analysis
from yue_jax.study.aspects import ASPECTS
from yue_jax.study.preference import Bounded, Tally


def label(aspect: str) -> str:
  """An aspect as the paper abbreviates it."""
  return "Average" if aspect == AVERAGE else ASPECTS[aspect].label


def tables(found: Analysis) -> Iterator[str]:
  """The whole report, line by line."""
  left = "" if found.left is None else f", {found.left:.0%} for the left side"
  yield (
    f"study {found.study}: {found.judgements} judgements of"
    f" {len(found.raters)} raters{left}"
  )
  hasty = min(found.heard, key=found.heard.get)
  yield (
    f"seconds heard of a clip, median of each rater: {found.heard[hasty]:.1f}"
    f" ({hasty}) to {max(found.heard.values()):.1f}"
  )
  if len(found.raters) < 2:
    yield "one rater only: no intervals over raters, and no agreement"
  yield from _matrix(found)
  yield from _by_system(found, "preference", "preference, % [95 %]", 100)
  yield from _by_system(found, "strength", "Bradley-Terry, log-odds [95 %]", 1)
  yield from _tallies(found)
  yield from _agreement(found)
  yield from _correlations(found, "systems", "Pearson's r over systems *")
  yield from _correlations(found, "songs", "correlation within songs *")
  if found.aspects[AVERAGE].correlations:
    yield "* intervals are in analysis.json; those of few systems are wide"


def _matrix(found: Analysis) -> Iterator[str]:
  shares = found.aspects[AVERAGE].shares
  rows = [
    [name, *(_percent(share) for share in row)]
    for name, row in zip(found.systems, shares, strict=True)
  ]
  yield from _table("row beats column, %, ties half", found.systems, rows)


def _by_system(
  found: Analysis, field: str, title: str, scale: float
) -> Iterator[str]:
  rows = [
    [
      label(name),
      *(_bounded(getattr(its, field)[s], scale) for s in found.systems),
    ]
    for name, its in found.aspects.items()
  ]
  yield from _table(title, found.systems, rows)


def _tallies(found: Analysis) -> Iterator[str]:
  rows = [
    [f"{label(name)}: {its.first} / {its.second}", *_tally(its)]
    for name, aspect in found.aspects.items()
    for its in aspect.tallies
  ]
  heads = ("win", "tie", "lose", "n", "p")
  yield from _table("win, tie, lose, % [95 %]; p: sign test", heads, rows)


def _tally(its: Tally) -> list[str]:
  return [
    *(_bounded(share, 100) for share in (its.wins, its.ties, its.losses)),
    str(its.count),
    "-" if its.p_value is None else f"{its.p_value:.2g}",
  ]


def _agreement(found: Analysis) -> Iterator[str]:
  rows = [
    [label(name), *_agreed(its.agreement)]
    for name, its in found.aspects.items()
    if its.agreement is not None
  ]
  heads = ("alpha", "same, %", "comparisons")
  yield from _table("agreement of raters (Krippendorff)", heads, rows)


def _agreed(its: Agreement) -> list[str]:
  return [
    "-" if its.alpha is None else f"{its.alpha:.3f}",
    "-" if its.same is None else f"{100 * its.same:.1f}",
    str(its.comparisons),
  ]


def _correlations(found: Analysis, field: str, title: str) -> Iterator[str]:
  """Values alone: intervals of so many would not be read here."""
  metrics = list(found.aspects[AVERAGE].correlations)
  rows = [
    [name, *(f"{v.value:.2f}" if v else "-" for v in values)]
    for name in metrics
    if any(
      values := [
        getattr(its.correlations[name], field) for its in found.aspects.values()
      ]
    )
  ]
  if rows:
    yield from _table(title, [label(name) for name in found.aspects], rows)


def _table(
  title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]
) -> Iterator[str]:
  yield ""
  lines = [[title, *heads], *rows]
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  for first, *cells in lines:
    yield _line([first.ljust(widths[0])], cells, widths)


def _line(first: list[str], cells: Iterable[str], widths: Sequence[int]) -> str:
  rest = (cell.rjust(w) for cell, w in zip(cells, widths[1:], strict=True))
  return "  ".join([*first, *rest]).rstrip()


def _bounded(its: Bounded, scale: float) -> str:
  digits = 0 if scale == 100 else 2
  value = f"{scale * its.value:.{digits}f}"
  if its.low is None:
    return value
  low, high = (f"{scale * bound:.{digits}f}" for bound in (its.low, its.high))
  return f"{value} [{low}, {high}]"


def _percent(share: float) -> str:
  return "-" if math.isnan(share) else f"{100 * share:.0f}"
