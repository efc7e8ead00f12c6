"""Sources of every kind of documents that are made of one song each."""

import numpy as np

from yue_jax import documents, lengths, references
from yue_jax.data.sources.kinds import KIND_TRACKS, REFERENCE_MODES
from yue_jax.data.sources.songs import SongSource


class Plain(SongSource):
  """Sections without the rest of the song."""

  def _fixed(self, rows):
    return lengths.plain(
      plain_text=self._column("plain_text", rows),
      frames=self._column("sung", rows),
      sections=self._column("section_count", rows),
    )

  def _section_lengths(self, sections):
    text = self._column("section_plain_text", sections)
    frames = _frames(self, sections)
    return lengths.plain(plain_text=text, frames=frames, sections=1) - 1

  def _build(self, epoch, row, song, sections):
    del epoch, row  # nothing is drawn
    return documents.plain(song, self._dataset.vocab, sections=sections)


class Cot(SongSource):
  """Text, then section by section, of both tracks or of the mixture."""

  def _fixed(self, rows):
    return lengths.cot(
      head=self._column("head", rows),
      text=self._column("text", rows),
      frames=self._column("sung", rows),
      sections=self._column("section_count", rows),
      phrases=self._dataset.phrases,
      tracks=len(KIND_TRACKS[self._kind]),
    )

  def _section_lengths(self, sections):
    own = lengths.cot(
      head=0,
      text=self._column("section_text", sections),
      frames=_frames(self, sections),
      sections=1,
      phrases=self._dataset.phrases,
      tracks=len(KIND_TRACKS[self._kind]),
    )
    return own - 1

  def _build(self, epoch, row, song, sections):
    del epoch, row  # nothing is drawn
    return documents.cot(
      song,
      self._dataset.vocab,
      phrases=self._dataset.phrases,
      tracks=KIND_TRACKS[self._kind],
      sections=sections,
    )


class Icl(Cot):
  """The same after a clip of the song, drawn afresh in every epoch."""

  varies = True

  def _drawn(self, epoch, rows):
    clips = references.draw_lengths(
      self._seed, epoch, songs=rows, spans=self._column("span", rows)
    )
    modes = REFERENCE_MODES[self._kind]
    tracks = np.array([len(references.MODE_TRACKS[mode]) for mode in modes])
    extra = lengths.reference(
      clips,
      tracks=tracks[self._modes(epoch, rows)],
      phrases=self._dataset.phrases,
    )
    return extra.astype(np.int32)

  def _most_drawn(self, rows):
    modes = REFERENCE_MODES[self._kind]
    span = self._column("span", rows)
    return lengths.reference(
      np.minimum(span, references.LONGEST_CLIP),
      tracks=max(len(references.MODE_TRACKS[mode]) for mode in modes),
      phrases=self._dataset.phrases,
    )

  def _build(self, epoch, row, song, sections):
    mode = self._modes(epoch, np.array([row]))[0]
    reference = references.draw(
      self._seed,
      epoch,
      song=row,
      mode=REFERENCE_MODES[self._kind][mode],
      sections=song.sections,
      tracks=song.tracks,
    )
    return documents.icl(
      song,
      self._dataset.vocab,
      phrases=self._dataset.phrases,
      reference=reference,
      sections=sections,
    )

  def _modes(self, epoch: int, rows: np.ndarray) -> np.ndarray:
    """Indices into the modes of the kind, (rows,)."""
    modes = REFERENCE_MODES[self._kind]
    return references.draw_modes(self._seed, epoch, songs=rows, modes=modes)


class Prefix(SongSource):
  """All text, then all sound."""

  def _fixed(self, rows):
    head, span = self._column("head", rows), self._column("span", rows)
    return lengths.prefix(head=head, span=span)

  def _build(self, epoch, row, song, sections):
    del epoch, row, sections  # nothing is drawn, and songs are whole
    return documents.prefix(song, self._dataset.vocab)


class Tagged(SongSource):
  """Tags in a drawn order, then all sound."""

  def _fixed(self, rows):
    return lengths.tagged(
      tags=self._column("tags", rows),
      frames=self._column("frames", rows),
      tracks=len(KIND_TRACKS[self._kind]),
      phrase=len(self._phrase()),
    )

  def _build(self, epoch, row, song, sections):
    del sections  # songs are whole
    order = references.draw_tag_order(
      self._seed, epoch, song=row, tags=len(song.tags)
    )
    return documents.tagged(
      song,
      self._dataset.vocab,
      phrase=self._phrase(),
      order=order,
      tracks=KIND_TRACKS[self._kind],
    )

  def _phrase(self) -> tuple[int, ...]:
    phrases = self._dataset.phrases
    dual = self._kind == "tags_dual"
    return phrases.tags_dual if dual else phrases.tags_single


class Unconditional(SongSource):
  """Sound alone."""

  def _fixed(self, rows):
    return lengths.unconditional(
      frames=self._column("frames", rows),
      tracks=len(KIND_TRACKS[self._kind]),
    )

  def _build(self, epoch, row, song, sections):
    del epoch, row, sections  # nothing is drawn, and songs are whole
    return documents.unconditional(
      song, self._dataset.vocab, tracks=KIND_TRACKS[self._kind]
    )


class Speech(SongSource):
  """What is said, then its sound; half of the time without instruction."""

  varies = True
  joined = True

  def _fixed(self, rows):
    return lengths.speech(
      text=self._column("text", rows), frames=self._column("frames", rows)
    )

  def _drawn(self, epoch, rows):
    instructed = references.draw_instructed(self._seed, epoch, songs=rows)
    more = self._column("plain_text", rows) - self._column("text", rows)
    return np.where(instructed, more, 0).astype(np.int32)

  def _build(self, epoch, row, song, sections):
    del sections  # there is one
    instructed = references.draw_instructed(self._seed, epoch, songs=row)
    return documents.speech(
      song, self._dataset.vocab, instructed=bool(instructed)
    )


def _frames(source: SongSource, sections: slice) -> np.ndarray:
  starts = source._column("section_start", sections)
  return source._column("section_end", sections) - starts
