"""Songs: from prompts to codebook 0 of two tracks, and on to all codebooks.

    prompt -> stage 1 -> vocal, backing (T,) each, section by section
           -> stage 2 -> (8, T) each, all windows of all tracks at once

Both are queues for the one decoder loop in `decode`. Call them inside
`jax.set_mesh`.
"""

from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

import numpy as np

from yue_jax import codec
from yue_jax.encoding import Phrases
from yue_jax.model import Decoder
from yue_jax.sampling.decode import Decoded, decode
from yue_jax.sampling.logits import GREEDY, Sampling
from yue_jax.sampling.prompts import Prompt
from yue_jax.sampling.queues import Row, Rule, forced, join, sampled
from yue_jax.vocab import MAX_CODEBOOKS, Vocab


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


def generate_tracks(
  decoder: Decoder,
  prompts: Sequence[Prompt],
  *,
  vocab: Vocab,
  phrases: Phrases,
  settings: TrackSettings,
  seeds: Sequence[int],
) -> list[list[SongSection]]:
  """Codebook 0 of every section of every song, the last one included.

  Args:
    decoder: a stage-1 model.
    seeds: one for each song.

  Raises:
    ValueError: a song could outgrow the model's context; names the longest
      sections that could not.
  """
  rule = Rule(
    cycle=(vocab.codebook(0), vocab.codebook(0)),
    maximum=2 * settings.max_frames,
    minimum=2 * settings.min_frames,
    stop=vocab.eoa,
  )
  rows = [
    track_row(prompt, vocab, phrases=phrases, settings=settings)
    for prompt in prompts
  ]
  for number, row in enumerate(rows):
    _check_fits(number, row, settings, decoder.cfg.max_positions)
  decoded = decode(
    decoder,
    rows,
    [rule],
    sampling=settings.sampling,
    seeds=np.array(seeds)[:, None],
  )
  return [
    _sections(row, result, vocab)
    for row, result in zip(rows, decoded, strict=True)
  ]


def track_row(
  prompt: Prompt, vocab: Vocab, *, phrases: Phrases, settings: TrackSettings
) -> Row:
  """The queue of a song: its `cot` or `icl` document with the sound drawn.

  With the ids of the example of `documents.cot`, a head 1 2 and two sections
  of texts 3 and 4: 1 2 | 5 3 11 26 SAMPLE 6 | 5 4 11 26 SAMPLE.
  """
  parts = [forced(prompt.head), *_reference(prompt, vocab, phrases)]
  for number, text in enumerate(prompt.sections):
    if number:
      parts.append(forced(phrases.segment_end))
    parts.append(
      forced([*phrases.segment_start, *text, vocab.soa, vocab.xcodec])
    )
    guidance = settings.later_guidance if number else settings.first_guidance
    parts.append(sampled(0, guidance=guidance))
  return join(parts)


def frames_that_fit(row: Row, max_positions: int) -> int:
  """Most frames that every section of a `track_row` may have, or less than 1.

  Example: 14 ids are given and 2 sections drawn, each of two tokens a frame
  and <EOA>; in 160 positions, 36 frames: 14 + 2 x (2 x 36 + 1) = 160.
  """
  sections = int(row.is_sampled.sum())
  given = len(row.tokens) - sections
  return (max_positions - given - sections) // (2 * sections)


def generate_codebooks(
  decoder: Decoder,
  tracks: Sequence[np.ndarray],
  *,
  vocab: Vocab,
  seeds: Sequence[Sequence[int]],
  window: int = 300,
  codebooks: int = MAX_CODEBOOKS,
  sampling: Sampling = GREEDY,
  windows_at_once: int = 64,
) -> list[np.ndarray]:
  """All codebooks of tracks of which codebook 0 is known.

  The model knows whole windows only. A rest is therefore not decoded as a
  short one: the last window is moved back until it ends with the track, and
  gives its last frames alone. A track shorter than a window has its last
  frame repeated.

  Args:
    decoder: a stage-2 model.
    tracks: (T,) codes each.
    seeds: (tracks, any) non-negative integers; unused when greedy.
    window: frames the model was trained on.
    windows_at_once: windows in one batch at most; bounds the memory of the
      cache and (but for rounding) changes nothing else.

  Returns:
    (codebooks, T) uint16 codes of each track; row 0 is the track as given.
  """
  rule = Rule(
    cycle=tuple(vocab.codebook(k) for k in range(1, codebooks)),
    maximum=codebooks - 1,
  )
  places = [
    (track, start)
    for track, codes in enumerate(tracks)
    for start in window_starts(len(codes), window)
  ]
  rows = [
    window_row(tracks[track][start : start + window], vocab, window=window)
    for track, start in places
  ]
  decoded = _decode_in_batches(
    decoder,
    rows,
    rule,
    sampling=sampling,
    seeds=np.array([(*seeds[track], start) for track, start in places]),
    at_once=windows_at_once,
  )
  results = [np.zeros((codebooks, len(codes)), np.uint16) for codes in tracks]
  # Backwards: where two windows overlap, the earlier one has the last word.
  for (track, start), result in zip(places[::-1], decoded[::-1], strict=True):
    ids = codec.unflatten(result.tokens[-window * codebooks :], codebooks)
    into = results[track][:, start : start + window]
    into[:] = codec.ids_to_frames(ids, vocab)[:, : into.shape[1]]
  return results


def window_starts(frames: int, window: int) -> list[int]:
  """First frames of the windows that cover a track.

  Example: 25 frames in windows of 10 -> [0, 10, 15].
  """
  if not frames:
    raise ValueError("a track without frames has no windows")
  last = max(0, frames - window)
  return [min(start, last) for start in range(0, frames, window)]


def window_row(codes: np.ndarray, vocab: Vocab, *, window: int) -> Row:
  """The queue of a window of codebook 0, up to `window` frames.

  With the ids of the example of `documents.window_document`, codes 0 1 give
  11 23 | 32 33 | 27 | 32 SAMPLE | 33 SAMPLE.
  """
  codes = np.pad(codes, (0, window - len(codes)), mode="edge")
  ids = codec.frames_to_ids(codes[None], vocab)[0]
  prefix = forced([vocab.soa, vocab.stage_1, *ids, vocab.stage_2])
  drawn = join([sampled(0)] * window)
  frames = Row(*map(codec.interleave, forced(ids), drawn))
  return join([prefix, frames])


def _decode_in_batches(
  decoder: Decoder,
  rows: Sequence[Row],
  rule: Rule,
  *,
  sampling: Sampling,
  seeds: np.ndarray,
  at_once: int,
) -> list[Decoded]:
  """Batches of one size, hence one program; the last repeats its last row."""
  size = min(at_once, len(rows))
  decoded = []
  for start in range(0, len(rows), size):
    picked = np.arange(start, start + size).clip(max=len(rows) - 1)
    decoded += decode(
      decoder,
      [rows[n] for n in picked],
      [rule],
      sampling=sampling,
      seeds=seeds[picked],
    )
  return decoded[: len(rows)]


def _check_fits(
  number: int, row: Row, settings: TrackSettings, max_positions: int
) -> None:
  fits = frames_that_fit(row, max_positions)
  if settings.max_frames <= fits:
    return
  sections = int(row.is_sampled.sum())
  remedy = f"lower max_frames to {fits}"
  if fits < settings.min_frames:
    remedy = (
      f"even min_frames={settings.min_frames} are too many: shorten the lyrics"
      " or the reference, or use a model of longer context"
    )
  raise ValueError(
    f"song {number} has {sections} sections of up to max_frames="
    f"{settings.max_frames} and {len(row.tokens) - sections} tokens of text,"
    f" too much for the model's max_positions={max_positions}; {remedy}"
  )


def _reference(prompt: Prompt, vocab: Vocab, phrases: Phrases) -> list[Row]:
  if not len(prompt.reference):
    return []
  clip = [vocab.soa, vocab.xcodec, *prompt.reference, vocab.eoa]
  return [forced([*phrases.reference_start, *clip, *phrases.reference_end])]


def _sections(row: Row, result: Decoded, vocab: Vocab) -> list[SongSection]:
  sections = []
  for entry in np.flatnonzero(row.is_sampled):
    tracks = codec.deinterleave(result.of_entry(entry)[:-1])  # no <EOA>
    codes = [codec.ids_to_frames(ids[None], vocab)[0] for ids in tracks]
    sections.append(SongSection(*codes))
  return sections
