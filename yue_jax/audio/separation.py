"""Stems of a mixture, by a command of the user's."""

import pathlib
import shlex
import subprocess
import threading

from yue_jax import commands
from yue_jax.audio.stems import find_songs
from yue_jax.errors import SongError

_SAID = 500  # characters of what a failed command said
_ONE_AT_A_TIME = threading.Lock()  # a separator takes the whole machine


def check_command(template: str) -> None:
  """Raises ValueError unless it can be a command for `separate`."""
  words = shlex.split(template)
  for name in ("{input}", "{output}"):
    if not any(name in word for word in words):
      raise ValueError(
        f"{template!r} has no {name}; expected such as 'demucs --two-stems"
        " vocals -o {output} {input}'"
      )


def separate(
  template: str, mixture: pathlib.Path, folder: pathlib.Path
) -> dict[str, pathlib.Path]:
  """Runs a command that writes stems of `mixture` somewhere below `folder`.

  Args:
    template: words as a shell splits them, no shell involved; `{input}` and
      `{output}` in them stand for the two paths.
    mixture: a sound file.
    folder: empty.

  Returns:
    Files of the vocal and of the backing track.

  Raises SongError `separation_failed`.
  """
  paths = {"{input}": str(mixture), "{output}": str(folder)}
  words = commands.fill(template, paths)
  try:
    with _ONE_AT_A_TIME:
      done = subprocess.run(words, capture_output=True, text=True, check=False)
  except OSError as error:
    raise SongError("separation_failed", f"{words[0]}: {error}") from error
  if done.returncode:
    raise SongError(
      "separation_failed",
      f"{shlex.join(words)} ended with code {done.returncode}:"
      f" {(done.stderr or done.stdout).strip()[-_SAID:]}",
    )
  return _stems(folder, shlex.join(words))


def _stems(folder: pathlib.Path, command: str) -> dict[str, pathlib.Path]:
  try:
    (found,) = find_songs(folder)
    return {name: found.files[name] for name in ("vocal", "backing")}
  except (OSError, ValueError, KeyError, AttributeError) as error:
    written = sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
    raise SongError(
      "separation_failed",
      f"{command} wrote {written}, expected a vocals.wav and a no_vocals.wav",
    ) from error
