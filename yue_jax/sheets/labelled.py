"""Lyrics as text: lines under labels in square brackets.

[Verse 1]        or, where nothing is in brackets,    batoki meda
batoki meda      parts that blank lines divide:       suno

[chorus]                                              lali lali
suno
"""

import re

from yue_jax.errors import SongError
from yue_jax.sheets.labels import canonical
from yue_jax.sheets.sheet import Line, Part

_LABEL = re.compile(r"\s*\[([^\[\]]*)\](.*)")
_STAMP = re.compile(r"\d+:\d\d.*")


def split_label(line: str) -> tuple[str, str] | None:
  """Label and rest of a line that begins with one; None for any other.

  Example: "[verse 1] la" -> ("verse 1", "la").
  """
  found = _LABEL.fullmatch(line)
  return (found[1].strip(), found[2].strip()) if found else None


def under_labels(text: str) -> list[tuple[str, list[str]]]:
  """Labels as written, each with the lines up to the next.

  Raises:
    SongError: bad_lyrics: there is no label, words come before the first, or
      one is empty.
  """
  parts: list[tuple[str, list[str]]] = []
  for number, line in enumerate(text.splitlines(), start=1):
    if found := split_label(line):
      if not found[0]:
        raise _error(f"line {number} has a label without a name")
      parts.append((found[0], [found[1]]))
    elif parts:
      parts[-1][1].append(line)
    elif line.strip():
      raise _error(
        f"line {number} of the lyrics, {line.strip()!r:.60}, comes before any"
        " section; begin each section with a line such as [verse]"
      )
  if not parts:
    raise _error(
      "the lyrics are empty; expected sections such as '[verse]\\nwords ...'"
    )
  return parts


def parts_of_text(text: str) -> tuple[Part, ...]:
  """The parts of lyrics without times.

  Raises:
    SongError: bad_lyrics: there are none, words come before the first label,
      or what is in brackets is empty or a time.
  """
  if not any(split_label(line) for line in text.splitlines()) and text.strip():
    stanzas = re.split(r"\n\s*\n", text.strip())
    return tuple(Part("", _lines(stanza.splitlines())) for stanza in stanzas)
  parts = under_labels(text)
  for label, _ in parts:
    if _STAMP.fullmatch(label):
      raise _error(
        f"[{label}] is a time; lyrics with times are LRC, so call the file .lrc"
      )
  return tuple(Part(canonical(label), _lines(words)) for label, words in parts)


def _lines(lines: list[str]) -> tuple[Line, ...]:
  return tuple(Line(line.strip()) for line in lines if line.strip())


def _error(message: str) -> SongError:
  return SongError("bad_lyrics", message)
