"""Lyrics and structure, before and after they are brought together.

All times are seconds from the beginning of the recording.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Line:
  """One line of lyrics, with the time it is sung, if known."""

  text: str
  start: float | None = None
  end: float | None = None


@dataclasses.dataclass(frozen=True)
class Part:
  """Lyrics under one label, as their writer divided them.

  Attributes:
    label: as `labels.canonical` has it; "" if the writer gave none.
    lines: with words, without empty ones; none where nothing is sung.
    start: when it begins, if known.
    end: when it ends, if known.
  """

  label: str
  lines: tuple[Line, ...] = ()
  start: float | None = None
  end: float | None = None


@dataclasses.dataclass(frozen=True)
class Segment:
  """A stretch of the recording that was given a label."""

  label: str
  start: float
  end: float


@dataclasses.dataclass(frozen=True)
class Section:
  """A stretch of the recording and the lines that are sung in it."""

  label: str
  lines: tuple[str, ...]
  start: float
  end: float

  @property
  def text(self) -> str:
    return section_text(self.label, "\n".join(self.lines))


def section_text(label: str, words: str) -> str:
  """A section as manifests and documents hold it (`line_content`).

  Example: "verse" and "la la\\nli" -> "[verse]\\nla la\\nli\\n\\n"; without
  words "[intro]\\n\\n", as in released data.
  """
  return f"[{label}]\n{words}\n\n" if words else f"[{label}]\n\n"
