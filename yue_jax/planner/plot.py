"""A plan as a picture: what takes the memory, and what takes the time."""

import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from yue_jax.planner.plan import Plan


def draw(plan: Plan, out: pathlib.Path) -> None:
  """Writes a PNG: memory of one device as a stack, times of a step as bars."""
  figure, (left, right) = plt.subplots(
    1, 2, figsize=(11, 5), width_ratios=(1, 2), layout="constrained"
  )
  figure.suptitle(
    f"{plan.name}, {plan.phase}, {plan.context:,} tokens: {plan.layout}"
    f"\non {plan.topology}",
    fontsize=11,
  )
  _draw_memory(left, plan)
  _draw_times(right, plan)
  figure.savefig(out, dpi=110)
  plt.close(figure)


def _draw_memory(axes, plan: Plan) -> None:
  its, gib = plan.memory, 2**30
  parts = {
    "parameters": its.parameters,
    "optimizer": its.optimizer,
    "batch": its.batch,
    **its.temporaries,
  }
  if its.needed is not None:
    parts["gaps, padding"] = max(0, its.needed - sum(parts.values()))
  bottom = 0.0
  for number, (name, size) in enumerate(parts.items()):
    axes.bar(
      [plan.topology.chip.name],
      [size / gib],
      bottom=bottom,
      label=f"{name} {size / gib:.2f}",
      color=f"C{number}",
      width=0.5,
    )
    bottom += size / gib
  axes.axhline(
    its.usable / gib,
    color="black",
    ls="--",
    label=f"usable {its.usable / gib:.2f}",
  )
  axes.set(
    title="memory of one device" + ("" if plan.fits else ": does not fit"),
    ylabel="GiB",
    xlim=(-0.5, 0.5),
    ylim=(0, 1.05 * max(bottom, its.usable / gib)),
  )
  handles, labels = axes.get_legend_handles_labels()
  axes.legend(
    handles[::-1],
    labels[::-1],
    fontsize=8,
    loc="center left",
    bbox_to_anchor=(1.0, 0.5),
  )


def _draw_times(axes, plan: Plan) -> None:
  if plan.work is None:
    axes.text(0.5, 0.5, "refused by the compiler", ha="center", va="center")
    axes.set_axis_off()
    return
  times, bound = plan.work.roofline, plan.work.bound
  names = list(times.parts)[::-1]
  axes.barh(
    names,
    [times.parts[n] for n in names],
    color=["C3" if n == times.bound_by else "C0" for n in names],
  )
  for place, name in enumerate(names):
    axes.text(
      times.parts[name], place, f" {times.parts[name]:.3f}", va="center"
    )
  axes.margins(x=0.12)
  axes.set(
    title="a step at public peak rates: at least"
    f" {bound.step_seconds:.2f} s ({bound.mfu_causal:.0%} MFU causal),"
    f"\n{times.serial:.2f} s if nothing overlaps; not a measurement",
    xlabel="seconds",
  )
