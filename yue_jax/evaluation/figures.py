"""Evaluations as pictures: distributions by system, and what bias does."""

from collections.abc import Sequence
import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from yue_jax.evaluation.measures import Evaluation

_VIOLINS = {
  "vocal_range": ("vocal_range/semitones", "vocal range, semitones"),
  "duration": ("duration/seconds", "duration, seconds"),
}


def draw_all(
  found: Sequence[Evaluation], out: pathlib.Path
) -> list[pathlib.Path]:
  """Writes a PNG of each kind for which a system has something to show."""
  drawn = []
  for name, (path, label) in _VIOLINS.items():
    systems = {e.name: e.samples[path] for e in found if path in e.samples}
    if systems:
      axes = _axes(width=2 + 1.5 * len(systems))
      _violins(axes, {k: list(v.values()) for k, v in systems.items()}, label)
      drawn.append(_save(axes, out / f"{name}.png"))
  if timed := [e for e in found if e.over_time]:
    axes = _axes()
    _over_time(axes, timed)
    drawn.append(_save(axes, out / "lyrics.png"))
  if sized := [e for e in found if e.by_size]:
    axes = _axes()
    _by_size(axes, sized)
    drawn.append(_save(axes, out / "frechet.png"))
  if compared := [e for e in found if _copying(e)]:
    drawn.append(_draw_memorisation(compared, out / "memorisation.png"))
  return drawn


def _axes(width: float = 7.0):
  return plt.subplots(figsize=(width, 4.5), layout="constrained")[1]


def _save(axes, path: pathlib.Path) -> pathlib.Path:
  axes.figure.savefig(path, dpi=110)
  plt.close(axes.figure)
  return path


def _violins(axes, systems: dict[str, list[float]], label: str) -> None:
  """Densities, with every song as a dot and the median as a line."""
  axes.violinplot(list(systems.values()), showmedians=True, showextrema=False)
  rng = np.random.default_rng(0)
  for place, values in enumerate(systems.values(), start=1):
    aside = place + rng.uniform(-0.06, 0.06, len(values))
    axes.plot(aside, values, ".", color="black", alpha=0.4, ms=4)
  names = [f"{name}\n(n={len(values)})" for name, values in systems.items()]
  axes.set(xticks=range(1, len(systems) + 1), xticklabels=names, ylabel=label)


def _over_time(axes, found: Sequence[Evaluation]) -> None:
  for evaluation in found:
    edges, rates = evaluation.over_time
    middles = np.add(edges[:-1], edges[1:]) / 2
    known = [k for k, rate in enumerate(rates) if rate is not None]
    x = middles[known]
    y = [rates[k].value for k in known]
    axes.plot(x, y, "o-", label=evaluation.name)
    low, high = ([getattr(rates[k], b) for k in known] for b in ("low", "high"))
    axes.fill_between(x, low, high, alpha=0.2)
  axes.set(xlabel="seconds into the song", ylabel="word error rate")
  axes.set_ylim(bottom=0)
  axes.legend(loc="upper left")


def _by_size(axes, found: Sequence[Evaluation]) -> None:
  """Distances over 1 / share, and the lines to where the bias is gone."""
  for evaluation in found:
    for model, sizes in evaluation.by_size.items():
      x = 1 / np.array(sizes.shares)
      name = f"{evaluation.name}, {model}: {sizes.limit:.3g} in the limit"
      (line,) = axes.plot(x, sizes.distances, "o", label=name)
      slope = np.polynomial.Polynomial.fit(x, sizes.distances, 1)
      ends = np.array([0, x.max()])
      axes.plot(ends, slope(ends), "--", color=line.get_color())
  axes.set(
    xlabel="all songs / songs used (0: infinitely many)",
    ylabel="Fréchet distance",
  )
  axes.set_xlim(left=0)
  axes.legend(fontsize=8, loc="upper left")


def _copying(evaluation: Evaluation) -> list[str]:
  """Paths of what was compared with a null."""
  return [p[: -len("/null")] for p in evaluation.samples if p.endswith("/null")]


def _draw_memorisation(
  found: Sequence[Evaluation], out: pathlib.Path
) -> pathlib.Path:
  """Shares of songs beyond each value, of systems and of the null."""
  paths = _copying(found[0])
  rows = len({path.rpartition("/")[0] for path in paths})  # one a track
  figure, grid = plt.subplots(
    rows,
    len(paths) // rows,
    figsize=(10, 3.2 * rows),
    layout="constrained",
    squeeze=False,
    sharey=True,
  )
  for axes, path in zip(grid.flat, paths, strict=True):
    lines = {e.name: e.samples[path] for e in found if path in e.samples}
    lines["unrelated songs"] = found[0].samples[f"{path}/null"]
    for name, values in lines.items():
      x = np.sort(list(values.values()))
      color = "black" if name == "unrelated songs" else None
      axes.step(x, 1 - np.arange(len(x)) / len(x), label=name, color=color)
    axes.set(xlabel=path.removeprefix("memorisation/"), ylim=(0, 1.02))
  for axes in grid[:, 0]:
    axes.set_ylabel("share of songs with as much")
  grid[0, -1].legend(fontsize=8, loc="upper right")
  figure.savefig(out, dpi=110)
  plt.close(figure)
  return out
