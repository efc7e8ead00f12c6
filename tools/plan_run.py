"""Plans a run on TPUs that are not there, with their real compiler.

  JAX_PLATFORMS=cpu python tools/plan_run.py \\
    --config=experiments/stage1_pretrain.py:7b --topology=v5p:4x4x4

compiles the very step that training runs, for the absent topology (libtpu,
the [tpu] extra, needs no TPU), and reports of one device: what takes the
memory; FLOPs, loops multiplied out; what every collective moves, by axis and
loop; and the least time of a step at public peak rates, with what bounds it,
tokens/s/chip, MFU, days and dollars of the phase. Full-size models take
minutes; what was compiled is kept in --cache until code or versions change.

A step that does not fit is reported too, with what takes the memory and the
nearest layouts that should fit. --search tries meshes, remat policies and
microbatches: all are estimated, the best --compile of them compiled, and
those that fit ranked. --estimate compiles nothing. --json and --png write the
plan to files.
"""

import json
import pathlib
import sys

from absl import app, flags
from ml_collections import config_flags

from yue_jax import config
from yue_jax.planner import plan, report, search, topology

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Experiment file; see experiments/.", lock_config=True
)
_TOPOLOGY = flags.DEFINE_string(
  "topology", None, "Chips of one slice, such as v5e:4x8 or v5p:8x8x8."
)
_SLICES = flags.DEFINE_integer("slices", 1, "How many such slices.")
_PHASE = flags.DEFINE_integer("phase", 0, "Number of the phase, from 0.")
_PRICE = flags.DEFINE_float(
  "price", None, "Dollars of a chip-hour; default: a list price (see chips.py)."
)
_CACHE = flags.DEFINE_string(
  "cache", "runs/plans", "Directory in which compiled steps are kept."
)
_ESTIMATE = flags.DEFINE_bool(
  "estimate", False, "Trace the step and estimate; compile nothing."
)
_SEARCH = flags.DEFINE_bool("search", False, "Try other layouts.")
_VARY = flags.DEFINE_multi_enum(
  "vary", search.VARIED, search.VARIED, "What --search tries others of."
)
_COMPILE = flags.DEFINE_integer(
  "compile", 3, "How many of the layouts found by --search are compiled."
)
_JSON = flags.DEFINE_string("json", None, "File for all numbers.")
_PNG = flags.DEFINE_string("png", None, "File for a picture.")


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments {argv[1:]}; see --help")
  try:
    cfg = config.from_config_dict(_CONFIG.value)
    slices = topology.parse(_TOPOLOGY.value, _SLICES.value)
    if not 0 <= _PHASE.value < len(cfg.phases):
      raise ValueError(
        f"--phase={_PHASE.value}: the run has phases 0 to {len(cfg.phases) - 1}"
      )
    if _ESTIMATE.value:
      _estimate(cfg, slices)
    elif _SEARCH.value:
      _search(cfg, slices)
    else:
      _plan(cfg, slices)
  except (ValueError, TypeError, OSError) as error:
    sys.exit(f"plan_run: {error}")


def _plan(cfg: config.RunConfig, slices: topology.Topology) -> None:
  made = _make(cfg, slices)
  print("\n".join(report.lines(made)))
  if not made.fits:
    print("nearest layouts that should fit (ESTIMATED, not compiled):")
    nearest = search.near(cfg, slices, _PHASE.value)
    print("\n".join(report.estimated(nearest[:6])))
  if _JSON.value:
    text = json.dumps(plan.to_json(made), indent=2)
    pathlib.Path(_JSON.value).write_text(text + "\n")
  if _PNG.value:
    from yue_jax.planner import plot  # the [plots] extra

    plot.draw(made, pathlib.Path(_PNG.value))


def _estimate(cfg: config.RunConfig, slices: topology.Topology) -> None:
  its = search.estimate_of(cfg, slices, _PHASE.value)
  print("\n".join(report.parts(its)))


def _search(cfg: config.RunConfig, slices: topology.Topology) -> None:
  found = list(search.estimates(cfg, slices, _PHASE.value, vary=_VARY.value))
  best = search.ranked(found)
  print(f"{len(found)} layouts; the fastest that should fit (ESTIMATED):")
  shown = [its for _, its in best[: max(10, _COMPILE.value)]]
  print("\n".join(report.estimated(shown)), flush=True)
  plans = []
  for candidate, its in best[: _COMPILE.value]:
    made = _make(candidate, slices)
    verdict = "fits" if made.fits else "does not fit"
    print(f"compiled {its.layout}: {verdict}", flush=True)
    if made.fits:
      title = " ".join(search.flags_of(candidate, _PHASE.value))
      plans.append((title, plan.to_json(made)))
  plans.sort(key=lambda pair: pair[1]["work"]["bound"]["step_seconds"])
  if plans:
    print("\n".join(report.table(plans)))


def _make(cfg: config.RunConfig, slices: topology.Topology) -> plan.Plan:
  return plan.make_plan(
    cfg,
    slices,
    name=_name(),
    phase=_PHASE.value,
    cache=pathlib.Path(_CACHE.value),
    price=_price(slices),
  )


def _name() -> str:
  """Of the recipe: "stage1_pretrain:7b"."""
  file, *argument = config_flags.get_config_filename(
    flags.FLAGS["config"]
  ).split(":")
  return ":".join([pathlib.Path(file).stem, *argument])


def _price(slices: topology.Topology) -> float | None:
  listed = slices.chip.dollars_per_hour
  return listed if _PRICE.value is None else _PRICE.value


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "topology"])
  app.run(main)
