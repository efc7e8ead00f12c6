"""A codec by what the command line says of it."""

import pathlib

from yue_jax.audio import mel_codec
from yue_jax.audio.codecs import Codec


def load_codec(source: str) -> Codec:
  """A codec by its folder.

  Raises ValueError if the folder holds no codec, or a damaged one.
  """
  folder = pathlib.Path(source)
  if mel_codec.is_folder(folder):
    return mel_codec.load(folder)
  raise ValueError(f"{folder} holds no codec; make one with tools/fit_codec.py")
