"""One table of what came of a sweep: a row a run.

  run, status, reason            see `outcomes`
  axes                           values by axis
  parameters                     all
  parameters_without_embedding   but for both embedding tables
  steps                          that were taken
  tokens                         trained on, padding not counted
  flops                          to train on these, by the causal convention
                                 of `accounting`
  loss                           the one that the sweep names, if the run is
                                 done; else null: what failed or diverged is
                                 in no fit
  train_loss                     mean of the last tenth of its records
  eval                           {SET: {"loss": weighted, STREAM: ...}}, of the
                                 last evaluation
  seconds                        of all attempts, without the time between them

Losses are nats per token. results.jsonl has the rows as they are, results.csv
has a column for every value in them, "eval.heldout.vocal".
"""

from collections.abc import Iterator, Mapping, Sequence
import csv
import itertools
import json
import math
from typing import Any

from etils import epath

from yue_jax import accounting
from yue_jax.config import RunConfig
from yue_jax.json_lines import Record, read_lines
from yue_jax.phases import places
from yue_jax.sweeps.axes import Run, Sweep
from yue_jax.sweeps.outcomes import Outcome, final_loss, outcomes_of
from yue_jax.train.goodput import summarise

Row = dict[str, Any]


def gather(sweep: Sweep, out: epath.PathLike) -> list[Row]:
  """The rows of all runs of a sweep, in its order.

  Args:
    sweep: what was run.
    out: directory of the run directories, on a disk or in a bucket.

  Raises:
    ValueError: a directory holds a run of another config; or a run is done,
      and has no loss of the name that the sweep gives.
  """
  runs = sweep.runs()
  outcomes = outcomes_of({n: r.config for n, r in runs.items()}, out)
  return [
    row_of(run, outcomes[name], epath.Path(out) / name, sweep.loss)
    for name, run in runs.items()
  ]


def row_of(
  run: Run, outcome: Outcome, run_dir: epath.PathLike, loss: str
) -> Row:
  """The row of one run; `loss` as in `Sweep.loss`."""
  run_dir, model = epath.Path(run_dir), run.config.model
  records = read_lines(run_dir / "metrics.jsonl")
  train = [r for r in records if r["kind"] == "train"]
  tokens, flops = trained(run.config, train)
  goodput = summarise(read_lines(run_dir / "goodput.jsonl"))
  mean = final_loss([r["loss"] for r in train])
  row = {
    "run": run.name,
    "axes": run.values,
    "status": outcome.status,
    "reason": outcome.reason,
    "parameters": accounting.parameter_count(model),
    "parameters_without_embedding": accounting.parameters_without_embedding(
      model
    ),
    "steps": train[-1]["step"] if train else 0,
    "tokens": tokens,
    "flops": flops,
    "loss": None,
    "train_loss": mean if math.isfinite(mean) else None,
    "eval": _evaluations(records),
    "seconds": round(goodput.total - goodput.seconds["down"], 3),
  }
  if outcome.status == "done":
    row["loss"] = _named(row, loss)
  return row


def trained(cfg: RunConfig, train: Sequence[Record]) -> tuple[int, float]:
  """Tokens trained on, without padding, and the FLOPs of that.

  Every record tells both of the steps since the one before: which share of
  the places were tokens, and how long their documents are.
  """
  tokens, flops = 0.0, 0.0
  ends = [0, *(record["step"] for record in train)]
  for (begin, end), record in zip(itertools.pairwise(ends), train, strict=True):
    added = record["fill"] * (
      places(cfg.phases, end) - places(cfg.phases, begin)
    )
    tokens += added
    flops += added * accounting.train_flops_per_token(
      cfg.model, record["mean_segment"], cfg.lora
    )
  return round(tokens), flops


def write(rows: Sequence[Row], out: epath.PathLike) -> None:
  """Writes results.jsonl and results.csv into a directory."""
  out = epath.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  lines = (json.dumps(row, allow_nan=False) + "\n" for row in rows)
  (out / "results.jsonl").write_text("".join(lines))
  flat = [dict(_columns(row)) for row in rows]
  names = list(dict.fromkeys(itertools.chain.from_iterable(flat)))
  with (out / "results.csv").open("w") as file:
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)


def _evaluations(records: Sequence[Record]) -> dict[str, dict[str, float]]:
  """Losses of the last evaluation of every set."""
  found = {}
  for record in records:
    family, _, name = record["kind"].partition("/")
    if family == "eval":
      found[name] = {
        key.removeprefix("loss/"): value
        for key, value in record.items()
        if key.startswith("loss")
      }
  return found


def _named(row: Row, loss: str) -> float:
  if loss == "train":
    return row["train_loss"]
  # A held-out set may have a / in its name, as data/language.
  name, stream = loss.removeprefix("eval/"), "loss"
  if name not in row["eval"]:
    name, _, stream = name.rpartition("/")
  if stream not in row["eval"].get(name, {}):
    known = [
      f"eval/{name}" + (f"/{stream}" if stream != "loss" else "")
      for name, losses in row["eval"].items()
      for stream in losses
    ]
    raise ValueError(
      f"run {row['run']} has no loss {loss!r}; known: {['train', *known]}"
    )
  return row["eval"][name][stream]


def _columns(row: Mapping[str, Any], path: str = "") -> Iterator:
  for name, value in row.items():
    if isinstance(value, Mapping):
      yield from _columns(value, f"{path}{name}.")
    else:
      yield f"{path}{name}", value
