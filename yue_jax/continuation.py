"""Whether a run may be continued with another config or other data.

What was taken so far must stay what it was: phases that have begun, the
model, the optimiser, the loss, and the contents of the data sets. How the
work is laid out and how often things happen may change.
"""

from collections.abc import Mapping, Sequence
import re
from typing import Any

from yue_jax import config
from yue_jax.phases import first_steps, phase_at

# How the work is laid out, not what it is.
LAYOUT = (
  "mesh.*",
  "model.remat",
  "model.offload",
  "model.offload[*]",
  "model.attention",
  "loss.chunk",
  "phases[*].microbatches",
)
# What may differ between a run and its continuation. The contents of data
# sets are compared by fingerprint, wherever they lie.
_MAY_CHANGE = (
  *LAYOUT,
  "train.*",
  "rehearsal.*",
  "data.evaluation.*",
  "phases[*].stop_after",
  "phases[*].exclude",
  "phases[*].mixture.*.data",
  "phases[*].mixture.*.expected_tokens",
)


def check_continuation(saved: Mapping, given: Mapping, step: int) -> None:
  """Refuses to continue a run at `step` if its course would be another.

  Phases that have begun are compared, in their configs and in what their
  sources read; those to come may be changed, and new ones appended.

  Args:
    saved: "config" and "data", and "base" of a run with frozen weights, as
      they are saved with a checkpoint.
    given: the same of the continuation.
    step: how many steps were taken.

  Raises:
    ValueError: names every field with its saved and its given value.
  """
  before = config.from_config_dict(saved["config"])
  after = config.from_config_dict(given["config"])
  begun = phase_at(before.phases, step - 1) + 1 if step else 0
  wrong = []
  starts = [first_steps(cfg.phases)[: begun + 1] for cfg in (before, after)]
  if (
    starts[0][:begun] != starts[1][:begun]
    or step > first_steps(after.phases[:begun])[-1]
  ):
    wrong.append(
      f"phases begin at steps {starts[0][:-1]} and the run is at {step};"
      f" given: {starts[1]}"
    )
  courses = (_course_of(side, begun) for side in (saved, given))
  wrong += differences(*courses, may_change=_MAY_CHANGE)
  if wrong:
    raise ValueError(
      "the run directory holds a run that took another course:\n  "
      + "\n  ".join(wrong)
      + "\nUse another run directory, set these fields back, or restore the"
      " data sets."
    )


def differences(
  saved: Mapping, given: Mapping, *, may_change: Sequence[str]
) -> list[str]:
  """What differs between two trees of plain values, a line for every leaf.

  Example: {"a": [{"b": 1}]} and {"a": [{"b": 2}]} -> ["a[0].b: saved 1, given
  2"], unless `may_change` has "a[*].b" or "a*".

  Args:
    saved: one of them.
    given: the other.
    may_change: names that do not count; * stands for anything, and "a.*" for
      "a" itself as well.
  """
  old, new = _flat(saved), _flat(given)
  return [
    f"{name}: saved {old.get(name)!r}, given {new.get(name)!r}"
    for name in sorted(old.keys() | new.keys())
    if old.get(name) != new.get(name) and not _matches(name, may_change)
  ]


def _course_of(run: Mapping, begun: int) -> dict[str, Any]:
  """All that the first `begun` phases depend on, by name."""
  config_ = run["config"] | {"phases": run["config"]["phases"][:begun]}
  if "base" in run:  # frozen weights are what they are, wherever they lie
    config_ = config_ | {"initial_weights": run["base"]}
  return _flat(config_) | {
    f"data.{name}": value
    for name, value in _flat(
      run["data"] | {"phases": run["data"]["phases"][:begun]}
    ).items()
  }


def _matches(name: str, rules: Sequence[str]) -> bool:
  name = re.sub(r"\[\d+\]", "[*]", name)
  return any(
    re.fullmatch(re.escape(rule).replace(r"\*", ".*"), name)
    or name == rule.removesuffix(".*")
    for rule in rules
  )


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
  """Leaves by path, as {"a": [{"b": 1}]} -> {"a[0].b": 1}."""
  if isinstance(tree, Mapping) and tree:
    prefix = f"{path}." if path else ""
    parts = [_flat(v, f"{prefix}{k}") for k, v in tree.items()]
  elif isinstance(tree, list | tuple) and tree:
    parts = [_flat(v, f"{path}[{i}]") for i, v in enumerate(tree)]
  else:
    return {path: tree}
  return {k: v for part in parts for k, v in part.items()}
