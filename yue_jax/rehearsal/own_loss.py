"""What a model pays for its own songs, by stream.

Nats per token of the documents that its songs make, under the model itself. A
model that has begun to repeat itself finds its songs easy: the loss of the
vocal falls far below that of real songs, while lyrics are no longer sung.
"""

from collections.abc import Sequence

import numpy as np

from yue_jax.data.samples import Sample, join_apart
from yue_jax.data.sources.source import Part
from yue_jax.documents import cot
from yue_jax.encoding import EncodedSection, EncodedSong, Phrases
from yue_jax.rehearsal.given import Given
from yue_jax.sampling.song import SongSection
from yue_jax.tokens import Document
from yue_jax.vocab import Vocab

_MULTIPLE = 256  # tokens of a row: songs of similar length share a program


class OwnSongs:
  """The documents of songs, one a sample, for `data.pipeline.eval_batches`.

  Attributes:
    context: places in a sample; what a longer document has more is left out.
  """

  def __init__(self, documents: Sequence[Document], *, most: int):
    """No sample is to have more than `most` places."""
    longest = max(len(document) for document in documents)
    self.context = min(most, -(-longest // _MULTIPLE) * _MULTIPLE)
    self._documents = documents

  def __len__(self) -> int:
    return len(self._documents)

  def sample(self, number: int) -> Sample:
    document = self._documents[number]
    length = min(len(document), self.context)
    part = Part(*document.read(0, length), 0, length)
    return join_apart([part], self.context)


def document(
  song: Given,
  sections: Sequence[SongSection],
  *,
  vocab: Vocab,
  phrases: Phrases,
) -> Document:
  """The training document of a song that was sung."""
  ends = np.cumsum([len(section.vocal) for section in sections]).tolist()
  none = np.zeros(0, np.int32)
  encoded = EncodedSong(
    id=song.id,
    head=song.prompt.head,
    tags=(),
    sections=tuple(
      EncodedSection(text, none, start, end, chorus=False)
      for text, start, end in zip(
        song.prompt.sections, [0, *ends[:-1]], ends, strict=True
      )
    ),
    tracks={
      name: np.concatenate([getattr(section, name) for section in sections])
      for name in SongSection._fields
    },
  )
  return cot(encoded, vocab, phrases=phrases)
