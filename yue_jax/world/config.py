"""The parameters of a small world, checked when they are set.

Two worlds with equal parameters are the same world: the tables that
`generator.World` draws depend on nothing else.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, Self

MAX_CODES = 2**15  # in int16, the released type of code files
VOCAL_CODES_PER_SYLLABLE = 2  # its onset, and all frames after it

_COUNTS = (
  "words",
  "syllables",
  "syllables_per_word",
  "singers",
  "genres",
  "sections",
  "words_per_section",
  "chords",
  "beats",
  "progression",
  "codebooks",
)
_NOISES = ("vocal_noise", "backing_noise", "residual_noise")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorldConfig:
  """Sizes, lengths and noises of a world.

  Attributes:
    words: number of different words.
    syllables: number of different syllables; a word is an ordered choice of
      `syllables_per_word` of them, and no two words are spelled alike.
    singers: each sings the same syllable with another set of codes.
    genres: number of tags; genre and label choose the chord progression.
    labels: names of the sections.
    sections: per song.
    words_per_section: no word follows itself inside a section.
    durations: allowed frames per syllable, equally likely.
    chords: number of different chords, each with `beats` codes.
    progression: chords before a progression repeats.
    chord_durations: allowed frames per chord, equally likely.
    vocal_noise: share of vocal frames replaced by any vocal code.
    backing_noise: the same for backing codes.
    masking: by beat of a chord, how likely the backing drowns the vocal there.
    residual_noise: share of residual codes that tell nothing of codebook 0.
    codebooks: per track; codebook 0 carries the process above.
    seed: of the tables; songs have seeds of their own.
  """

  words: int = 32
  syllables: int = 16
  syllables_per_word: int = 2
  singers: int = 4
  genres: int = 8
  labels: tuple[str, ...] = ("verse", "chorus")
  sections: int = 2
  words_per_section: int = 6
  durations: tuple[int, ...] = (2, 3)
  chords: int = 8
  beats: int = 4
  progression: int = 4
  chord_durations: tuple[int, ...] = (4, 5, 6)
  vocal_noise: float = 0.02
  backing_noise: float = 0.02
  masking: tuple[float, ...] = (0.6, 0.2, 0.2, 0.2)
  residual_noise: float = 0.05
  codebooks: int = 8
  seed: int = 0

  def __post_init__(self):
    for name in _COUNTS:
      _check_count(name, getattr(self, name))
    for name in _NOISES:
      _check_probability(name, getattr(self, name))
    for name in ("durations", "chord_durations"):
      _check_durations(name, getattr(self, name))
    _check_labels(self.labels)
    for probability in self.masking:
      _check_probability("masking", probability)
    if len(self.masking) != self.beats:
      raise ValueError(
        f"masking has {len(self.masking)} values, expected one for each of"
        f" beats={self.beats}"
      )
    spellings = self.syllables**self.syllables_per_word
    if self.words > spellings:
      raise ValueError(
        f"words={self.words} exceeds the {spellings} spellings of"
        f" {self.syllables_per_word} out of {self.syllables} syllables; raise"
        " syllables or syllables_per_word"
      )
    if self.words == 1 and self.words_per_section > 1:
      raise ValueError(
        f"words=1 but words_per_section={self.words_per_section}, and no word"
        " follows itself; use at least two words"
      )
    if self.codes > MAX_CODES:
      raise ValueError(
        f"{self.vocal_codes} vocal and {self.backing_codes} backing codes make"
        f" {self.codes}, and a code file holds at most {MAX_CODES}; lower"
        " singers, syllables, chords or beats"
      )
    if type(self.seed) is not int or self.seed < 0:
      raise ValueError(f"seed={self.seed!r}, expected an integer from 0 on")

  @property
  def singer_codes(self) -> int:
    """Vocal codes of one singer, and the step from singer to singer."""
    return VOCAL_CODES_PER_SYLLABLE * self.syllables

  @property
  def vocal_codes(self) -> int:
    """Codes `range(vocal_codes)` are vocal."""
    return self.singers * self.singer_codes

  @property
  def backing_codes(self) -> int:
    """Codes `range(vocal_codes, codes)` are backing."""
    return self.chords * self.beats

  @property
  def codes(self) -> int:
    """Codes per codebook, the same in all codebooks."""
    return self.vocal_codes + self.backing_codes

  @property
  def units_per_section(self) -> int:
    """Syllables sung in a section."""
    return self.words_per_section * self.syllables_per_word

  @property
  def max_section_frames(self) -> int:
    return self.units_per_section * max(self.durations)

  def to_json(self) -> dict[str, Any]:
    return {
      name: list(value) if isinstance(value, tuple) else value
      for name, value in dataclasses.asdict(self).items()
    }

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """Inverse of `to_json`; ValueError on unknown or missing keys."""
    expected = {field.name for field in dataclasses.fields(cls)}
    if set(fields) != expected:
      raise ValueError(
        f"world parameters: expected the keys {sorted(expected)}, got"
        f" {sorted(fields)}"
      )
    return cls(
      **{
        name: tuple(value) if isinstance(value, list) else value
        for name, value in fields.items()
      }
    )


def _check_count(name: str, value: object) -> None:
  if type(value) is not int or value < 1:
    raise ValueError(f"{name}={value!r}, expected a positive integer")


def _check_probability(name: str, value: object) -> None:
  if not isinstance(value, int | float) or not 0 <= value <= 1:
    raise ValueError(f"{name}: {value!r} is not a probability from 0 to 1")


def _check_durations(name: str, values: object) -> None:
  if not isinstance(values, tuple) or not values:
    raise ValueError(f"{name}={values!r}, expected a tuple of frame counts")
  for value in values:
    _check_count(name, value)
  if len(set(values)) != len(values):
    raise ValueError(f"{name}={values} names a number of frames twice")


def _check_labels(labels: tuple[str, ...]) -> None:
  if not labels or len(set(labels)) != len(labels):
    raise ValueError(f"labels={labels}, expected at least one, all different")
  for label in labels:
    if not (label.isascii() and label.isalpha() and label.islower()):
      raise ValueError(f"label {label!r}, expected lower-case letters a to z")
