"""The loss of a perfect model on the mixture: one track, vocal or backing.

A frame of the mixture has the code of either the backing, with a probability
that the beat decides, or the vocal. Whose it is can be seen, since their codes
differ. So, given the codes, where the vocal stands in the words and where the
backing stands in its chords are independent, as they were before:

  p(vocal code v) = p(not masked | backing) * p(v | words, vocal so far)
  p(backing code b) = p(masked, b | backing) * p(the section goes on | vocal)

and two filters, each of which hears what the mixture lets through of its own
track, give the exact floor of both together.

What is masked cannot be read back either: `lyrics.read` takes backing codes
for noise, which tells no words from others, and hence finds the likeliest
words here too.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from yue_jax.world import floors, nats, sections
from yue_jax.world.generator import World, WorldSong


@dataclasses.dataclass(frozen=True, eq=False)
class MixtureNats:
  """-log p of the sound of one document of the mixture.

  Attributes:
    mixture: (frames,) of the codes.
    end: (sections,) of each <EOA>, which competes with a vocal code.
    counted_frames, counted_ends: as in `nats.DocumentNats`; all of them.
  """

  mixture: np.ndarray
  end: np.ndarray

  @property
  def counted_frames(self) -> np.ndarray:
    return np.ones(len(self.mixture), bool)

  @property
  def counted_ends(self) -> np.ndarray:
    return np.ones(len(self.end), bool)


def cot(world: World, songs: Sequence[WorldSong]) -> list[MixtureNats]:
  """Exact floors of documents that open with the tag and all lyrics."""

  def chunk(songs):
    heard = sections.Sections.of(world, songs)
    genre = heard.genre[:, None]
    vocal = sections.mix(sections.sung_masked(world, heard))
    backing = sections.mix(sections.played_masking(world, heard, genre))
    return [
      MixtureNats(*nats.unpadded(song, own + others))
      for song, own, others in zip(songs, vocal, backing, strict=True)
    ]

  return floors.in_chunks(chunk, songs, belief_size=floors.belief_size(world))
