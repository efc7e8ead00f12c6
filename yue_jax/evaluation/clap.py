"""Embeddings of sound and text by CLAP, through transformers.

Any checkpoint of `ClapModel` will do, such as laion/larger_clap_music: a local
folder or a name on the hub. Needs the extras [audio] and [hf], and PyTorch.
"""

from collections.abc import Sequence

import numpy as np
import torch
import transformers


class Clap:
  """A CLAP model with its processor."""

  def __init__(self, name: str):
    self._model = transformers.ClapModel.from_pretrained(name).eval()
    self._processor = transformers.ClapProcessor.from_pretrained(name)
    self._window = self._processor.feature_extractor.max_length_s

  @property
  def sample_rate(self) -> int:
    return self._processor.feature_extractor.sampling_rate

  def sound(self, samples: np.ndarray) -> np.ndarray:
    """(windows, width) of (samples,) at `sample_rate`.

    Windows are as long as the model's own and do not overlap; the rest of a
    song that is longer than one is left out.
    """
    size = int(self._window * self.sample_rate)
    count = max(1, len(samples) // size)
    windows = [samples[k * size : (k + 1) * size] for k in range(count)]
    inputs = self._processor.feature_extractor(
      windows, sampling_rate=self.sample_rate, return_tensors="pt"
    )
    with torch.no_grad():
      return _array(self._model.get_audio_features(**inputs))

  def texts(self, texts: Sequence[str]) -> np.ndarray:
    """(texts, width); what is longer than the model reads is cut."""
    inputs = self._processor.tokenizer(
      list(texts), padding=True, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
      return _array(self._model.get_text_features(**inputs))


def _array(features) -> np.ndarray:
  """Some versions of transformers wrap the features."""
  return getattr(features, "pooler_output", features).numpy()
