"""Pages of tables and charts, as HTML and SVG: of data, of runs.

Nothing is loaded from anywhere: the file can be mailed. Numbers come in, text
goes out; what they mean is said by whoever asks for a chart.
"""

from collections.abc import Iterable, Mapping, Sequence
import html

import numpy as np

_WIDTH, _HEIGHT, _LEFT, _BELOW = 460, 156, 46, 20
_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #656d76;
  --line: #d8dee4; --bar: #3b6fb6; --paper: #fff }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1;
  --line: #3d444d; --bar: #6ca0e8; --paper: #151b23 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); margin: 2.5em auto; max-width: 62em;
  padding: 0 1.5em }
h1 { font-size: 1.6em; margin: 0 } h2 { font-size: 1.2em;
  margin: 2.2em 0 .2em; padding-top: .8em; border-top: 1px solid var(--line) }
h3 { font-size: .95em; margin: 0 0 .4em } p { margin: .2em 0 1.2em }
p, small { color: var(--soft) }
.charts { display: grid; gap: 1.8em 2.5em;
  grid-template-columns: repeat(auto-fit, minmax(22em, 1fr)) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .2em 1.2em .2em 0; text-align: right; white-space: nowrap }
td:first-child, th:first-child { text-align: left }
th { font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--line)}
.shares { display: flex; height: 1.6em; border-radius: 3px; overflow: hidden;
  margin-bottom: .7em }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px;
  margin-right: .6em }
svg { width: 100%; display: block } svg text { font-size: 11px;
  fill: var(--soft) } .bar { fill: var(--bar) } .mark { stroke: #c43c39;
  stroke-dasharray: 4 3 } .axis { stroke: var(--line) }
"""


def page(
  title: str, parts: Iterable[str], *, style: str = "", script: str = ""
) -> str:
  """A whole document, with style and script of its own if it needs some."""
  return "\n".join(
    [
      "<!doctype html><html lang=en><meta charset=utf-8>",
      "<meta name=viewport content='width=device-width'>",
      f"<title>{html.escape(title)}</title><style>{_STYLE}{style}</style>",
      f"<h1>{html.escape(title)}</h1>",
      *parts,
      f"<script>{script}</script></html>" if script else "</html>",
    ]
  )


def section(title: str, facts: str, charts: Iterable[str]) -> str:
  """A heading, a sentence, and charts side by side where there is room."""
  grid = "".join(f"<div>{chart}</div>" for chart in charts)
  return (
    f"<h2>{html.escape(title)}</h2><p>{html.escape(facts)}</p>"
    f"<div class=charts>{grid}</div>"
  )


def histogram(
  title: str,
  counts: np.ndarray,
  edges: np.ndarray,
  *,
  of: str,
  mark: tuple[float, str] | None = None,
) -> str:
  """Bars with the range of each in its tooltip.

  Args:
    title: above it.
    counts: of every bar, (bars,).
    edges: of the bars, (bars + 1,), rising.
    of: what is counted, and by what.
    mark: a place on the axis, and what is there.
  """
  most, first, last = max(int(counts.max()), 1), edges[0], edges[-1]
  floor = _HEIGHT - _BELOW

  def x(value: float) -> float:
    return _LEFT + (_WIDTH - _LEFT) * (value - first) / (last - first)

  drawn = [
    f"<rect class=bar x={x(low):.1f} width={max(x(high) - x(low) - 1, 1):.1f}"
    f" y={floor - (floor - 14) * count / most:.1f}"
    f" height={(floor - 14) * count / most:.1f}>"
    f"<title>{_short(low)} to {_short(high)}: {count:,}</title></rect>"
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
  ]
  if mark and first <= mark[0] <= last:
    at = x(mark[0])
    side = "end" if at > _WIDTH / 2 else "start"
    drawn.append(
      f"<line class=mark x1={at:.1f} x2={at:.1f} y1=4 y2={floor} />"
      f"<text x={at + (-5 if side == 'end' else 5):.1f} y=12"
      f" text-anchor={side}>{html.escape(mark[1])}</text>"
    )
  ticks = [
    f"<text x={x(value):.1f} y={floor + 15} text-anchor={anchor}>"
    f"{_short(value)}</text>"
    for value, anchor in (
      (first, "start"),
      ((first + last) / 2, "middle"),
      (last, "end"),
    )
  ]
  return (
    f"<h3>{html.escape(title)}</h3>"
    f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role=img>"
    f"<line class=axis x1={_LEFT} x2={_WIDTH} y1={floor} y2={floor} />"
    f"<text x={_LEFT - 6} y=18 text-anchor=end>{most:,}</text>"
    f"<text x={_LEFT - 6} y={floor} text-anchor=end>0</text>"
    + "".join([*drawn, *ticks])
    + f"</svg><small>{html.escape(of)}</small>"
  )


def shares(title: str, parts: Mapping[str, tuple[int, str]]) -> str:
  """One bar divided by count, and its key; parts are (count, colour)."""
  whole = sum(count for count, _ in parts.values())
  stripes = "".join(
    f"<span title='{html.escape(name)} {count / whole:.2%}'"
    f" style='background:{color};width:{count / whole:.4%}'></span>"
    for name, (count, color) in parts.items()
  )
  rows = [
    (
      f"<span class=key style='background:{color}'></span>{html.escape(name)}",
      f"{count / whole:.2%}",
    )
    for name, (count, color) in parts.items()
  ]
  return (
    f"<h3>{html.escape(title)}</h3><div class=shares>{stripes}</div>"
    + _rows(rows)
  )


def table(
  title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]
) -> str:
  """Numbers with separators, text as it is."""
  cells = [
    [f"{c:,}" if isinstance(c, int) else html.escape(str(c)) for c in row]
    for row in rows
  ]
  head = "".join(f"<th>{html.escape(name)}" for name in heads)
  return f"<h3>{html.escape(title)}</h3>" + _rows(cells, head)


def _rows(rows: Iterable[Sequence[str]], head: str = "") -> str:
  lines = ["".join(f"<td>{cell}" for cell in row) for row in rows]
  return (
    "<table>" + "".join(f"<tr>{r}</tr>" for r in [head, *lines]) + "</table>"
  )


def _short(value: float) -> str:
  """12,345 or 0.85."""
  return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"
