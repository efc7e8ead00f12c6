"""The loss of a model that cannot see the lyrics, and of simpler ones.

A floor alone does not tell how hard a stream is. These figures are what the
same stream costs without the text: a model that follows the lyrics shows by
leaving them behind. In each case the best that such a model can do:

  vocal, <EOA>   the exact filter of `floors`, for words that are unknown; how
                 many there are, and that none follows itself, is known
  backing        its unigram, since the lyrics say nothing about it
  codebook k     its unigram
"""

from collections.abc import Sequence

import numpy as np

from yue_jax.world import floors, nats, sections
from yue_jax.world.generator import World, WorldSong

SMOOTHING = 0.01  # added to each code's count, so that none is impossible


def unigram(codes: np.ndarray, *, size: int) -> np.ndarray:
  """(..., size) nats of each code by its share in training codes (..., F).

  Example: codes [0, 0, 0, 1] with size 2 -> about [log 4/3, log 4].
  """
  rows = codes.reshape(-1, codes.shape[-1])
  counts = np.stack([np.bincount(row, minlength=size) for row in rows])
  if counts.shape[-1] != size:
    raise ValueError(f"code {codes.max()}, expected codes below {size}")
  smoothed = counts + SMOOTHING
  nats_of_code = np.log(smoothed.sum(axis=-1, keepdims=True) / smoothed)
  return nats_of_code.reshape(*codes.shape[:-1], size)


def documents(
  world: World, songs: Sequence[WorldSong], *, backing: np.ndarray
) -> list[nats.DocumentNats]:
  """Nats of stage-1 documents for a listener who cannot read.

  Args:
    world: where the songs come from.
    songs: as for `floors.cot`; their text is taken from there too.
    backing: (codes,) unigram of the backing's codebook 0.
  """
  cfg = world.cfg
  states = cfg.words * cfg.units_per_section * max(cfg.durations)

  def chunk(songs):
    heard = sections.Sections.of(world, songs)
    played = backing[heard.backing + cfg.vocal_codes]
    return nats.of_documents(
      songs,
      text=floors.tag_nats(world) + floors.lyrics_nats(world),
      vocal=sections.mix(sections.sung_unseen(world, heard)),
      backing=np.pad(played, ((0, 0), (0, 0), (0, 1))),
    )

  size = states * cfg.singers * cfg.sections
  return floors.in_chunks(chunk, songs, belief_size=size)


def windows(codes: np.ndarray, *, unigrams: np.ndarray) -> np.ndarray:
  """Nats of stage-2 windows, (..., codebooks, frames), by unigram.

  `unigrams` (codebooks, codes) are those of each codebook.
  """
  return np.take_along_axis(
    np.broadcast_to(unigrams, (*codes.shape[:-1], unigrams.shape[-1])),
    codes.astype(np.int64),
    axis=-1,
  )
