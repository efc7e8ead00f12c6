"""The page that shows runs beside one another.

One file that loads nothing: it can be mailed, and read offline.
"""

import base64
from collections.abc import Callable, Iterator, Sequence
import html
import importlib.resources
import pathlib

import numpy as np

from yue_jax import accounting
from yue_jax.json_lines import Record
from yue_jax.report import curves, html_page, png
from yue_jax.report.curves import COLORS, Level, Series
from yue_jax.report.runs import Run
from yue_jax.report.songs import SOUND, Sample, Section
from yue_jax.vocab import Stream

_SHADES = ("#7d8590", "#b07aa1", "#edc948", "#3b8f5a", "#4e79a7", "#76b7b2",
           "#e15759", "#59636e")  # fmt: skip
_GAP = 1  # rows between the codes of two tracks
_ROW, _FRAME = 9, 4  # most pixels of a code


def page(
  runs: Sequence[Run], samples: Sequence[Sample], *, by: str, sound_bytes: int
) -> str:
  """The whole page.

  Args:
    runs: to be compared, in the order of their colours.
    samples: songs to be shown.
    by: "steps" or "tokens", what the curves are drawn over.
    sound_bytes: sound files that are larger are named, not embedded.
  """
  title = "Run " + runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
  hiding = "".join(
    f"body:has(#show{n}:not(:checked)) .run{n} {{ display: none }}"
    for n in range(len(runs))
  )
  return html_page.page(
    title,
    [
      _chooser(runs),
      "<div class=wide tabindex=0 role=region aria-label='so far'>"
      f"{_summary(runs)}</div>",
      f"<p>{html.escape(_absences(runs))}</p>",
      html_page.section(
        "Loss by stream",
        "Nats per token. Dots are held-out songs, thin lines training, dashes"
        " what a perfect model would reach, dotted lines one that knows less."
        f" By {by}; what is early and high is cut off.",
        _losses(runs, by),
      ),
      html_page.section(
        "Training", f"Thinned to 400 points; by {by}.", _training(runs, by)
      ),
      *_rehearsals(runs, by),
      _time(runs),
      *_songs(samples, sound_bytes),
    ],
    style=_part("page.css") + hiding,
    script=_part("page.js"),
  )


def _chooser(runs: Sequence[Run]) -> str:
  """The key of the colours, in which runs can be hidden."""
  boxes = "".join(
    f"<label class=r{n % COLORS}><input type=checkbox id=show{n} checked>"
    f" {html.escape(run.name)}</label>"
    for n, run in enumerate(runs)
  )
  return (
    f"<fieldset class=runs aria-label='runs that are shown'>{boxes}</fieldset>"
  )


def _absences(runs: Sequence[Run]) -> str:
  """What is not shown, since it is not there."""
  said = [
    f"{run.name} has no {', no '.join(run.missing)}"
    for run in runs
    if run.missing
  ]
  return ("; ".join(said) + ".") if said else "All they wrote down is here."


def _summary(runs: Sequence[Run]) -> str:
  """One row a run; columns of which nothing is known are left out."""
  rows = [_facts(run) for run in runs]
  heads = [
    head for head in rows[0] if any(row[head] != "unknown" for row in rows)
  ]
  return html_page.table(
    "So far", heads, [[row[h] for h in heads] for row in rows]
  )


def _facts(run: Run) -> dict[str, str]:
  """What a run has come to, by name."""
  held_out = [
    f"{name} {_number(records[-1].get('loss'))}"
    for name, records in run.evaluations.items()
  ]
  loss = _number(run.train[-1].get("loss")) if run.train else "none yet"
  return {
    "run": run.name,
    "parameters": curves.short(accounting.parameter_count(run.config.model)),
    "steps": f"{run.step:,} of {run.config.last_step:,}",
    "tokens": curves.short(run.tokens(run.step)),
    "loss": loss,
    "held out": ", ".join(held_out) or "none",
    "tokens/s": _median(run.train, "tokens_per_second", curves.short),
    "MFU": _median(run.train, "mfu", "{:.1%}".format),
    "goodput": f"{run.time.goodput:.1%}" if run.time else "unknown",
    "starts": str(run.time.attempts) if run.time else "unknown",
    "skipped": str(sum(r.get("skipped") or 0 for r in run.train)),
  }


def _losses(runs: Sequence[Run], by: str) -> Iterator[str]:
  yield curves.chart(
    "all trained streams", _loss_series(runs, by, "loss"), unit="weighted"
  )
  found = {
    key
    for run in runs
    for records in (run.train, *run.evaluations.values())
    for record in records
    for key in record
    if key.startswith("loss/")
  }
  for stream in Stream:
    name = stream.name.lower()
    if f"loss/{name}" not in found:
      continue
    levels = [
      Level(run=n, kind=kind, y=table[name])
      for n, run in enumerate(runs)
      for kind, table in run.bounds.items()
      if name in table
    ]
    trained = any(run.config.loss.weights.get(name) for run in runs)
    yield curves.chart(
      name,
      _loss_series(runs, by, f"loss/{name}"),
      levels,
      unit=_floors(runs, name) if trained else "measured, not trained",
    )


def _floors(runs: Sequence[Run], stream: str) -> str:
  known = {
    curves.short(run.bounds["floor"][stream])
    for run in runs
    if stream in run.bounds.get("floor", {})
  }
  return f"floor {', '.join(sorted(known))}" if known else "floor unknown"


def _loss_series(runs: Sequence[Run], by: str, key: str) -> list[Series]:
  series = []
  for n, run in enumerate(runs):
    series.append(
      _series(n, run, run.train, key, by, run.name, faint=bool(run.evaluations))
    )
    series += [
      _series(n, run, records, key, by, f"{run.name} {held_out}", dots=True)
      for held_out, records in run.evaluations.items()
    ]
  return series


def _training(runs: Sequence[Run], by: str) -> Iterator[str]:
  for title, key, unit, log, reduce in (
    ("learning rate", "learning_rate", "as scheduled", False, np.mean),
    ("gradient norm", "grad_norm", "before clipping, peaks", True, np.max),
    (
      "throughput",
      "tokens_per_second",
      "tokens/s, all devices",
      False,
      np.mean,
    ),
    ("MFU", "mfu", "causal", False, np.mean),
    ("skipped updates", "skipped", "of those between records", False, np.sum),
  ):
    values = [r.get(key) for run in runs for r in run.train]
    if any(values):
      series = [
        _series(n, run, run.train, key, by, run.name, reduce=reduce)
        for n, run in enumerate(runs)
      ]
      yield curves.chart(title, series, unit=unit, log=log)


def _rehearsals(runs: Sequence[Run], by: str) -> Iterator[str]:
  """What the songs were like that runs sang while they were trained."""
  if not any(run.rehearsals for run in runs):
    return
  charts = [
    curves.chart(
      title,
      [
        _series(n, run, run.rehearsals, key, by, run.name, dots=True)
        for n, run in enumerate(runs)
      ],
      unit=unit,
    )
    for title, key, unit in (
      ("lyric error rate", "lyric_error_rate", "of words read back from codes"),
      ("length of songs", "seconds", "seconds, mean"),
      ("sections that did not end", "unended", "share, cut off"),
    )
    if any(key in record for run in runs for record in run.rehearsals)
  ]
  yield html_page.section("Songs sung meanwhile", f"By {by}.", charts)


def _series(
  number: int,
  run: Run,
  records: Sequence[Record],
  key: str,
  by: str,
  name: str,
  *,
  reduce: Callable[..., np.ndarray] = np.mean,
  **drawn: bool,
) -> Series:
  """One value of records, over steps or tokens; null is no point."""
  steps = [record["step"] for record in records]
  if by == "tokens":
    steps = [run.tokens(step) for step in steps]
  values = [record.get(key) for record in records]
  y = np.array([np.nan if v is None else v for v in values], float)
  x, y = curves.thin(np.array(steps, float), y, reduce)
  return Series(run=number, name=name, x=x, y=y, **drawn)


def _time(runs: Sequence[Run]) -> str:
  """Where the time went, as one bar a run."""
  timed = [run for run in runs if run.time and run.time.total]
  bars = [
    html_page.shares(
      f"{run.name}: {run.time.total / 3600:.2f} h,"
      f" {run.time.lost_steps:,} steps taken again",
      {
        kind: (round(1000 * spent), _SHADES[n])
        for n, (kind, spent) in enumerate(run.time.seconds.items())
        if spent
      },
    )
    for run in timed
  ]
  facts = (
    "Goodput is the share of `step`: what all attempts together spent on steps"
    " that count. See yue_jax/train/goodput.py."
    if timed
    else "No run has a goodput.jsonl."
  )
  return html_page.section("Where the time went", facts, bars)


def _songs(samples: Sequence[Sample], sound_bytes: int) -> Iterator[str]:
  facts = (
    "A column is a frame, a row a codebook: above those of the vocal, below"
    " those of the backing track. Equal codes have equal colours."
    if samples
    else "No songs lie in or beside the runs."
  )
  yield html_page.section("Samples", facts, [])
  for sample in samples:
    yield (
      f"<div class=song><h3>{html.escape(sample.tags)}"
      f" <small>{html.escape(str(sample.folder))}"
      f"{'' if sample.step is None else f', step {sample.step:,}'}"
      f"{'' if sample.whole else ', unfinished'}</small></h3>"
      + "".join(_sound(path, sound_bytes) for path in sample.sounds)
      + "<div class=sections>"
      + "".join(map(_section, sample.sections))
      + "</div></div>"
    )


def _sound(path: pathlib.Path, most: int) -> str:
  size, name = path.stat().st_size, html.escape(path.name)
  if size > most:
    return (
      f"<p>{name} ({size / 2**20:.0f} MiB) is too large to be embedded;"
      " --sound-mib raises the limit</p>"
    )
  kind = SOUND[path.suffix.lower()]
  data = base64.b64encode(path.read_bytes()).decode()
  return (
    f"<label class=sound>{name} <audio controls"
    f" src='data:{kind};base64,{data}'></audio></label>"
  )


def _section(section: Section) -> str:
  """Codes as a picture, and the words under it."""
  rows, frames = [], section.codes[0].shape[1]
  for track in section.codes:
    rows += [track, np.full((_GAP, frames), png.BLANK)]
  codes = np.concatenate(rows[:-1])
  heard = "" if section.heard is None else f"\nsung: {section.heard}"
  words = html.escape(section.text.strip() + heard)
  if not frames:
    return f"<figure><figcaption>{words}\nno frames</figcaption></figure>"
  data = base64.b64encode(png.picture(codes)).decode()
  return (
    f"<figure><img alt='codes of {frames} frames' width={frames * _FRAME}"
    f" height={len(codes) * _ROW} src='data:image/png;base64,{data}'>"
    f"<figcaption>{words}</figcaption></figure>"
  )


def _median(
  records: Sequence[Record], key: str, say: Callable[[float], str]
) -> str:
  """Of the values that there are."""
  values = [r[key] for r in records if r.get(key) is not None]
  return say(float(np.median(values))) if values else "unknown"


def _number(value: float | None) -> str:
  return "not finite" if value is None else f"{value:.3f}"


def _part(name: str) -> str:
  files = importlib.resources.files("yue_jax.report")
  return files.joinpath(name).read_text(encoding="utf-8")
