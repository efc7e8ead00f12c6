"""What is known of a song after hearing part of it: the forward algorithm.

    belief about frame t ──hear the codes of frame t──► the same, given them
            ▲                                                │
            └───────────────── chain.advance ◄───────────────┘

`forward` follows one hypothesis about what stays the same through a whole
song (its singer, or singer and genre). `mix` adds the hypotheses up, each
weighted by how well it has explained the song so far. Both are exact: every
hidden path is counted, none is sampled or pruned.
"""

import dataclasses

import numpy as np

from yue_jax.world.chains import Chain


@dataclasses.dataclass(frozen=True, eq=False)
class Track:
  """One track of B sections as heard, and as a chain's states would play it.

  Attributes:
    codes: (B, T) codes heard, from 0 to size - 1; padding beyond a row's
      length may hold any of them.
    clean: the code each state plays when not disturbed; its shape broadcasts
      against (B, *states).
    noise: probability that any of the codes replaces the clean one.
    size: number of codes of this track.
  """

  codes: np.ndarray
  clean: np.ndarray
  noise: float
  size: int

  def __post_init__(self):
    codes = self.codes
    if codes.size and not 0 <= codes.min() <= codes.max() < self.size:
      raise ValueError(
        f"a track with codes from {codes.min()} to {codes.max()}, expected"
        f" 0 to {self.size - 1}: not a song of this world"
      )

  def likelihood(self, frame: int) -> np.ndarray:
    """Probability of the code of a frame, by state (broadcastable)."""
    return self._of_clean(self._heard(frame))

  def _heard(self, frame: int) -> np.ndarray:
    return self.codes[:, frame].reshape(-1, *(1,) * (self.clean.ndim - 1))

  def _of_clean(self, heard: np.ndarray) -> np.ndarray:
    return self.noise / self.size + (1 - self.noise) * (self.clean == heard)


class MaskedTrack(Track):
  """A track of which some frames are hidden: codes from `size` on.

  Whether a frame is hidden, and by what, is up to others: it tells nothing of
  the state, and has likelihood 1.
  """

  def __post_init__(self):
    if self.codes.size and self.codes.min() < 0:
      raise ValueError(
        f"a track with code {self.codes.min()}, expected 0 or more: not a song"
        " of this world"
      )

  def likelihood(self, frame: int) -> np.ndarray:
    heard = self._heard(frame)
    return np.where(heard < self.size, self._of_clean(heard), 1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class MaskingTrack(Track):
  """A track that is heard in some frames; negative codes are another's.

  Attributes:
    masking: probability that a state is heard; broadcasts against (*states).
  """

  masking: np.ndarray

  def __post_init__(self):
    if self.codes.size and self.codes.max() >= self.size:
      raise ValueError(
        f"a track with code {self.codes.max()}, expected {self.size - 1} at"
        " most: not a song of this world"
      )

  def likelihood(self, frame: int) -> np.ndarray:
    heard = self._heard(frame)
    return np.where(
      heard < 0, 1 - self.masking, self.masking * self._of_clean(heard)
    )


def forward(chain: Chain, track: Track, *, lengths: np.ndarray) -> np.ndarray:
  """Log probability of each code, and of the end, given all codes before.

  Args:
    chain: the hidden states, the same for all rows.
    track: what is heard, (B, T) codes.
    lengths: (B,) frames of each row, at most T.

  Returns:
    (B, T + 1); the end stands at column `length`, and 0 in all columns
    beyond. The end competes with the codes: at every frame their
    probabilities and that of the end sum to one. -inf marks what cannot
    happen.
  """
  rows, frames = track.codes.shape
  log_p = np.zeros((rows, frames + 1))
  belief, ended = chain.start(rows), np.zeros(rows)
  for frame in range(frames):
    _write(log_p[:, frame], ended, where=lengths == frame)
    belief, p = _hear(belief, track.likelihood(frame))
    _write(log_p[:, frame], p, where=lengths > frame)
    belief, ended = chain.advance(belief)
  _write(log_p[:, frames], ended, where=lengths == frames)
  return log_p


def mix(log_p: np.ndarray, *, log_prior: np.ndarray) -> np.ndarray:
  """Nats of each token when one of H hypotheses is true.

  Args:
    log_p: (..., H, N) of each token, given the ones before and a hypothesis.
    log_prior: (..., H) of the hypotheses, up to a constant.

  Returns:
    (..., N) of -log p(token | the ones before).

  Example: of two equally likely hypotheses one gives two tokens the
  probabilities 1/2 and 1, the other gives the first 0. The first costs
  log 4, the second nothing.
  """
  heard = np.cumsum(log_p, axis=-1)
  heard = np.concatenate([np.zeros_like(heard[..., :1]), heard], axis=-1)
  with np.errstate(invalid="ignore"):  # inf - inf is caught below
    nats = -np.diff(_log_sum(log_prior[..., None] + heard), axis=-1)
  return possible(nats)


def possible(nats: np.ndarray) -> np.ndarray:
  """Passes finite nats on; ValueError where something cannot happen."""
  if not np.isfinite(nats).all():
    raise ValueError(
      "a code or an end that cannot happen in this world: expected a song"
      " drawn with these very parameters; is the world.json that of another"
      " data set?"
    )
  return nats


def log(p: np.ndarray) -> np.ndarray:
  """log(p), -inf where p is 0."""
  return np.log(p, out=np.full_like(p, -np.inf), where=p > 0)


def _log_sum(x: np.ndarray) -> np.ndarray:
  """log(sum(exp(x))) over the axis of hypotheses, (..., H, N) -> (..., N)."""
  top = x.max(axis=-2, keepdims=True)
  top = np.where(np.isfinite(top), top, 0.0)  # where nothing is possible
  return log(np.exp(x - top).sum(axis=-2)) + top[..., 0, :]


def _hear(belief: np.ndarray, likelihood: np.ndarray):
  """The belief given a code, and (B,) the probability the code had."""
  belief = belief * likelihood
  p = belief.reshape(len(belief), -1).sum(axis=-1)
  # where p is 0 the belief is 0 too, and stays so: nothing explains the code
  scale = np.divide(1.0, p, out=np.zeros_like(p), where=p > 0)
  return belief * scale.reshape(-1, *(1,) * (belief.ndim - 1)), p


def _write(out: np.ndarray, p: np.ndarray, *, where: np.ndarray) -> None:
  out[where] = log(p[where])
