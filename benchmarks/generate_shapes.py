"""The models and the work of benchmarks/generate.py.

NumPy alone: every contender reads it, whatever it computes with.
"""

import dataclasses

import numpy as np

from yue_jax import presets
from yue_jax.config import ModelConfig
from yue_jax.vocab import RELEASED, Vocab

WINDOW = 300  # frames, as released
ROWS = 4  # the released inference completes as many windows at once
SONG = 8 * ROWS  # windows of 96 seconds of two tracks
PROMPT = 64  # tokens before the first one that stage 1 draws
CONTEXTS = (1024, 2048, 4096, 8192, 16_384)
RESIDUAL = 7  # codebooks of a frame that stage 2 draws
PENALTY = 1.1  # of repetitions, in stage 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
  """One model and how much it has to generate.

  Attributes:
    window: frames of a window of stage 2.
    drawn: tokens of stage 1.
    every: of so many frames, one is completed frame by frame, with random ids
      in place of the residual codes before it; 1 for all, each after those
      completed before.
  """

  model: ModelConfig
  vocab: Vocab
  window: int
  drawn: int
  every: int

  @property
  def residual(self) -> range:
    """What the released inference lets any residual token be."""
    first, last = self.vocab.codebook(1), self.vocab.codebook(RESIDUAL)
    return range(first.start, last.stop)

  def codes(self) -> np.ndarray:
    """Codebook 0 of the windows of a song, (SONG, window)."""
    rng = np.random.default_rng(0)
    return rng.integers(0, self.vocab.codes(), (SONG, self.window))

  def prompts(self, length: int) -> np.ndarray:
    """Random text, (ROWS, length) int32."""
    rng = np.random.default_rng(1)
    return rng.integers(0, self.vocab.text_size, (ROWS, length), np.int32)


def _work(model: ModelConfig, vocab: Vocab, **amounts: int) -> Work:
  # Large weights: attention that matters, and no near-ties among 7,168 ids.
  model = dataclasses.replace(
    model, init_std=0.1, max_positions=max(CONTEXTS), dtype="float32"
  )
  return Work(model=model, vocab=vocab, **amounts)


_SMALL = Vocab.small(1000, codes=128)
WORKS = {
  # 0.1 M, and 0.3 M of embeddings.
  "tiny": _work(
    presets.tiny(_SMALL.padded_size(128)),
    _SMALL,
    window=WINDOW,
    drawn=256,
    every=1,
  ),
  # 26 M, and 86 M of embeddings: the released vocabulary.
  "100m": _work(
    ModelConfig(
      vocab_size=presets.STAGE2_VOCAB_SIZE,
      width=512,
      mlp_width=1408,
      layers=9,
      heads=8,
      kv_heads=4,
      max_positions=max(CONTEXTS),
    ),
    RELEASED,
    window=WINDOW,
    drawn=64,
    every=10,
  ),
}
