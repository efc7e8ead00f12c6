"""Low-rank adapters beside frozen weights (LoRA, arXiv:2106.09685).

A weight W of every layer becomes W + scale * A B, where R is the rank:

  q         W (D, N, H)   A (D, R)      B (R, N, H)
  k, v      W (D, K, H)   A (D, R)      B (R, K, H)
  out       W (N, H, D)   A (N, H, R)   B (R, D)
  gate, up  W (D, F)      A (D, R)      B (R, F)
  down      W (F, D)      A (F, R)      B (R, D)

All of it is a transformation of the parameter tree:

  frozen    {"q": W, ...}                      not trained
  trained   {"q": Adapter(A, B)}               all that the optimiser sees
  join      {"q": Adapted(W, Adapter), ...}    what the decoder takes
  merge     {"q": W + scale * A B, ...}        a tree without adapters again

In the body of a layer `model` multiplies by the sum without writing it down,
x W + scale * (x A) B. Written down, its gradient would be one of W: half as
many FLOPs again as the frozen weight needs, and all of it to be summed over
the mesh, to learn A and B. And in bfloat16 the sum would lose what an update
adds, as long as that is less than 1/512 of the weight.

There is no dropout: a step is a function of state and batch, without a draw.
"""

from collections.abc import Callable
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from yue_jax.config import LoraConfig
from yue_jax.sharding import SPECS

# Part of a block, and layouts of A and B, for every target.
_TARGETS = {
  "q": ("attention", SPECS.lora_dr, SPECS.lora_rnh),
  "k": ("attention", SPECS.lora_dr, SPECS.lora_rkh),
  "v": ("attention", SPECS.lora_dr, SPECS.lora_rkh),
  "out": ("attention", SPECS.lora_nhr, SPECS.lora_rd),
  "gate": ("mlp", SPECS.lora_dr, SPECS.lora_rf),
  "up": ("mlp", SPECS.lora_dr, SPECS.lora_rf),
  "down": ("mlp", SPECS.lora_fr, SPECS.lora_rd),
}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Adapter:
  """A and B of one weight; of all layers where the weight is stacked."""

  a: Float[Array, "*inputs R"]
  b: Float[Array, "R *outputs"]
  scale: float = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Adapted:
  """A weight with its adapter, in the place of the weight."""

  weight: Float[Array, "*inputs_outputs"]
  adapter: Adapter


def init_adapters(params: dict, cfg: LoraConfig, seed: int) -> dict:
  """Adapters that change nothing yet: A is random and B is 0.

  A is uniform within 1 / sqrt(inputs), as in PEFT; the same bits on every
  mesh, and for a target whatever the others are.

  Args:
    params: of the decoder; their shapes alone matter.
    cfg: which weights get one.
    seed: of A.
  """
  blocks = {}
  for number, (name, (part, *layouts)) in enumerate(_TARGETS.items()):
    if name in cfg.targets:
      key = jax.random.fold_in(jax.random.key(seed), number)
      shape = params["blocks"][part][name].shape
      adapter = _init_adapter(key, shape, cfg, *layouts)
      blocks.setdefault(part, {})[name] = adapter
  return {"blocks": blocks}


def join(frozen: dict, trained: dict) -> dict:
  """All parameters as one tree; where nothing is frozen, those trained."""

  def place(weight, adapter):
    if isinstance(adapter, Adapter):
      return Adapted(weight, adapter)
    return weight | {n: place(weight[n], adapter[n]) for n in adapter}

  return place(frozen, trained) if frozen else trained


def split(params: dict) -> tuple[dict, dict]:
  """Undoes `join`: what is frozen, and what is trained."""

  def adapters(tree):
    inner = {n: adapters(t) for n, t in tree.items() if isinstance(t, dict)}
    here = {n: t.adapter for n, t in tree.items() if _is_adapted(t)}
    return {n: t for n, t in inner.items() if t} | here

  trained = adapters(params)
  if not trained:
    return {}, params
  return replace_adapted(params, lambda leaf: leaf.weight), trained


def merge(params: dict) -> dict:
  """The parameters with W + scale * A B for every adapted W, in its dtype."""

  def whole(leaf):
    product = jax.vmap(lambda a, b: jnp.tensordot(a, b, axes=1))
    delta = leaf.adapter.scale * product(leaf.adapter.a, leaf.adapter.b)
    return (leaf.weight + delta).astype(leaf.weight.dtype)

  return replace_adapted(params, whole)


def replace_adapted(params: dict, change: Callable[[Adapted], Any]) -> dict:
  """The parameters with something else in the place of every adapted weight."""
  return jax.tree.map(
    lambda leaf: change(leaf) if _is_adapted(leaf) else leaf,
    params,
    is_leaf=_is_adapted,
  )


def two_ways(letters: str) -> tuple[str, str]:
  """Products with A and with B that replace one with the weight.

  Example: "BTD,DNH->BTNH" -> ("BTD,DR->BTR", "BTR,RNH->BTNH").
  """
  x, weight, y = letters.replace("->", ",").split(",")
  inputs = "".join(letter for letter in weight if letter in x)
  outputs = weight.removeprefix(inputs)
  return f"{x},{inputs}R->BTR", f"BTR,R{outputs}->{y}"


def _is_adapted(leaf) -> bool:
  return isinstance(leaf, Adapted)


def _init_adapter(
  key: Array, shape: tuple[int, ...], cfg: LoraConfig, a: P, b: P
) -> Adapter:
  """Of a stacked weight of `shape`; its first axis counts the layers."""
  layers, inputs, outputs = shape[:1], shape[1 : len(a)], shape[len(a) :]
  bound = 1 / math.sqrt(math.prod(inputs))
  return Adapter(
    jax.random.uniform(
      key,
      (*layers, *inputs, cfg.rank),
      minval=-bound,
      maxval=bound,
      out_sharding=P(None, *a),
    ),
    jnp.zeros((*layers, cfg.rank, *outputs), out_sharding=P(None, *b)),
    cfg.scale,
  )
