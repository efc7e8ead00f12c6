"""From logits to a token: pure functions on (rows, ids).

V is the vocabulary, or any range of it that holds all `allowed` ids: nothing
here but `guide` depends on the others, and `guide` only by a constant.

    model's logits (and those of the unconditional branch)
      -> guide -> penalize -> allow            what may come, and how likely
      -> temperature -> likeliest -> keep_top_p     left out when greedy
      -> draw

The order, and what each step does, is that of YuE's released inference under
`transformers`; the tests hold every step against the class named in its
docstring. All of it is float32.

What is kept is decided by rank, never by comparing a score with a threshold
taken from the same scores: the compiler may compute a score twice, in kernels
that round differently, and then nothing would be kept.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
  """How a token is drawn; the defaults are those of the released code.

  Attributes:
    temperature: divides the logits; 0 takes the likeliest token instead of
      drawing one, and top_k and top_p are not used.
    top_k: how many of the likeliest tokens are kept; 0 keeps all.
    top_p: the likeliest tokens are kept until they have this probability
      together; 1 keeps all.
    repetition_penalty: above 1 makes tokens that occurred before less likely,
      the prompt included; 1 is off.
  """

  temperature: float = 1.0
  top_k: int = 50
  top_p: float = 0.93
  repetition_penalty: float = 1.1

  def __post_init__(self):
    if self.temperature < 0:
      raise ValueError(f"temperature={self.temperature}, expected 0 or more")
    if self.top_k < 0:
      raise ValueError(f"top_k={self.top_k}, expected 0 (off) or more")
    if not 0 < self.top_p <= 1:
      raise ValueError(f"top_p={self.top_p}, expected above 0 and at most 1")
    if self.repetition_penalty <= 0:
      raise ValueError(
        f"repetition_penalty={self.repetition_penalty}, expected above 0"
      )


GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0)


def next_tokens(
  logits: Float[Array, "B V"],
  *,
  seen: Bool[Array, "B V"],
  allowed: Bool[Array, "B V"],
  keys: Key[Array, "B"],
  sampling: Sampling,
  first: int,
) -> Int[Array, "B"]:
  """One token for every row; `logits` are already guided.

  `first` is the id of column 0.
  """
  if sampling.repetition_penalty != 1:
    logits = penalize(logits, seen, sampling.repetition_penalty)
  logits = allow(logits, allowed)
  if sampling.temperature == 0:
    return first + jnp.argmax(logits, axis=-1).astype(jnp.int32)
  logits = logits / sampling.temperature
  logits, columns = likeliest(logits, sampling.top_k or logits.shape[-1])
  if sampling.top_p < 1:
    logits = keep_top_p(logits, sampling.top_p)
  return draw(logits, first + columns, keys=keys)


def guide(
  conditional: Float[Array, "B V"],
  unconditional: Float[Array, "B V"],
  scale: Float[Array, "B"],
) -> Float[Array, "B V"]:
  """u + s (c - u) on log-probabilities; rows of scale 1 stay as they are.

  As UnbatchedClassifierFreeGuidanceLogitsProcessor. It is left out entirely
  at scale 1, and so are its log-probabilities here: the repetition penalty
  treats negative scores differently. Without the penalty the sums that make
  probabilities of them add the same to all scores, and matter to nothing:
  then, and only then, V may be a part of the vocabulary.
  """
  c = jax.nn.log_softmax(conditional, axis=-1)
  u = jax.nn.log_softmax(unconditional, axis=-1)
  scale = scale[:, None]
  return jnp.where(scale == 1, conditional, u + scale * (c - u))


def penalize(
  logits: Float[Array, "B V"], seen: Bool[Array, "B V"], penalty: float
) -> Float[Array, "B V"]:
  """Divides positive and multiplies negative scores of `seen` tokens.

  As RepetitionPenaltyLogitsProcessor. Example: scores [2, -2, 2], the first
  two seen, penalty 2 -> [1, -4, 2].
  """
  penalized = jnp.where(logits < 0, logits * penalty, logits / penalty)
  return jnp.where(seen, penalized, logits)


def allow(
  logits: Float[Array, "B V"], allowed: Bool[Array, "B V"]
) -> Float[Array, "B V"]:
  """Minus infinity for all but the `allowed` tokens."""
  return jnp.where(allowed, logits, -jnp.inf)


def likeliest(
  logits: Float[Array, "B V"], k: int
) -> tuple[Float[Array, "B K"], Int[Array, "B K"]]:
  """The k likeliest tokens, best first: their scores and their ids.

  As TopKLogitsWarper, but of tokens that tie for the last place only those of
  lower id are kept.
  """
  return jax.lax.top_k(logits, min(k, logits.shape[-1]))


def keep_top_p(logits: Float[Array, "B K"], p: float) -> Float[Array, "B K"]:
  """Keeps the fewest likeliest tokens whose probabilities sum to p or more.

  As TopPLogitsWarper. `logits` are sorted, best first. Example: probabilities
  [0.5, 0.3, 0.2] and p = 0.7 keep the first two.
  """
  # Summed from the least likely on: that is where rounding matters.
  upwards = jnp.cumsum(jax.nn.softmax(logits, axis=-1)[:, ::-1], axis=-1)
  kept = upwards[:, ::-1] > 1 - p
  # The likeliest token stays even where rounding leaves its sum under 1 - p.
  return allow(logits, kept | (jnp.arange(logits.shape[-1]) == 0)[None, :])


def draw(
  logits: Float[Array, "B K"],
  ids: Int[Array, "B K"],
  *,
  keys: Key[Array, "B"],
) -> Int[Array, "B"]:
  """Samples an id in every row with the row's own key.

  The noise belongs to an id, not to its rank: near-ties that rounding puts in
  another order are drawn all the same. It is made for the ids that were kept
  and no others.
  """

  def noise(key, id):
    return jax.random.gumbel(jax.random.fold_in(key, id))

  def of_row(logits, ids, key):
    noisy = logits + jax.vmap(noise, in_axes=(None, 0))(key, ids)
    return ids[jnp.argmax(noisy)]

  return jax.vmap(of_row)(logits, ids, keys)
