"""What a token of a batch needs on a slice: memory as compiled, HBM on paper.

A step of decoding reads every weight once, however many rows there are, and
the whole of the cache that it may see; all else is small. Its least time is
these bytes at the public bandwidth (`chips`). What devices send each other is
little and latency-bound: it comes on top and is not counted.
"""

from collections.abc import Iterator
import dataclasses

import jax

from yue_jax.config import ModelConfig
from yue_jax.planner.compiler import Compiled
from yue_jax.planner.topology import Topology
from yue_jax.sharding import device_bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationPlan:
  """One turn of decoding; bytes are those of one device.

  Attributes:
    name: of the recipe.
    rows: songs or windows at once, all devices together.
    branches: rows of the cache for each, 2 with guidance.
    slots: of the cache, all of them read.
    parameters: in the dtype of activations.
    cache: keys and values.
    temporaries: of the compiled turn; None if it was refused.
    needed: in all (`Compiled.needed`).
    read: by one step: weights but for the embedding, of which a row is looked
      up, the head as far as it is computed, and the cache.
    seconds: that the compiler took.
  """

  name: str
  topology: Topology
  tensor: int
  rows: int
  branches: int
  slots: int
  parameters: int
  cache: int
  temporaries: int | None
  needed: int | None
  read: int
  refused: str
  seconds: float

  @property
  def usable(self) -> int:
    return round(self.topology.chip.usable_hbm_gib * 2**30)

  @property
  def fits(self) -> bool:
    needed = self.needed
    return not self.refused and needed is not None and needed <= self.usable

  @property
  def step_seconds(self) -> float:
    """The least that a token of every row takes, the cache full."""
    chip = self.topology.chip
    return self.read / (chip.hbm_bytes / chip.devices)

  @property
  def tokens_per_second(self) -> float:
    """At most, of all rows together."""
    return self.rows / self.step_seconds


def measure(
  compiled: Compiled,
  model: ModelConfig,
  *,
  weights,
  cache,
  head: int,
  **described,
) -> GenerationPlan:
  """A plan of a compiled or refused turn.

  Args:
    weights: abstract arrays with layouts, embedding and unembedding included.
    cache: the same of keys and values.
    head: ids whose logits are computed.
    described: name, topology, tensor, rows, branches and slots.
  """
  parameters = device_bytes(weights)
  blocks = device_bytes(_without_tables(weights))
  row = (parameters - blocks) / (2 * model.vocab_size)  # of either table
  read = blocks + head * row + device_bytes(cache)
  return GenerationPlan(
    **described,
    parameters=parameters,
    cache=device_bytes(cache),
    temporaries=compiled.memory.get("temp_size"),
    needed=compiled.needed,
    read=round(read),
    refused=compiled.refused,
    seconds=compiled.seconds,
  )


def lines(plan: GenerationPlan) -> Iterator[str]:
  """The whole report of one plan."""
  branches = " with guidance" if plan.branches == 2 else ""
  yield (
    f"{plan.name}: {plan.rows} rows{branches} of {plan.slots:,} tokens on"
    f" {plan.topology}, tensor {plan.tensor}; compiled in {plan.seconds:.0f} s"
  )
  verdict = "fits" if plan.fits else "DOES NOT FIT"
  yield f"memory of one device, GiB: {verdict}"
  if plan.refused:
    yield f"  the compiler: {plan.refused.splitlines()[0][:200]}"
  for name in ("parameters", "cache", "temporaries", "needed", "usable"):
    if (size := getattr(plan, name)) is not None:
      yield f"  {name:12} {size / 2**30:8.2f}"
  yield (
    f"a step reads {plan.read / 2**30:.2f} GiB, the cache full:"
    f" {1e3 * plan.step_seconds:.1f} ms at least, by"
    f" {plan.topology.chip.hbm_bytes / 1e9:,.0f} GB/s of HBM"
  )
  yield f"at most {plan.tokens_per_second:,.0f} tokens/s"


TABLE = (
  "| recipe | slice | rows | tokens | parameters | cache | temporaries |"
  " needed | usable | ms/token | tokens/s |\n"
  "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def table_line(plan: GenerationPlan) -> str:
  """A line of the table whose head is TABLE."""
  gib = [plan.parameters, plan.cache, plan.temporaries, plan.needed]
  cells = [
    plan.name,
    str(plan.topology),
    f"{plan.rows} x {plan.branches}",
    f"{plan.slots:,}",
    *("–" if b is None else f"{b / 2**30:.2f}" for b in (*gib, plan.usable)),
    f"{1e3 * plan.step_seconds:.1f}",
    f"{plan.tokens_per_second:,.0f}" if plan.fits else "does not fit",
  ]
  return f"| {' | '.join(cells)} |"


def _without_tables(weights) -> list:
  leaves, _ = jax.tree_util.tree_flatten_with_path(weights)
  return [x for path, x in leaves if "embed" not in jax.tree_util.keystr(path)]
