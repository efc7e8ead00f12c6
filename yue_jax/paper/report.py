"""The sections of the paper in miniature, from files of results alone."""

from collections.abc import Sequence
import math
import os
import pathlib

from yue_jax.paper import figures
from yue_jax.paper.cases import Claim, Finding
from yue_jax.paper.results import Table
from yue_jax.paper.statistics import Interval, interval, verdict

_HEAD = """\
# The paper in miniature

{form} form: models of {sizes}.

Each claim of the paper is tried in a small world whose floors are known exactly
(`yue_jax/world`). Differences are paired by seed; brackets are 95 % intervals
of their mean by Student's t. A statement **holds** when its interval lies above
0, it **does not hold here** when the interval lies below the least effect worth
the name, and else is **undecided**.
"Here" is meant: what a toy shows is that an effect can be had from these
causes, or need not be; it says nothing about its size at the scale of the
paper.

Written by `{command}` from the files beside it; nothing in it is by hand.
"""


def write(
  claims: Sequence[Claim], form: str, results: pathlib.Path, path: pathlib.Path
) -> list[str]:
  """Writes the document and its figures.

  Args:
    claims: those that have a section.
    form: of their cases.
    results: folder of the results files; figures are put there too.
    path: of the document.

  Returns:
    A line a claim: its verdict.
  """
  sections, lines, sizes = [], [], set()
  for claim in claims:
    cases = claim.cases(form)
    table = Table.read(results / f"{claim.name}.jsonl", cases)
    figure = results / f"{claim.name}.png"
    if len(table):
      figures.draw(claim, table, figure)
    sections.append(section(claim, table, figure, path.parent))
    found = _verdict(claim, table)
    lines.append(f"{claim.name}: {found} ({len(table)}/{len(cases)} cases)")
    sizes |= {(c.run.shape.width, c.run.shape.layers) for c in cases}
  command = "make paper" + (" QUICK=1" if form == "quick" else "")
  head = _HEAD.format(
    form=form.capitalize(), command=command, sizes=_sizes(sizes)
  )
  path.write_text("\n".join([head, *sections]))
  return lines


def section(
  claim: Claim, table: Table, figure: pathlib.Path, folder: pathlib.Path
) -> str:
  """Markdown of one claim; `folder` is that of the document."""
  parts = [f"## {claim.title}\n", claim.text.strip() + "\n"]
  parts.append(f"Verdict: **{_verdict(claim, table)}**.\n")
  if len(table) < table.expected:
    parts.append(
      f"{len(table)} of {table.expected} cases have been measured so far.\n"
    )
  parts += ["| statement | difference | seeds | verdict |", "|---|--:|--:|---|"]
  parts += [_finding(finding, table) for finding in claim.findings]
  if len(table):
    where = os.path.relpath(figure, folder)
    parts += ["", f"![{claim.name}]({where})", "", *_means(claim, table)]
  return "\n".join([*parts, ""])


def _finding(finding: Finding, table: Table) -> str:
  found = _interval(finding, table)
  shown = _shown(found, finding.unit) if found else ""
  seeds = found.count if found else 0
  return (
    f"| {finding.statement} | {shown} | {seeds} |"
    f" {verdict(found, least=finding.least)} |"
  )


def _verdict(claim: Claim, table: Table) -> str:
  """That of its first finding."""
  first = claim.findings[0]
  return verdict(_interval(first, table), least=first.least)


def _interval(finding: Finding, table: Table) -> Interval | None:
  numbers = finding.differences(table)
  return interval(numbers) if numbers else None


def _shown(found: Interval, unit: str) -> str:
  shown = f"{found.mean:+.3f}"
  if not math.isinf(found.high):
    shown += f" [{found.low:+.3f}, {found.high:+.3f}]"
  return f"{shown} {unit}".rstrip()


def _means(claim: Claim, table: Table) -> list[str]:
  """A table of the means behind the figure; lists are left to it."""
  names = list(dict.fromkeys(p.value for p in claim.panels if not p.places))
  if not names:
    return []
  rows = [
    "| arm | x | " + " | ".join(names) + " |",
    "|---|--:|" + "--:|" * len(names),
  ]
  for arm in table.arms:
    for x in table.xs(arm):
      values = [list(table.by_seed(n, arm, x).values()) for n in names]
      if any(values):
        cells = [f"{sum(v) / len(v):.3f}" if v else "" for v in values]
        rows.append(f"| {arm} | {x:g} | " + " | ".join(cells) + " |")
  return rows


def _sizes(shapes: set[tuple[int, int]]) -> str:
  widths = sorted({width for width, _ in shapes})
  layers = sorted({count for _, count in shapes})
  return f"width {_range(widths)} with {_range(layers)} layers"


def _range(numbers: list[int]) -> str:
  low, high = numbers[0], numbers[-1]
  return str(low) if low == high else f"{low} to {high}"
