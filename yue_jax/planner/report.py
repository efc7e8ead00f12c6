"""Plans as text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from yue_jax.planner import collectives
from yue_jax.planner.cost import Cost
from yue_jax.planner.estimate import Estimate
from yue_jax.planner.plan import Plan, ratios

_GIB = 2**30


def lines(plan: Plan) -> Iterator[str]:
  """The whole report of one plan."""
  yield (
    f"{plan.name}, phase {plan.phase}: {plan.samples} samples of"
    f" {plan.context:,} tokens a step"
  )
  yield f"on {plan.topology} ({plan.topology.chips} chips): {plan.layout}"
  yield (
    f"compiled in {plan.seconds:.0f} s by"
    f" {', '.join(' '.join(v) for v in plan.versions.items())}"
  )
  yield ""
  yield from _memory(plan)
  if plan.work is None:
    return
  yield from _work(plan)
  yield from _roofline(plan)


def estimated(found: Sequence[Estimate]) -> Iterator[str]:
  """Layouts with what they should need; nothing of it was compiled."""
  if not found:
    yield "  none of the layouts tried should fit; use more chips"
  for its in found:
    yield (
      f"  {its.layout!s:52} {_gib(its.needed):>7} of {_gib(its.usable)} GiB,"
      f" at least {its.bound:.2f} s a step"
    )


def parts(its: Estimate) -> Iterator[str]:
  """An estimate in full."""
  verdict = "should fit" if its.fits else "should NOT fit"
  yield f"{its.layout}"
  yield f"memory of one device, GiB, ESTIMATED, not compiled: {verdict}"
  for name, size in its.memory.items():
    yield _row(name, _gib(size))
  yield _row("needed", _gib(its.needed))
  yield _row("usable", _gib(its.usable))
  yield "least seconds of a step, ESTIMATED, HBM left out"
  for name, seconds in its.seconds.items():
    yield _row(name, f"{seconds:.3f}")


def _memory(plan: Plan) -> Iterator[str]:
  its = plan.memory
  verdict = "fits" if plan.fits else "DOES NOT FIT"
  yield f"memory of one device, GiB: {verdict}"
  if plan.refused:
    yield f"  the compiler: {plan.refused.splitlines()[0][:200]}"
  for name in ("parameters", "optimizer", "batch"):
    yield _row(name, _gib(getattr(its, name)))
  for name, size in its.temporaries.items():
    yield _row(name, _gib(size), "alive at the peak")
  if its.peak is not None:
    yield _row("peak", _gib(its.peak), "of all that is alive, by XLA")
    yield _row(
      "needed",
      _gib(its.needed),
      f"arguments {_gib(its.arguments)} and temporaries"
      f" {_gib(its.needed - its.arguments)}, with gaps and padding",
    )
  elif its.needed is not None:
    yield _row("needed", _gib(its.needed), "as the compiler says")
  if its.host:
    yield _row("host", _gib(its.host), "in host memory")
  yield _row("usable", _gib(its.usable), f"of a {plan.topology.chip.name}")
  if its.headroom is not None:
    yield _row("headroom", _gib(its.headroom))
  yield ""


def _work(plan: Plan) -> Iterator[str]:
  work, ratio = plan.work, ratios(plan)
  devices = plan.topology.device_count
  yield "FLOPs of one device and step, in teraFLOPs, loops multiplied out"
  for title, counts in (
    ("matrix products", work.flops.matmuls),
    ("attention kernels", work.flops.kernels),
  ):
    for name, count in counts.items():
      yield _row(name, f"{count / 1e12:,.2f}", title)
  yield _row(
    "in all",
    f"{work.flops.total / 1e12:,.2f}",
    f"{ratio['flops']:.3f} times the model's"
    f" {work.model_flops / devices / 1e12:,.2f} (causal)",
  )
  yield ""
  yield "collectives of one device and step, as the partitioned program asks"
  yield f"  {'':18} {'type':5} {'axes':12} {'loop':10} {'pass':10}" + (
    f" {'count':>7} {'results GiB':>11}"
  )
  for row in collectives.summed(work.collectives):
    if row["result_bytes"] >= 2**20:
      yield (
        f"  {row['kind']:18} {row['dtype']:5} {'+'.join(row['axes']):12}"
        f" {row['where']:10} {row['direction']:10} {row['count']:7,}"
        f" {_gib(row['result_bytes']):>11}"
      )
  yield (
    f"  gathered along fsdp: {ratio['gathered']:.3f} of the"
    f" {_gib(work.must_gather)} GiB it must, and {ratio['permuted']:.3f} in"
    f" rings of permutes; in float32: {ratio['float32_gathered']:.3f}"
  )
  tables = ", ".join(
    f"{n:.2g} {k}" for k, n in ratio["tables_gathered"].items()
  )
  yield f"  embedding tables gathered in a microbatch: {tables or 'never'}"
  yield (
    "  what the compiled program's own collectives return, padding included:"
    f" {_gib(work.compiled_results)} GiB"
  )
  yield ""


def _roofline(plan: Plan) -> Iterator[str]:
  work = plan.work
  yield "roofline of one step, seconds at public peak rates"
  for name, seconds in work.roofline.parts.items():
    mark = "<- bound" if name == work.roofline.bound_by else ""
    yield _row(name, f"{seconds:.3f}", mark)
  host = f", {_gib(work.host_bytes)} GiB on the host" if work.host_bytes else ""
  yield f"  ({_gib(work.hbm_bytes)} GiB read and written in HBM{host})"
  yield ""
  yield "if this were all, and   everything overlapped   nothing did"
  price = "?" if plan.price is None else f"{plan.price:.2f}"
  for name, show in _COSTS.items():
    label = name.format(price=price)
    yield f"  {label:29} {show(work.bound):>12} {show(work.serial):>13}"
  if plan.price is None:
    yield "  (no list price is known for this chip; give --price)"
  yield "not a measurement: no step of it was run"


_COSTS = {
  "seconds a step": lambda c: f"{c.step_seconds:.3f}",
  "tokens/s/chip": lambda c: f"{c.tokens_per_second_per_chip:,.0f}",
  "MFU causal": lambda c: f"{c.mfu_causal:.1%}",
  "MFU full": lambda c: f"{c.mfu_full:.1%}",
  "days for the phase": lambda c: f"{c.days:,.1f}",
  "dollars, at {price} a chip-hour": lambda c: _dollars(c),
}


_HEADS = (
  "recipe", "chips", "layout", "state GiB", "peak", "needed", "headroom",
  "FLOPs / model's", "gathered / must", "bound s", "by", "sum s",
  "tokens/s/chip", "MFU causal", "MFU full", "days", "k$",
)  # fmt: skip


def table(plans: Iterable[tuple[str, Mapping | str]]) -> Iterator[str]:
  """One line of Markdown for each plan, with its title.

  Plans are as `plan.to_json` gives them, or a word about why there is none.
  """
  yield f"| {' | '.join(_HEADS)} |"
  yield f"|---|---|---|{'--:|' * (len(_HEADS) - 3)}"
  for title, its in plans:
    cells = [its] if isinstance(its, str) else _cells(its)
    yield f"| {' | '.join([title, *cells])} |"


def _cells(its: Mapping) -> list[str]:
  memory, work = its["memory"], its["work"]

  def gib(name):
    return "?" if memory[name] is None else _gib(memory[name])

  cells = [
    its["topology"],
    its["layout"]["text"],
    _gib(memory["parameters"] + memory["optimizer"]),
    gib("peak"),
    gib("needed"),
    gib("headroom"),
  ]
  if work is None:
    return [*cells, "does not fit"]
  bound, serial = work["bound"], work["serial"]
  dollars = bound["dollars"]
  return [
    *cells,
    f"{work['ratios']['flops']:.2f}",
    f"{work['ratios']['gathered']:.2f}",
    f"{bound['step_seconds']:.2f}",
    work["roofline"]["bound_by"],
    f"{serial['step_seconds']:.2f}",
    f"{bound['tokens_per_second_per_chip']:,.0f}",
    f"{bound['mfu_causal']:.1%}",
    f"{bound['mfu_full']:.1%}",
    f"{bound['days']:,.1f}",
    "?" if dollars is None else f"{dollars / 1000:,.0f}",
  ]


def _dollars(cost: Cost) -> str:
  return "?" if cost.dollars is None else f"{cost.dollars:,.0f}"


def _row(name: str, value: str, note: str = "") -> str:
  return f"  {name:18} {value:>12}  {note}".rstrip()


def _gib(size: float) -> str:
  return f"{size / _GIB:.2f}"
