"""What a frozen decoder holds of a song, layer by layer, pooled over time.

    ids      <SOA> <xcodec> codebook 0 of one track        (paper, table 10)
    layers   the embedding, then the output of every block; the last is normed,
             as `hidden_states` of transformers are
    pooled   the mean over the frames of the song

For probes: see `evaluation.probes`, which needs no JAX.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int
import numpy as np

from yue_jax.attention import attend
from yue_jax.codec import frames_to_ids
from yue_jax.model import Decoder, look_up
from yue_jax.progress import Progress
from yue_jax.sharding import SPECS
from yue_jax.vocab import Vocab

_PROMPT = 2  # tokens before the first frame


@jax.jit  # the weights are an argument: held, they were part of the program
def pooled_states(
  decoder: Decoder,
  tokens: Int[Array, "B T"],
  segments: Int[Array, "B T"],
  positions: Int[Array, "B T"],
  weights: Float[Array, "B T"],
) -> Float[Array, "L B D"]:
  """Weighted means over tokens of the states of all layers, in float32.

  Args:
    decoder: on the mesh that is set.
    tokens: ids; `segments` and `positions` as for a call of the decoder.
    segments: 0 is padding.
    positions: from 0 in every segment.
    weights: of each token in the mean of its row; a row's sum to 1.

  Returns:
    For each row: the embedding and the states after every block, L = layers
    + 1 in all.
  """
  cfg = decoder.cfg
  by_row = P(SPECS.row_bt[0], None)

  def pool(x):
    x = x.astype(jnp.float32)
    return jnp.einsum("BTD,BT->BD", x, weights, out_sharding=by_row)

  def mix(q, k, v):
    return attend(q, k, v, segments, backend=cfg.attention), None

  def body(x, block):
    x, _ = block(x, positions, mix)
    return x, pool(x)

  start = look_up(decoder.embed[...], tokens, cfg.dtype)
  x, states = jax.lax.scan(body, start, decoder.blocks)
  last = pool(decoder.norm(x))
  return jnp.concatenate([pool(start)[None], states[:-1], last[None]])


def song_states(
  decoder: Decoder,
  songs: Sequence[np.ndarray],
  *,
  vocab: Vocab,
  frames: int,
  batch: int = 8,
) -> np.ndarray:
  """Pooled states of songs: (songs, layers + 1, width) float32.

  Args:
    decoder: on the mesh that is set.
    songs: (frames,) codes of codebook 0 each.
    vocab: of the decoder's ids.
    frames: that are read of each song, from its first; more are left out.
    batch: songs at a time.

  Raises:
    ValueError: a song has no frames, or codes that are not the vocabulary's.
  """
  length = frames + _PROMPT
  if length > decoder.cfg.max_positions:
    raise ValueError(
      f"{frames} frames and {_PROMPT} tokens before them are more than the"
      f" {decoder.cfg.max_positions} positions of the model; read fewer frames"
    )
  rows = [_row(codes[:frames], vocab, length) for codes in songs]
  rows += [rows[-1]] * (-len(rows) % batch)  # one shape is compiled
  found = []
  with Progress(len(songs), "songs", "hidden states") as progress:
    for start in range(0, len(songs), batch):
      columns = zip(*rows[start : start + batch], strict=True)
      arrays = [
        jax.sharding.reshard(jnp.asarray(np.stack(c)), SPECS.row_bt)
        for c in columns
      ]
      states = np.asarray(pooled_states(decoder, *arrays))
      found.append(np.swapaxes(states, 0, 1))
      progress.advance(min(batch, len(songs) - start))
  return np.concatenate(found)[: len(songs)]


def _row(codes: np.ndarray, vocab: Vocab, length: int):
  """Tokens, segments, positions and weights of one song, padded."""
  if codes.ndim != 1 or not len(codes):
    raise ValueError(
      f"codes of shape {codes.shape}; expected (frames,) of codebook 0"
    )
  ids = [vocab.soa, vocab.xcodec, *frames_to_ids(codes[None], vocab)[0]]
  used = np.arange(length) < len(ids)
  tokens = np.zeros(length, np.int32)
  tokens[: len(ids)] = ids
  heard = used & (np.arange(length) >= _PROMPT)
  weights = (heard / heard.sum()).astype(np.float32)
  positions = np.where(used, np.arange(length), 0).astype(np.int32)
  return tokens, used.astype(np.int32), positions, weights
