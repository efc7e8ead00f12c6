"""References: which clip of a song an in-context document opens with."""

import dataclasses

MODES = ("dual", "mixture", "vocal", "backing")


@dataclasses.dataclass(frozen=True)
class Reference:
  """Frames `start` to `start + length` of the tracks that `mode` names."""

  mode: str
  start: int
  length: int
