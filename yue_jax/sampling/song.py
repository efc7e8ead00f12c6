"""Stage 1: from prompts to codebook 0 of two tracks, section by section.

    prompt -> vocal, backing (T,) each -> `windows`: (8, T) each

A song is sung in passes (`passes`), each a queue for the decoder loop in
`decode`; songs of one call are sung side by side. Call it inside
`jax.set_mesh`.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from yue_jax import codec
from yue_jax.encoding import Phrases
from yue_jax.sampling.decode import Decoded, decode
from yue_jax.sampling.layered import LayeredDecoder
from yue_jax.sampling.logits import Sampling
from yue_jax.sampling.passes import Pass, check_room, find_pass
from yue_jax.sampling.prompts import Prompt
from yue_jax.sampling.queues import Row, Rule, forced, join, sampled
from yue_jax.vocab import Vocab


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackSettings:
  """How the two tracks of a song are drawn; the defaults are as released.

  Attributes:
    sampling: how one token is drawn.
    min_frames: of a section, before it may end.
    max_frames: of a section; it ends there.
    first_guidance: of the first section; 1 is off.
    later_guidance: of all others.
  """

  sampling: Sampling = Sampling()
  min_frames: int = 50
  max_frames: int = 1500
  first_guidance: float = 1.5
  later_guidance: float = 1.2

  def __post_init__(self):
    if not 1 <= self.min_frames <= self.max_frames:
      raise ValueError(
        f"min_frames={self.min_frames} is not within"
        f" 1..max_frames={self.max_frames}"
      )


class SongSection(NamedTuple):
  """Codebook 0 of one section, (frames,) uint16 codes each."""

  vocal: np.ndarray
  backing: np.ndarray


Songs = list[list[SongSection]]  # the sections of every song


class Begun(NamedTuple):
  """The first sections of a song, which are there already.

  A song that was interrupted is sung to its end as if it had not been, so what
  was given and what has been sung since must be told apart.
  """

  given: Sequence[SongSection] = ()
  sung: Sequence[SongSection] = ()


def generate_tracks(
  decoder: LayeredDecoder,
  prompts: Sequence[Prompt],
  *,
  vocab: Vocab,
  phrases: Phrases,
  settings: TrackSettings,
  seeds: Sequence[int],
  begun: Sequence[Begun] | None = None,
  watch: Callable[[Songs, list[int]], None] | None = None,
) -> Songs:
  """Codebook 0 of every section of every song, the last one included.

  A song depends on its prompt, its seed and what was given of it, and not (but
  for rounding) on the other songs, nor on whether it was interrupted.

  Args:
    decoder: a stage-1 model.
    seeds: one for each song.
    begun: what is there of each song; nothing if left out.
    watch: called every few hundred tokens, and when a pass ends, with the
      whole sections of every song and with its frames so far, those of an
      unfinished section included.

  Raises:
    ValueError: a section could be longer than the model's context.
  """
  begun = [Begun()] * len(prompts) if begun is None else begun
  songs = [[*known.given, *known.sung] for known in begun]
  limits = {
    "phrases": phrases,
    "max_frames": settings.max_frames,
    "max_positions": decoder.cfg.max_positions,
  }
  for number, prompt in enumerate(prompts):
    check_room(prompt, song=number, min_frames=settings.min_frames, **limits)
  while unsung := _unsung(songs, prompts):
    rows, firsts = {}, []
    for number in unsung:
      known = songs[number]
      part = find_pass(
        prompts[number],
        [len(section.vocal) for section in known],
        start=len(begun[number].given),
        **limits,
      )
      rows[number] = track_row(
        prompts[number],
        vocab,
        phrases=phrases,
        settings=settings,
        part=part,
        known=known,
      )
      firsts.append(part.first)
    so_far = functools.partial(_so_far, songs, rows, vocab)
    decoded = decode(
      decoder,
      list(rows.values()),
      [section_rule(vocab, settings)],
      sampling=settings.sampling,
      # Of the pass: a section has the slots, hence the draws, it has there.
      seeds=np.array(
        [(seeds[n], at) for n, at in zip(rows, firsts, strict=True)]
      ),
      watch=watch and _composed(watch, so_far),
    )
    songs, _ = so_far(decoded)
  return songs


def section_rule(
  vocab: Vocab, settings: TrackSettings, *, tracks: int = 2
) -> Rule:
  """What a section may sound like: codes of the tracks in turn, then EOA."""
  return Rule(
    cycle=(vocab.codebook(0),) * tracks,
    maximum=tracks * settings.max_frames,
    minimum=tracks * settings.min_frames,
    stop=vocab.eoa,
  )


def track_row(
  prompt: Prompt,
  vocab: Vocab,
  *,
  phrases: Phrases,
  settings: TrackSettings,
  part: Pass,
  known: Sequence[SongSection],
) -> Row:
  """The queue of a pass: a `cot` or `icl` document, its unknown sound drawn.

  With the ids of the example of `documents.cot`, a head 1 2 and two sections
  of texts 3 and 4, Pass(0, 0, 2) is 1 2 | 5 3 11 26 SAMPLE 6 | 5 4 11 26 SAMPLE
  and, once section 0 is vocal 0 1, backing 2 3, Pass(0, 1, 2) is
  1 2 | 5 3 11 26 32 34 33 35 12 6 | 5 4 11 26 SAMPLE.
  """
  parts = [forced(prompt.head), *_reference(prompt, vocab, phrases)]
  for number in range(part.kept, part.end):
    if number > part.kept:
      parts.append(forced(phrases.segment_end))
    text = prompt.sections[number]
    parts.append(
      forced([*phrases.segment_start, *text, vocab.soa, vocab.xcodec])
    )
    if number < len(known):
      parts.append(forced([*_ids(known[number], vocab), vocab.eoa]))
    else:
      guidance = settings.later_guidance if number else settings.first_guidance
      parts.append(sampled(0, guidance=guidance))
  return join(parts)


def _unsung(songs: Songs, prompts: Sequence[Prompt]) -> list[int]:
  return [
    number
    for number, prompt in enumerate(prompts)
    if len(songs[number]) < len(prompt.sections)
  ]


def _reference(prompt: Prompt, vocab: Vocab, phrases: Phrases) -> list[Row]:
  if not len(prompt.reference):
    return []
  clip = [vocab.soa, vocab.xcodec, *prompt.reference, vocab.eoa]
  return [forced([*phrases.reference_start, *clip, *phrases.reference_end])]


def _ids(section: SongSection, vocab: Vocab) -> np.ndarray:
  return codec.interleave(
    *(codec.frames_to_ids(codes[None], vocab)[0] for codes in section)
  )


def _so_far(
  songs: Songs,
  rows: Mapping[int, Row],
  vocab: Vocab,
  decoded: Sequence[Decoded],
) -> tuple[Songs, list[int]]:
  """Songs with the sections that are whole by now; frames of each song."""
  songs, more = list(songs), [0] * len(songs)
  for (number, row), result in zip(rows.items(), decoded, strict=True):
    sung, more[number] = _sections(row, result, vocab)
    songs[number] = [*songs[number], *sung]
  whole = [sum(len(section.vocal) for section in song) for song in songs]
  return songs, [a + b for a, b in zip(whole, more, strict=True)]


def _composed(watch: Callable, so_far: Callable) -> Callable:
  return lambda decoded: watch(*so_far(decoded))


def _sections(
  row: Row, result: Decoded, vocab: Vocab
) -> tuple[list[SongSection], int]:
  """The sections a row has sung, and the frames of an unfinished one."""
  sections = []
  for entry in np.flatnonzero(row.is_sampled):
    tokens = result.of_entry(entry)
    if not len(tokens) or tokens[-1] != vocab.eoa:
      return sections, len(tokens) // 2
    tracks = codec.deinterleave(tokens[:-1])
    codes = [codec.ids_to_frames(ids[None], vocab)[0] for ids in tracks]
    sections.append(SongSection(*codes))
  return sections, 0
