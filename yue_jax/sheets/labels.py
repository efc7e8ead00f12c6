"""Labels of sections: what people write, and what is one and the same.

The sections of training data are called by the words of all-in-one, the
analyser of structure that made the released ones: intro, verse, chorus,
bridge, outro, inst, solo, break, and start and end for the silence around.
"""

import re

# Where words are expected, where they may be, and where there are none.
SUNG = ("verse", "chorus", "bridge")
OPEN = ("intro", "outro")
SILENCE = ("start", "end")
_SAME = {
  "refrain": "chorus",
  "hook": "chorus",
  "middle 8": "bridge",
  "middle eight": "bridge",
  "opening": "intro",
  "ending": "outro",
  "coda": "outro",
  "instrumental": "inst",
  "instrumental break": "inst",
  "interlude": "inst",
  "prechorus": "pre-chorus",
  "pre chorus": "pre-chorus",
  "postchorus": "post-chorus",
  "post chorus": "post-chorus",
}
# Parts that an analyser of sound has no word for, and what it may call them.
_HEARD_AS = {
  "pre-chorus": ("verse", "chorus", "bridge"),
  "post-chorus": ("chorus", "bridge"),
}
_NUMBER = r"[\s#]*(?:\d+|\b[ivx]+|\b[a-d]|\bx\s*\d+|\d+\s*x)$"


def canonical(label: str) -> str:
  """One spelling of a label: without case, number, singer or repetition.

  Examples: "Verse 2" -> "verse", "Chorus: Ana & Bo" -> "chorus",
  "Refrain (x2)" -> "chorus", "Pre-Chorus" -> "pre-chorus", "Rap" -> "rap".
  """
  name = re.split(r"[:(]", label.lower(), maxsplit=1)[0]
  name = re.sub(r"[\s_]+", " ", name).strip()
  if name not in _SAME:  # "middle 8" keeps its number
    name = re.sub(_NUMBER, "", name) or name
  return _SAME.get(name, name)


def agree(written: str, heard: str) -> bool:
  """Whether a label of lyrics and one of a structure can be of one section.

  A part without a label agrees with all.
  """
  return not written or heard == written or heard in _HEARD_AS.get(written, ())


def is_sung(heard: str) -> bool:
  """Whether a segment of this label must have words."""
  return heard in SUNG or heard in _HEARD_AS


def may_be_sung(heard: str) -> bool:
  return is_sung(heard) or heard in OPEN
