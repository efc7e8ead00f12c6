"""Curves of several runs in one picture, as SVG that a keyboard can read.

A chart is a <figure> that can be focused. Its points are also in its
`data-series`, from which page.js reads out those near the pointer, or near
the place that the arrow keys have moved to; without scripts the picture is
the same. Colours are classes, r0 to r7 by run, that page.css defines.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import html
import json
import math

import numpy as np

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BELOW = 460, 210, 46, 8, 10, 22
COLORS = 8  # of runs; more have dashes
_POINTS = 400  # of a curve
_FEW = 10  # points that are all shown
_EARLY = 0.05  # of the steps: losses fall from heights that hide the rest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
  """One curve.

  Attributes:
    run: number of the run it belongs to.
    name: as it is read out.
    x: (points,), rising.
    y: (points,); NaN where there is none.
    faint: behind the others.
    dots: a dot for every point.
  """

  run: int
  name: str
  x: np.ndarray
  y: np.ndarray
  faint: bool = False
  dots: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Level:
  """A horizontal line of a run: "floor" or "baseline"."""

  run: int
  kind: str
  y: float


def thin(
  x: np.ndarray, y: np.ndarray, reduce: Callable[..., np.ndarray] = np.nanmean
) -> tuple[np.ndarray, np.ndarray]:
  """A curve of at most 400 points, each the mean of neighbours.

  Args:
    x: (points,).
    y: (points,); where it is NaN there is no point.
    reduce: instead of the mean, such as np.max for peaks.
  """
  there = np.isfinite(y)
  x, y = x[there], y[there]
  if len(x) <= _POINTS:
    return x, y
  parts = np.array_split(np.arange(len(x)), _POINTS)
  return (
    np.array([x[part[-1]] for part in parts]),
    np.array([reduce(y[part]) for part in parts]),
  )


def chart(
  title: str,
  series: Sequence[Series],
  levels: Sequence[Level] = (),
  *,
  unit: str,
  log: bool = False,
) -> str:
  """A figure of curves; a sentence in place of it if there are no points.

  Args:
    title: above it.
    series: curves, drawn in this order.
    levels: lines to compare them with.
    unit: of y.
    log: whether y is on a logarithmic axis.
  """
  series = [s for s in series if len(s.x)]
  if not series:
    return f"<h3>{html.escape(title)}</h3><p>nothing to show</p>"
  frame = _Frame.around(series, levels, log=log)
  drawn = [
    *frame.axes(),
    *(frame.level(level) for level in levels),
    *(frame.curve(one) for one in sorted(series, key=lambda s: not s.faint)),
  ]
  data = {
    "left": _LEFT,
    "width": _WIDTH - _LEFT - _RIGHT,
    "first": frame.first,
    "last": frame.last,
    "series": [
      {
        "run": one.run,
        "name": one.name,
        "x": one.x.tolist(),
        "y": [float(f"{value:.5g}") for value in one.y],
      }
      for one in series
    ],
  }
  packed = html.escape(json.dumps(data, separators=(",", ":")))
  return (
    f"<figure class=chart tabindex=0 role=group"
    f" aria-label='{html.escape(title)}, {html.escape(unit)}'"
    f" data-series='{packed}'><figcaption>{html.escape(title)}"
    f" <small>{html.escape(unit)}</small></figcaption>"
    f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' aria-hidden=true>"
    + "".join(drawn)
    + f"<line class=cursor y1={_TOP} y2={_HEIGHT - _BELOW} hidden /></svg>"
    "<output></output></figure>"
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Frame:
  """Where values are on the picture."""

  first: float
  last: float
  low: float
  high: float
  log: bool

  @classmethod
  def around(
    cls, series: Sequence[Series], levels: Iterable[Level], *, log: bool
  ) -> "_Frame":
    """Holds all but what is early, where there are points enough."""
    first = min(float(s.x[0]) for s in series)
    last = max(float(s.x[-1]) for s in series)
    settled = first + _EARLY * (last - first)
    late = [s.y[(s.x >= settled) | (len(s.x) < _FEW)] for s in series]
    values = np.concatenate([*late, [level.y for level in levels]])
    if log:
      values = np.log10(values[values > 0]) if (values > 0).any() else [0.0]
    low, high = float(np.min(values)), float(np.max(values))
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    bottom = 0.0 if not log and 0 <= low <= 0.4 * high else low - room
    return cls(
      first=first,
      last=last if last > first else first + 1,
      low=bottom,
      high=high + room,
      log=log,
    )

  def x(self, value: float) -> float:
    share = (value - self.first) / (self.last - self.first)
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * share

  def y(self, value: float) -> float:
    """Inside the picture or above it, where it is cut off."""
    if self.log:
      value = math.log10(value) if value > 0 else self.low
    share = (value - self.low) / (self.high - self.low)
    floor = _HEIGHT - _BELOW
    return floor - (floor - _TOP) * min(max(share, -0.05), 1.2)

  def curve(self, one: Series) -> str:
    points = [(self.x(x), self.y(y)) for x, y in zip(one.x, one.y, strict=True)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    kind = "faint" if one.faint else "line"
    drawn = f"<polyline class='{_of(one.run)} {kind}' points='{line}' />"
    if one.dots or len(points) == 1:
      drawn += "".join(
        f"<circle class='{_of(one.run)} dot' cx={x:.1f} cy={y:.1f} r=2.6 />"
        for x, y in points
        if y >= _TOP
      )
    return drawn

  def level(self, level: Level) -> str:
    y = f"{self.y(level.y):.1f}"
    return (
      f"<line class='{_of(level.run)} {level.kind}' x1={_LEFT}"
      f" x2={_WIDTH - _RIGHT} y1={y} y2={y} />"
    )

  def axes(self) -> Iterator[str]:
    floor = _HEIGHT - _BELOW
    for value, label in self._y_ticks():
      y = self.y(value)
      yield (
        f"<line class=axis x1={_LEFT} x2={_WIDTH - _RIGHT} y1={y:.1f}"
        f" y2={y:.1f} />"
      )
      yield f"<text x={_LEFT - 6} y={y + 4:.1f} text-anchor=end>{label}</text>"
    for value in ticks(self.first, self.last, 5):
      x = self.x(value)
      anchor = "end" if x > _WIDTH - 40 else "middle"
      yield (
        f"<text x={min(x, _WIDTH - 2):.1f} y={floor + 16}"
        f" text-anchor={anchor}>{short(value)}</text>"
      )

  def _y_ticks(self) -> list[tuple[float, str]]:
    if not self.log:
      return [(v, short(v)) for v in ticks(self.low, self.high, 4)]
    whole = range(math.ceil(self.low), math.floor(self.high) + 1)
    if len(whole) > 1:
      step = -(-len(whole) // 5)
      return [(10.0**e, short(10.0**e)) for e in whole[::step]]
    return [
      (v, short(v)) for v in ticks(10**self.low, 10**self.high, 4) if v > 0
    ]


def ticks(low: float, high: float, count: int) -> list[float]:
  """About so many round numbers from `low` to `high`.

  Example: 0 to 1.1 in 4 -> 0, 0.5, 1.
  """
  raw = (high - low) / count
  power = 10.0 ** math.floor(math.log10(raw))
  step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
  first = math.ceil(low / step - 1e-9)
  last = math.floor(high / step + 1e-9)
  return [round(n * step, 12) for n in range(first, last + 1)]


def short(value: float) -> str:
  """Example: 1500 -> "1.5k", 2e9 -> "2B", 0.0003 -> "3e-4"."""
  for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
    if abs(value) >= size:
      return f"{value / size:.3g}{letter}"
  if value == 0 or abs(value) >= 1e-3:
    return f"{value:.3g}"
  mantissa, exponent = f"{value:.1e}".split("e")
  return f"{float(mantissa):g}e{int(exponent)}"


def _of(run: int) -> str:
  """Classes of a run."""
  return f"run{run} r{run % COLORS}" + (" more" if run >= COLORS else "")
