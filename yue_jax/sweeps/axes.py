"""What a sweep varies, and the runs that come of it.

    Sweep(base, axes) -> every combination of values -> runs by name

An axis is a name, values, and a function that applies a value to the config,
as plain tables (`config.to_json`). The name of a run is made of its values
alone, "rate=0.003,seed=0,size=small": it stays when values are added, or
written in another order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import re
from typing import Any

import ml_collections

from yue_jax import config
from yue_jax.config import RunConfig
from yue_jax.config_tables import plain

Value = int | float | str | bool
Apply = Callable[[dict[str, Any], Value], None]
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
  """One thing that is varied.

  Attributes:
    name: as it is written in the names of runs, and in the table.
    values: that it takes; or, with `per`, for every value of that axis.
    apply: changes the config, plain tables and lists, to have a value. Axes
      are applied in the order of the sweep.
    per: name of an earlier axis on which the values depend, such as the
      numbers of tokens on the size; "" for none.
  """

  name: str
  values: Sequence[Value] | Mapping[Value, Sequence[Value]]
  apply: Apply
  per: str = ""

  def __post_init__(self):
    if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
      raise ValueError(
        f"axis {self.name!r}: expected a name of a-z, 0-9 and _, beginning"
        " with a letter"
      )
    if bool(self.per) != isinstance(self.values, Mapping):
      raise ValueError(
        f"axis {self.name!r}: values={self.values!r} with per={self.per!r};"
        " give a list of values, or a list for each value of the axis `per`"
      )
    lists = self.values.values() if self.per else [self.values]
    if not lists:
      raise ValueError(f"axis {self.name!r} is empty; give it values")
    for values in lists:
      self._check(values)

  def _check(self, values: Sequence[Value]) -> None:
    if isinstance(values, str) or not values:
      raise ValueError(
        f"axis {self.name!r} has values {values!r}; give it a list of at"
        " least one"
      )
    words = [_word(self.name, value) for value in values]
    for word in words:
      if words.count(word) > 1:
        raise ValueError(
          f"axis {self.name!r} has {word} twice, and runs of one name"
          " would be one run; leave one"
        )

  def values_for(self, others: Mapping[str, Value]) -> Sequence[Value]:
    """Its values, where the other axes have theirs."""
    return self.values[others[self.per]] if self.per else self.values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """One run of a sweep."""

  name: str
  values: dict[str, Value]
  config: RunConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
  """A config and what is varied of it.

  Attributes:
    name: of the sweep.
    base: of all runs.
    axes: every combination of their values is a run.
    loss: which loss of a run is `loss` in the table of results: "train" or
      "eval/SET" for the weighted one, "eval/SET/STREAM" for one stream.
  """

  name: str
  base: RunConfig
  axes: Sequence[Axis]
  loss: str = "train"

  def __post_init__(self):
    if not _WORD.fullmatch(self.name):
      raise ValueError(
        f"sweep {self.name!r}: expected a name of letters, digits and ._+-"
      )
    if not self.axes:
      raise ValueError(f"sweep {self.name!r} has no axes; give at least one")
    if not re.fullmatch(r"train|eval/.+", self.loss):
      raise ValueError(
        f"sweep {self.name!r}: loss={self.loss!r}, expected train, eval/SET or"
        " eval/SET/STREAM"
      )
    names = [axis.name for axis in self.axes]
    for number, axis in enumerate(self.axes):
      if names.count(axis.name) > 1:
        raise ValueError(f"sweep {self.name!r} has two axes {axis.name!r}")
      if axis.per:
        self._check_per(axis, self.axes[:number])

  def _check_per(self, axis: Axis, earlier: Sequence[Axis]) -> None:
    on = next((a for a in earlier if a.name == axis.per), None)
    if on is None or on.per:
      raise ValueError(
        f"axis {axis.name!r} is per {axis.per!r}, which is no earlier axis"
        " with a list of values of its own; known:"
        f" {[a.name for a in earlier if not a.per]}"
      )
    if set(axis.values) != set(on.values):
      raise ValueError(
        f"axis {axis.name!r} has values for {on.name} {list(axis.values)},"
        f" and the axis {on.name!r} is {list(on.values)}; they must agree"
      )

  def runs(self) -> dict[str, Run]:
    """All runs by name, the last axis varied first.

    Raises:
      ValueError: names a run whose config is refused, and why; or two that
        have the same config.
    """
    made = {name_of(values): values for values in self._combinations({})}
    runs = {name: self._run(name, values) for name, values in made.items()}
    seen: list[Run] = []
    for run in runs.values():
      alike = next((r for r in seen if r.config == run.config), None)
      if alike is not None:
        raise ValueError(
          f"sweep {self.name!r}: {alike.name} and {run.name} are the same"
          " config; an axis changes nothing between them"
        )
      seen.append(run)
    return runs

  def run(self, name: str) -> Run:
    """The run of this name.

    Raises:
      ValueError: there is none; or its config is refused.
    """
    for values in self._combinations({}):
      if name_of(values) == name:
        return self._run(name, values)
    raise ValueError(
      f"sweep {self.name!r} has no run {name!r}; tools/sweep.py plan lists them"
    )

  def _combinations(
    self, chosen: dict[str, Value]
  ) -> Iterator[dict[str, Value]]:
    if len(chosen) == len(self.axes):
      yield chosen
      return
    axis = self.axes[len(chosen)]
    for value in axis.values_for(chosen):
      yield from self._combinations({**chosen, axis.name: value})

  def _run(self, name: str, values: dict[str, Value]) -> Run:
    tree = plain(config.to_json(self.base))
    try:
      for axis in self.axes:
        axis.apply(tree, values[axis.name])
      made = config.from_config_dict(tree)
      self._check_loss(made)
      return Run(name=name, values=values, config=made)
    except (ValueError, TypeError, KeyError, IndexError) as error:
      raise ValueError(
        f"sweep {self.name!r}, run {name}: {type(error).__name__}: {error}"
      ) from error

  def _check_loss(self, made: RunConfig) -> None:
    """Sets that are held out by share are named by what they hold."""
    known = made.data.evaluation
    measured = self.loss == "train" or made.data.heldout > 0
    if measured or self.loss.split("/")[1] in known:
      return
    raise ValueError(
      f"loss={self.loss!r} is of no held-out set; data.evaluation has"
      f" {sorted(known)}, and data.heldout is 0"
    )


def config_of(
  get_sweep: Callable[..., Sweep], run: str
) -> ml_collections.ConfigDict:
  """What get_config of a sweep's file returns, of "RUN" or "VARIANT/RUN"."""
  variant, slash, name = run.rpartition("/")  # names of runs have none
  made = (get_sweep(variant) if slash else get_sweep()).run(name)
  return ml_collections.ConfigDict(config.to_json(made.config))


def name_of(values: Mapping[str, Value]) -> str:
  """The name of the run with these values, in the order of the axes' names.

  Example: {"size": "small", "rate": 3e-3} -> "rate=0.003,size=small".
  """
  return ",".join(f"{k}={_word(k, values[k])}" for k in sorted(values))


def fields(*paths: str) -> Apply:
  """Applies a value by setting fields, such as "phases[0].rate.peak".

  The function raises ValueError where the config has no such field.
  """

  def apply(tree: dict[str, Any], value: Value) -> None:
    for path in paths:
      *parents, last = _keys(path)
      table: Any = tree
      for key in parents:
        table = _item(table, key, path)
      _item(table, last, path)
      table[last] = value

  return apply


def tokens(*, warmup: float, decay: float, phase: int = 0) -> Apply:
  """Applies a number of tokens to a phase, and its schedule to the tokens.

  A loss is the best of its tokens only if the rate has decayed by their end
  (arXiv 2203.15556, appendix B).

  Args:
    warmup: share of the tokens in which the rate rises.
    decay: share in which it falls.
    phase: number of the phase.
  """

  def apply(tree: dict[str, Any], value: Value) -> None:
    table = tree["phases"][phase]
    table["tokens"] = value
    table["rate"]["warmup_tokens"] = round(warmup * value)
    table["rate"]["decay_tokens"] = round(decay * value)

  return apply


def _keys(path: str) -> list[str | int]:
  """Example: "phases[0].rate.peak" -> ["phases", 0, "rate", "peak"]."""
  found = re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)
  return [name or int(number) for name, number in found]


def _item(table: Any, key: str | int, path: str) -> Any:
  known = []
  if isinstance(table, dict | list):
    known = list(table if isinstance(table, dict) else range(len(table)))
  if key not in known:
    raise ValueError(
      f"the config has no field {path!r}: {key!r} is none of {known}"
    )
  return table[key]


def _word(axis: str, value: Value) -> str:
  """A value as it is written in names."""
  if isinstance(value, bool):
    return str(value).lower()
  if isinstance(value, str) and _WORD.fullmatch(value):
    return value
  if isinstance(value, int | float) and abs(value) < float("inf"):
    return repr(value)
  raise ValueError(
    f"axis {axis!r} has the value {value!r}; expected a finite number, true or"
    " false, or a word of letters, digits and ._+-"
  )
