"""The twelve aspects in which the YuE paper compares songs (section 5.2)."""

from collections.abc import Iterable
import dataclasses


@dataclasses.dataclass(frozen=True)
class Aspect:
  """What raters are asked.

  Attributes:
    name: in results and in command lines.
    label: the paper's abbreviation, for tables and figures.
    title: on the page.
    question: on the page, below the title.
    controlled: whether only the prompt tells which song is better.
  """

  name: str
  label: str
  title: str
  question: str
  controlled: bool = False


_ALL = (
  Aspect(
    "musicality",
    "Musicality",
    "Overall musicality",
    "All in all, which one is the better song?",
  ),
  Aspect(
    "vocal_quality",
    "VocalQual",
    "Vocal quality",
    "Which singing sounds cleaner and more natural?",
  ),
  Aspect(
    "accompaniment_quality",
    "AccompQual",
    "Accompaniment quality",
    "Which instruments sound cleaner and more natural?",
  ),
  Aspect(
    "arrangement",
    "MusicArr",
    "Music arrangement",
    "Which one is arranged better: parts, layers, transitions?",
  ),
  Aspect(
    "melody",
    "MelodicAttrac",
    "Melodic attractiveness",
    "Which melody is more attractive?",
  ),
  Aspect(
    "compatibility",
    "VocalAccompComp",
    "Vocal and accompaniment together",
    "In which one do voice and instruments fit each other better?",
  ),
  Aspect(
    "structure",
    "SongStruct",
    "Song structure",
    "Whose verses, choruses and other sections are clearer?",
  ),
  Aspect(
    "lyrics",
    "LyricFollow",
    "Lyrics following",
    "Which one sings the requested lyrics more exactly?",
    controlled=True,
  ),
  Aspect(
    "genre",
    "GenCtrl",
    "Genre",
    "Which one is closer to the requested genre?",
    controlled=True,
  ),
  Aspect(
    "configuration",
    "InstrCtrl",
    "Instruments and voice",
    "Which one is closer to the requested instruments and kind of voice?",
    controlled=True,
  ),
  Aspect(
    "emotion",
    "EmoCtrl",
    "Emotion",
    "Which one expresses the requested mood better?",
    controlled=True,
  ),
  Aspect(
    "tempo",
    "Tempo/RhyCtrl",
    "Tempo and rhythm",
    "Which one is closer to the requested tempo and rhythm?",
    controlled=True,
  ),
)
ASPECTS = {aspect.name: aspect for aspect in _ALL}


def aspects_named(names: Iterable[str]) -> tuple[Aspect, ...]:
  """Aspects by name, in the order of the paper.

  Raises:
    ValueError: there is no such aspect, or none is named.
  """
  names = set(names)
  unknown = sorted(names - set(ASPECTS))
  if unknown or not names:
    raise ValueError(
      f"unknown aspects: {', '.join(unknown) or 'none given'}; expected some of"
      f" {', '.join(ASPECTS)}"
    )
  return tuple(aspect for aspect in _ALL if aspect.name in names)
