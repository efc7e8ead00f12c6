"""A codec by what the command line says of it."""

import pathlib

from yue_jax.audio import mel_codec
from yue_jax.audio.codecs import Codec


def load_codec(source: str) -> Codec:
  """A codec by its folder, or X-Codec by its name on the Hugging Face hub.

  Args:
    source: a folder of `mel_codec.save`; or, of X-Codec, a folder as
      transformers writes it, or "owner/name".

  Raises:
    ValueError: it is no codec, or a damaged one, or PyTorch is missing.
    OSError: there is no such folder and no such name.
  """
  folder = pathlib.Path(source)
  if mel_codec.is_folder(folder):
    return mel_codec.load(folder)
  if folder.is_dir() and not (folder / "config.json").is_file():
    raise ValueError(
      f"{folder} holds no codec; make one with tools/fit_codec.py, or give a"
      " folder of X-Codec with its config.json"
    )
  try:
    from yue_jax.audio import xcodec  # heavy, and needed for X-Codec alone
  except ModuleNotFoundError as error:
    raise ValueError(
      f"X-Codec: {error}; pip install '.[audio]' and a build of PyTorch"
    ) from error
  return xcodec.load(source)
