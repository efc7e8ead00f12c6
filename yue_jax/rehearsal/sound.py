"""The songs of a small world's rehearsal as WAV (the extra `[audio]`)."""

import io

import numpy as np

from yue_jax.world import folder, rendering
from yue_jax.world.generator import World


def world_wav(world: World, vocal: np.ndarray, backing: np.ndarray) -> bytes:
  """A WAV file of codebook 0 of both tracks, (frames,) codes each."""
  file = io.BytesIO()
  stems = rendering.render(world, vocal[None], backing[None])
  folder.write_wav(file, stems.mixture)
  return file.getvalue()
