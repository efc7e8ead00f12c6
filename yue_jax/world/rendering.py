"""Songs of the small world as sound, for ears and for tests.

  vocal codes   ─► singer.sing ────────► vocal ──┐
  backing codes ─► accompaniment.play ─► backing ┴► mixture = vocal + backing

A demonstration: what is heard is made of the codes by rules (see `singer` and
`accompaniment`), and of codebook 0 alone. Frames of the world last 20 ms, too
short for a syllable of two of them to be understood; here one lasts 100 ms.

The same codes make the same samples. Both tracks are made louder or softer
together, so that the mixture peaks at `PEAK` and nothing is clipped.
"""

from typing import NamedTuple

import numpy as np

from yue_jax.world import accompaniment, singer
from yue_jax.world.generator import World

RATE = 16_000  # samples a second, as codecs of speech and song want them
FRAME_SECONDS = 0.1
PEAK = 0.7
_BACKING_LEVEL = 0.4  # of the vocal's


class Stems(NamedTuple):
  """Sound of both tracks, (samples,) float32 each."""

  vocal: np.ndarray
  backing: np.ndarray

  @property
  def mixture(self) -> np.ndarray:
    return self.vocal + self.backing


def render(
  world: World,
  vocal: np.ndarray,
  backing: np.ndarray,
  *,
  frame_seconds: float = FRAME_SECONDS,
) -> Stems:
  """The sound of a song.

  Args:
    world: whose codes they are.
    vocal: (codebooks, frames) codes, of which the first codebook is heard.
    backing: likewise, of as many frames.
    frame_seconds: how long a frame lasts.
  """
  if vocal.shape != backing.shape or vocal.ndim != 2:
    raise ValueError(
      f"vocal of shape {vocal.shape}, backing of {backing.shape}; expected"
      " (codebooks, frames) of both, and as many frames"
    )
  frame = round(frame_seconds * RATE)
  if frame < 1:
    raise ValueError(
      f"frame_seconds={frame_seconds}, expected at least {1 / RATE:.2g}"
    )
  sung = singer.sing(world, vocal[0], rate=RATE, frame=frame)
  played = accompaniment.play(world, backing[0], rate=RATE, frame=frame)
  played = _BACKING_LEVEL * played
  peak = max(np.abs(track).max(initial=0) for track in (sung, played))
  peak = max(peak, np.abs(sung + played).max(initial=0))
  gain = PEAK / peak if peak else 0.0
  return Stems(*(np.float32(gain * track) for track in (sung, played)))
