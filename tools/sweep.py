"""Sweeps: plans, runs, renders and gathers the runs of an experiment file.

  python tools/sweep.py plan experiments/sweep_world.py:quick
  python tools/sweep.py run experiments/sweep_world.py:quick \
    --out runs/sweep_world --parallel 2
  python tools/sweep.py gather experiments/sweep_world.py:quick \
    --out runs/sweep_world

The file has a function get_sweep(VARIANT), where :VARIANT may be left out if
it has a default, that returns a yue_jax.sweeps.axes.Sweep.

  plan    prints parameters, tokens and FLOPs of every run; with --topology also
          time and dollars, at least, by the planner (estimated, not compiled)
  run     trains what is not done, in parallel processes on this machine; the
          same command goes on after any interruption, failures included.
          Ctrl-C stops all, which save what they have; a second one kills
  render  writes what launches every run on TPUs (see tools/tpu), one folder a
          run; for that the file has get_config("VARIANT/RUN"), or "RUN", too
  gather  writes OUT/results.jsonl and OUT/results.csv, a row a run

A run whose config is no longer that of the file is an error that says what
differs. Exit codes of run: 0 all runs are done or have diverged, 1 some
failed or were killed, 75 it was stopped.
"""

import argparse
import collections
from collections.abc import Mapping, Sequence
import fnmatch
import hashlib
import importlib.util
import os
import pathlib
import re
import sys

from yue_jax import accounting
from yue_jax.planner import topology
from yue_jax.sweeps import costs, results, running
from yue_jax.sweeps.axes import Run, Sweep

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main() -> None:
  args = _parser().parse_args()
  try:
    args.verb(read_sweep(args.experiment), args)
  except KeyboardInterrupt:
    print("sweep: stopped; the same command goes on", file=sys.stderr)
    sys.exit(os.EX_TEMPFAIL)
  except (ValueError, TypeError, OSError, ImportError) as error:
    sys.exit(f"sweep: {error}")


def read_sweep(experiment: str) -> Sweep:
  """The sweep of an experiment, "FILE" or "FILE:VARIANT"."""
  file, *variant = experiment.split(":", 1)
  path = pathlib.Path(file)
  if not path.is_file():
    raise ValueError(f"there is no experiment file {file}")
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not hasattr(module, "get_sweep"):
    raise ValueError(f"{file} has no function get_sweep; it is a single run")
  return module.get_sweep(*variant)


def plan(sweep: Sweep, args: argparse.Namespace) -> None:
  runs = _chosen(sweep, args.only)
  work = {name: costs.work_of(run.config) for name, run in runs.items()}
  prices = _prices(runs, args)
  head = ["run", "parameters", "steps", "tokens", "FLOPs"]
  head += ["hours", "dollars", ""] if prices else []
  lines = [
    [
      name,
      f"{accounting.parameter_count(run.config.model):,}",
      f"{work[name].steps:,}",
      f"{work[name].tokens:,}",
      f"{work[name].flops:.3g}",
      *(_priced(prices[name]) if prices else []),
    ]
    for name, run in runs.items()
  ]
  print("\n".join(_aligned([head, *lines])))
  print(
    f"{len(runs)} runs, {sum(w.tokens for w in work.values()):.4g} tokens,"
    f" {sum(w.flops for w in work.values()):.4g} FLOPs"
  )
  if prices:
    whole = costs.total(list(prices.values()))
    hours, dollars, _ = _priced(whole)
    print(
      f"one after the other on {args.topology}: at least {hours} hours,"
      f" {dollars} dollars (ESTIMATED at peak rates, not compiled)"
    )


def run(sweep: Sweep, args: argparse.Namespace) -> None:
  configs = {n: r.config for n, r in _chosen(sweep, args.only).items()}
  ended = running.run_all(configs, args.out, parallel=args.parallel)
  counts = collections.Counter(outcome.status for outcome in ended.values())
  print(", ".join(f"{n} {status}" for status, n in counts.items()))
  if not all(outcome.final for outcome in ended.values()):
    sys.exit("sweep: not all runs ended; see OUT/RUN/log.txt, then run again")


def render(sweep: Sweep, args: argparse.Namespace) -> None:
  sys.path.insert(0, str(ROOT / "tools" / "tpu"))
  import launch
  import slices

  where = slices.parse(args.topology, args.slices)
  runs = _chosen(sweep, args.only)
  launches = {}
  for name, made in runs.items():
    launch.check(made.config, where)
    launches[name] = launch.Launch(
      name=workload(sweep.name, name),
      slices=where,
      command=launch.command(
        _experiment_of_run(args.experiment, name),
        [],
        f"{args.run_dir.rstrip('/')}/{name}",
      ),
      image=args.image,
      data_bucket=args.data_bucket.removeprefix("gs://").rstrip("/"),
      max_restarts=args.max_restarts,
      grace_seconds=args.grace_seconds,
      spot=args.spot,
      service_account=args.service_account,
    )
  for name, made in launches.items():
    print(f"{name}: {launch.headline(made)}")
    launch.write(made, args.out / name)


def gather(sweep: Sweep, args: argparse.Namespace) -> None:
  rows = results.gather(sweep, args.out)
  results.write(rows, args.out)
  head = ["run", "parameters", "tokens", "FLOPs", "loss", "seconds", ""]
  lines = [
    [
      row["run"],
      f"{row['parameters']:,}",
      f"{row['tokens']:,}",
      f"{row['flops']:.3g}",
      "" if row["loss"] is None else f"{row['loss']:.4f}",
      f"{row['seconds']:,.0f}",
      ": ".join(filter(None, (row["status"], row["reason"]))),
    ]
    for row in rows
  ]
  print("\n".join(_aligned([head, *lines])))
  print(f"{args.out}/results.jsonl, {args.out}/results.csv")


def workload(sweep: str, run: str) -> str:
  """A name that clusters allow; the same for the same run."""
  word = re.sub(r"[^a-z0-9]+", "-", sweep.lower()).strip("-")[:30]
  return f"{word}-{hashlib.sha256(run.encode()).hexdigest()[:8]}"


def _experiment_of_run(experiment: str, run: str) -> str:
  """What get_config is to be given: "FILE:VARIANT/RUN"."""
  file, *variant = experiment.split(":", 1)
  return f"{file}:{'/'.join([*variant, run])}"


def _chosen(sweep: Sweep, pattern: str) -> dict[str, Run]:
  runs = sweep.runs()
  names = fnmatch.filter(runs, pattern)
  if not names:
    raise ValueError(
      f"--only={pattern} fits none of the {len(runs)} runs, such as"
      f" {next(iter(runs))}"
    )
  return {name: runs[name] for name in names}


def _prices(
  runs: Mapping[str, Run], args: argparse.Namespace
) -> dict[str, costs.Price]:
  if args.topology is None:
    return {}
  where = topology.parse(args.topology, args.slices)
  listed = where.chip.dollars_per_hour
  pricing = costs.Pricing(where, listed if args.price is None else args.price)
  return {name: pricing.price(run.config) for name, run in runs.items()}


def _priced(price: costs.Price) -> list[str]:
  dollars = "?" if price.dollars is None else f"{price.dollars:,.0f}"
  verdict = "" if price.fits else "should NOT fit"
  return [f"{price.seconds / 3600:.3g}", dollars, verdict]


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
  """Columns, the first and the last to the left."""
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  return [
    "  ".join(
      cell.ljust(width) if place in (0, len(line) - 1) else cell.rjust(width)
      for place, (cell, width) in enumerate(zip(line, widths, strict=True))
    ).rstrip()
    for line in lines
  ]


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  verbs = parser.add_subparsers(required=True, metavar="VERB")
  for verb, add_flags in (
    (plan, _plan_flags),
    (run, _run_flags),
    (render, _render_flags),
    (gather, _gather_flags),
  ):
    its = verbs.add_parser(verb.__name__)
    its.add_argument("experiment", metavar="FILE[:VARIANT]")
    its.set_defaults(verb=verb)
    add_flags(its.add_argument)
  return parser


def _plan_flags(add) -> None:
  _only(add)
  add("--topology", help="chips of one slice, such as v5p:4x4x4")
  add("--slices", type=int, default=1, help="how many such slices [1]")
  add("--price", type=float, help="dollars of a chip-hour [a list price]")


def _run_flags(add) -> None:
  _only(add)
  add("--out", type=pathlib.Path, required=True, help="of the run directories")
  add("--parallel", type=int, default=1, help="processes at a time [1]")


def _render_flags(add) -> None:
  _only(add)
  add("--topology", required=True, help="chips of one slice, as v5p:4x4x4")
  add("--slices", type=int, default=1, help="how many such slices [1]")
  add(
    "--run-dir", required=True, help="gs://BUCKET/..., of the run directories"
  )
  add("--data-bucket", required=True, help="mounted at data/ on every host")
  add("--image", required=True, help="where tools/tpu/Dockerfile was pushed to")
  add("--max-restarts", type=int, default=50, help="after failures [50]")
  add("--grace-seconds", type=int, default=600, help="to save in [600]")
  add("--spot", action="store_true", help="on TPUs that may be taken away")
  add("--service-account", default="default", help="of Kubernetes [default]")
  add("--out", type=pathlib.Path, required=True, help="of the files written")


def _gather_flags(add) -> None:
  add("--out", required=True, help="of the run directories; may be gs://...")


def _only(add) -> None:
  add("--only", default="*", metavar="GLOB", help="runs of such names alone")


if __name__ == "__main__":
  main()
