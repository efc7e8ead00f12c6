"""Files of lyrics and of structure, by their names."""

from collections.abc import Callable
import os
import pathlib
from typing import TypeVar

from yue_jax.errors import SongError
from yue_jax.sheets.documents import parts_of_json, segments_of_json
from yue_jax.sheets.labelled import parts_of_text
from yue_jax.sheets.lrc import parts_of_lrc
from yue_jax.sheets.sheet import Part, Segment

_T = TypeVar("_T")
_MAX_BYTES = 2**24
_LYRICS = {".txt": parts_of_text, ".lrc": parts_of_lrc, ".json": parts_of_json}
LYRICS_SUFFIXES = tuple(_LYRICS)


def read_lyrics(path: str | os.PathLike[str]) -> tuple[Part, ...]:
  """Lyrics of a .txt, .lrc or .json file.

  Raises:
    SongError: missing_file, or bad_lyrics with what is wrong where.
  """
  path = pathlib.Path(path)
  parse = _LYRICS.get(path.suffix.lower())
  if parse is None:
    raise SongError(
      "bad_lyrics",
      f"{path}: lyrics are read from {', '.join(LYRICS_SUFFIXES)}",
    )
  return _read(path, parse, "bad_lyrics")


def read_structure(path: str | os.PathLike[str]) -> tuple[Segment, ...]:
  """Segments of a JSON file, in the file's order.

  Raises:
    SongError: missing_file, or bad_structure with what is wrong.
  """
  return _read(pathlib.Path(path), segments_of_json, "bad_structure")


def _read(path: pathlib.Path, parse: Callable[[str], _T], reason: str) -> _T:
  try:
    with path.open("rb") as file:
      content = file.read(_MAX_BYTES + 1)
  except FileNotFoundError:
    raise SongError("missing_file", f"no file {path}") from None
  except OSError as error:
    raise SongError(reason, f"{path} cannot be read: {error}") from error
  if len(content) > _MAX_BYTES:
    message = f"{path} has more than {_MAX_BYTES} bytes: no lyrics of a song"
    raise SongError(reason, message)
  try:
    text = content.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    message = f"{path} is not UTF-8 ({error}); convert it, with iconv say"
    raise SongError(reason, message) from None
  try:
    return parse(text)
  except SongError as error:
    raise SongError(error.reason, f"{path}: {error}") from None
