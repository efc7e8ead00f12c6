"""X-Codec, the codec of YuE, by transformers' XcodecModel.

Of its codebooks the first eight are used (paper, section 3.4). Long sounds are
encoded in windows that overlap, since the semantic branch attends to all that
it is given: a code depends on at most `_WINDOW` frames around it. Sounds that
fit into a window are encoded as transformers does it.
"""

from collections.abc import Sequence
import functools
import hashlib
import itertools

import numpy as np
import torch
from transformers import AutoConfig, XcodecModel

from yue_jax.audio import codecs

NAME = "xcodec"
_CODEBOOKS = 8
_WINDOW = 1500  # frames encoded or decoded at once
_CONTEXT = 50  # frames at an edge of a window that are thrown away
_BATCH = 8  # windows


class XCodec:
  """See `Codec`; what is encoded beside a waveform matters by rounding only."""

  name = NAME
  sample_rate = 16_000
  frames_per_second = 50

  def __init__(self, model: XcodecModel):
    """Takes a model that is on its device.

    Raises ValueError for another rate of samples or frames, or fewer codebooks.
    """
    cfg = model.config
    rates = cfg.sample_rate, cfg.sample_rate / cfg.hop_length
    if rates != (self.sample_rate, self.frames_per_second):
      raise ValueError(
        f"an X-Codec of {rates[0]} Hz and {rates[1]:g} frames a second,"
        f" expected {self.sample_rate} Hz and {self.frames_per_second}"
      )
    if cfg.num_quantizers < _CODEBOOKS:
      raise ValueError(
        f"an X-Codec of {cfg.num_quantizers} codebooks, expected {_CODEBOOKS}"
      )
    self.codebooks, self.codebook_size = _CODEBOOKS, cfg.codebook_size
    self._model, self._hop = model.eval(), cfg.hop_length

  def encode(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
    """See `Codec`."""
    waves = [np.pad(w, (0, -len(w) % self._hop)) for w in waveforms]
    all_codes = [
      np.empty((self.codebooks, len(wave) // self._hop), np.uint16)
      for wave in waves
    ]
    windows = [
      (number, *window)
      for number, codes in enumerate(all_codes)
      for window in _windows(codes.shape[1])
    ]
    # Windows of one length are a batch; nothing is padded.
    windows.sort(key=lambda w: w[1][1] - w[1][0])
    for _, equal in itertools.groupby(windows, lambda w: w[1][1] - w[1][0]):
      while batch := list(itertools.islice(equal, _BATCH)):
        sounds = [
          waves[number][start * self._hop : stop * self._hop]
          for number, (start, stop), _ in batch
        ]
        found = self._encode(np.stack(sounds))
        for codes, (number, (start, _), (first, last)) in zip(
          found, batch, strict=True
        ):
          all_codes[number][:, first:last] = codes[
            :, first - start : last - start
          ]
    return all_codes

  def decode(self, codes: np.ndarray) -> np.ndarray:
    """See `Codec`."""
    codecs.check_codes(self, codes)
    parts = []
    for (start, stop), (first, last) in _windows(codes.shape[1]):
      sound = self._decode(codes[:, start:stop])
      parts.append(
        sound[(first - start) * self._hop : (last - start) * self._hop]
      )
    return np.concatenate(parts)

  def fingerprint(self) -> str:
    """See `Codec`."""
    return self._fingerprint

  @functools.cached_property
  def _fingerprint(self) -> str:
    digest = hashlib.sha256(f"{NAME} {_WINDOW} {_CONTEXT}".encode())
    for name, tensor in sorted(self._model.state_dict().items()):
      digest.update(f"{name} {tuple(tensor.shape)}".encode())
      digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]

  @torch.inference_mode()
  def _encode(self, sounds: np.ndarray) -> np.ndarray:
    """(batch, samples) -> (batch, codebooks, frames)."""
    batch = torch.from_numpy(sounds)[:, None].to(self._model.device)
    codes = self._model.encode(batch).audio_codes
    return codes[:, : self.codebooks].cpu().numpy()

  @torch.inference_mode()
  def _decode(self, codes: np.ndarray) -> np.ndarray:
    """(codebooks, frames) -> (samples,)."""
    batch = torch.from_numpy(codes.astype(np.int64))[None]
    sound = self._model.decode(batch.to(self._model.device)).audio_values
    return sound[0, 0].float().cpu().numpy()


def load(source: str) -> XCodec:
  """X-Codec of a local folder, or of a name on the Hugging Face hub.

  On a GPU if PyTorch sees one. Weights must be safetensors.

  Raises:
    ValueError: another kind of model, or weights are missing.
    OSError: there is no such folder and no such name.
  """
  kind = AutoConfig.from_pretrained(source).model_type
  if kind != "xcodec":
    raise ValueError(f"{source} is a model of the kind {kind}, expected xcodec")
  model, loading = XcodecModel.from_pretrained(
    source,
    dtype=torch.float32,
    use_safetensors=True,
    output_loading_info=True,
  )
  if loading["missing_keys"]:
    raise ValueError(
      f"{source} has no weights for {sorted(loading['missing_keys'])[:5]};"
      " restore it from a copy"
    )
  return XCodec(model.to("cuda" if torch.cuda.is_available() else "cpu"))


def _windows(frames: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
  """What is read at once, and the frames of it that are kept.

  Windows have one length; the last is moved back to be whole. Of two that
  overlap, each frame is kept of the one that has more around it.

  Example: 3,000 frames are read as 0..1500, 1400..2900, 1500..3000, and kept
  as 0..1450, 1450..2850, 2850..3000.
  """
  step = _WINDOW - 2 * _CONTEXT
  starts = range(0, max(frames - 2 * _CONTEXT, 1), step)
  read = []
  for start in starts:
    start = max(min(start, frames - _WINDOW), 0)
    read.append((start, min(start + _WINDOW, frames)))
  ends = [
    start + step + _CONTEXT for start in itertools.islice(starts, len(read) - 1)
  ]
  return list(
    zip(read, zip([0, *ends], [*ends, frames], strict=True), strict=True)
  )
