"""Commands that users give as templates."""

from collections.abc import Mapping
import shlex


def fill(template: str, values: Mapping[str, str]) -> list[str]:
  """Words of a command, split as a shell does; no shell is involved.

  Example: "asr -l {language} {audio}" with "{language}" as "en" and "{audio}"
  as "my song.wav" -> ["asr", "-l", "en", "my song.wav"].
  """
  words = shlex.split(template)
  for name, value in values.items():
    words = [word.replace(name, value) for word in words]
  return words
