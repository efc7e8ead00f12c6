"""Words read back from what was sung, in the small world (see `world`)."""

from collections.abc import Sequence
import itertools
import pathlib

from yue_jax.sampling.song import SongSection
from yue_jax.world import lyrics
from yue_jax.world.corpus import read_world
from yue_jax.world.manifest import parse_section

Words = list[tuple[int, ...]]  # of every section


class WorldWords:
  """The words of one world.

  Attributes:
    world: whose they are.
  """

  def __init__(self, path: str):
    """Reads a world.json; ValueError or OSError if it is none."""
    self.world = read_world(pathlib.Path(path))

  def given(self, texts: Sequence[str]) -> Words:
    """Words of the lyrics; ValueError if they are not of this world."""
    return [
      tuple(parse_section(self.world, text)[1].tolist()) for text in texts
    ]

  def sung(self, sections: Sequence[SongSection]) -> Words:
    vocals = [section.vocal for section in sections]
    return [reading.words for reading in lyrics.read(self.world, vocals)]

  def spelled(self, words: Words) -> list[str]:
    """As they are written: one text for every section."""
    return [" ".join(self.world.words[w] for w in section) for section in words]


def error_rate(true: Sequence[Words], read: Sequence[Words]) -> float:
  """Lyric error rate over all sections of all songs."""
  chain = itertools.chain.from_iterable
  return lyrics.error_rate(list(chain(true)), list(chain(read)))
