"""Sound made of nothing, for tests: (samples,) float32 of 16 kHz."""

import numpy as np

RATE = 16_000


def voice(seconds: float, *, seed: int, notes_a_second: int = 4) -> np.ndarray:
  """Harmonics of notes that change, with a little noise; peaks below 0.6."""
  rng = np.random.default_rng(seed)
  samples = round(seconds * RATE)
  count = int(seconds * notes_a_second) + 1
  note = np.arange(samples) * notes_a_second // RATE
  phase = 2 * np.pi * np.cumsum(rng.uniform(110, 440, count)[note]) / RATE
  levels = rng.uniform(0, 1, (count, 8)) / np.arange(1, 9)
  levels /= levels.sum(1, keepdims=True)
  wave = sum(levels[note, h] * np.sin((h + 1) * phase) for h in range(8))
  return (0.5 * wave + rng.normal(0, 0.003, samples)).astype(np.float32)
