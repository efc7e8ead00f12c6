"""Which words are sung when: lyrics and structure to sections.

  lyrics           structure        rule
  without times    segments         in order: every sung segment takes the next
                                    part, whose label must agree
  with times       segments         by time: a line belongs to the segment that
                                    holds most of it
  with times       none             a part lasts until the next one begins
  without times    none             no_times: nothing says when

Segments without words stay, as sections that play; those of the silence before
and after do not. Segments may overlap, and end beyond the recording, by what
rounding does (`ROUNDING`), and are trimmed.
"""

from collections.abc import Iterator, Sequence
import dataclasses
from typing import Any

from yue_jax.codec import FRAME_RATE
from yue_jax.errors import SongError
from yue_jax.sheets import labels
from yue_jax.sheets.sheet import Line, Part, Section, Segment

ROUNDING = 0.25  # seconds


def sections(
  lyrics: Sequence[Part],
  structure: Sequence[Segment] | None,
  seconds: float,
) -> list[Section]:
  """The sections of a recording, in order, without overlaps.

  Args:
    lyrics: from `read.read_lyrics`.
    structure: from `read.read_structure`; None if the lyrics alone say when.
    seconds: length of the recording.

  Raises:
    SongError: no_times; section_count: more or fewer sung parts than sung
      segments; label_mismatch: they are called differently; overlap, outside:
      times that cannot be; bad_lyrics: some lines have times and some not.
  """
  stamped = _stamped(lyrics, seconds)
  if structure is None:
    return _by_own_times(lyrics, seconds)
  segments = _trimmed(structure, seconds)
  if stamped:
    return _by_time(lyrics, segments, seconds)
  return _in_order(lyrics, segments)


def segmented_lyrics(
  found: Sequence[Section], frames: int
) -> list[dict[str, Any]]:
  """The sections as `splitted_lyrics.segmented_lyrics` of a manifest row.

  Args:
    found: from `sections`.
    frames: of the codes, at `codec.FRAME_RATE` a second.
  """
  entries = []
  for section in found:
    start, end = (
      min(round(time * FRAME_RATE), frames)
      for time in (section.start, section.end)
    )
    entries.append(
      {
        "offset": start / FRAME_RATE,
        "duration": (end - start) / FRAME_RATE,
        "codec_frame_start": start,
        "codec_frame_end": end,
        "line_content": section.text,
      }
    )
  return entries


def _stamped(lyrics: Sequence[Part], seconds: float) -> bool:
  """Whether lines have times; all of them must, or none."""
  lines = [line for part in lyrics for line in part.lines]
  timed = {line.start is not None for line in lines}
  if len(timed) == 2:
    raise SongError(
      "bad_lyrics", "some lines have times and some have none; give all or none"
    )
  for line in lines:
    if line.start is not None and line.start >= seconds:
      raise SongError(
        "outside",
        f"{line.text!r:.60} is sung at {line.start:.2f} s of a recording of"
        f" {seconds:.2f} s",
      )
  return timed == {True}


def _trimmed(structure: Sequence[Segment], seconds: float) -> list[Segment]:
  """The segments, without what rounding makes too much."""
  trimmed: list[Segment] = []
  before = 0.0
  for segment in structure:
    start, end = max(segment.start, before), min(segment.end, seconds)
    if segment.start < before - ROUNDING:
      raise SongError(
        "overlap",
        f"segment {_name(segment)} begins before the one before it ends, at"
        f" {before:.2f} s",
      )
    too_late = segment.end > seconds + ROUNDING
    if too_late or (start >= end and segment.label not in labels.SILENCE):
      raise SongError(
        "outside",
        f"segment {_name(segment)} is none of a recording of {seconds:.2f} s",
      )
    trimmed.append(Segment(segment.label, start, end))
    before = max(before, end)
  return trimmed


def _in_order(
  lyrics: Sequence[Part], segments: Sequence[Segment]
) -> list[Section]:
  """Gives the parts to the segments, one after the other.

  A part without words need not have a segment: it only says that something
  plays. Nor need a segment have a part where words are not expected.
  """
  left = list(lyrics)
  found = []
  for segment in segments:
    lines: tuple[Line, ...] = ()
    if labels.is_sung(segment.label):
      while left and not left[0].lines and not labels.is_sung(left[0].label):
        left.pop(0)
      if not left:
        raise _miscounted(lyrics, segments)
      if not labels.agree(left[0].label, segment.label):
        raise _disagree(left[0], segment)
      lines = left.pop(0).lines
    elif left and left[0].label == segment.label:
      lines = left.pop(0).lines
    found.append(_section(segment, lines))
  if any(part.lines for part in left):
    raise _miscounted(lyrics, segments)
  return _audible(found)


def _by_time(
  lyrics: Sequence[Part], segments: Sequence[Segment], seconds: float
) -> list[Section]:
  """Gives every line to the segment that holds most of it."""
  sung: list[list[Line]] = [[] for _ in segments]
  for part, line in _with_ends(lyrics, seconds):
    shares = [
      min(line.end, segment.end) - max(line.start, segment.start)
      for segment in segments
    ]
    most = max(range(len(segments)), key=shares.__getitem__)
    if shares[most] <= 0:
      raise SongError("outside", f"{_at(line)} is in no segment")
    agreed = labels.agree(part.label, segments[most].label)
    if not agreed or not labels.may_be_sung(segments[most].label):
      raise _disagree(part, segments[most], line)
    sung[most].append(line)
  return _audible(list(map(_section, segments, sung)))


def _with_ends(
  lyrics: Sequence[Part], seconds: float
) -> Iterator[tuple[Part, Line]]:
  """Lines with their parts; one without an end lasts until the next."""
  lines = [(part, line) for part in lyrics for line in part.lines]
  starts = [line.start for _, line in lines[1:]] + [seconds]
  for (part, line), after in zip(lines, starts, strict=True):
    end = max(line.end or after, line.start + 1 / FRAME_RATE)
    yield part, dataclasses.replace(line, end=end)


def _by_own_times(lyrics: Sequence[Part], seconds: float) -> list[Section]:
  """Every part from its first time to its end, or to the next one's."""
  starts = [_start(part) for part in lyrics]
  if None in starts:
    raise SongError(
      "no_times",
      "the lyrics do not say when they are sung; give the structure, or lyrics"
      " with times (.lrc)",
    )
  if not all(part.label for part in lyrics):
    raise SongError(
      "no_times",
      "lines with times, but without a label such as [verse], do not say where"
      " sections begin; give the structure, or labels",
    )
  segments = [
    Segment(part.label, start, after if part.end is None else part.end)
    for part, start, after in zip(
      lyrics, starts, [*starts[1:], seconds], strict=True
    )
  ]
  trimmed = _trimmed(segments, seconds)
  lines = [part.lines for part in lyrics]
  return _audible(list(map(_section, trimmed, lines)))


def _start(part: Part) -> float | None:
  if part.start is not None or not part.lines:
    return part.start
  return part.lines[0].start


def _section(segment: Segment, lines: Sequence[Line]) -> Section:
  words = tuple(line.text for line in lines)
  return Section(segment.label, words, segment.start, segment.end)


def _audible(found: Sequence[Section]) -> list[Section]:
  """The sections without the silence before and after."""
  for section in found:
    if section.label in labels.SILENCE and section.lines:
      raise SongError(
        "label_mismatch",
        f"{section.lines[0]!r:.60} stands under [{section.label}], where"
        " nothing is sung; give it the label of its section",
      )
  return [s for s in found if s.label not in labels.SILENCE]


def _miscounted(
  lyrics: Sequence[Part], segments: Sequence[Segment]
) -> SongError:
  written = [f"[{part.label}]" for part in lyrics if part.lines]
  heard = [_name(s) for s in segments if labels.is_sung(s.label)]
  return SongError(
    "section_count",
    f"the lyrics have {len(written)} sections with words, {' '.join(written)};"
    f" the structure {len(heard)} that are sung: {', '.join(heard)}",
  )


def _disagree(
  part: Part, segment: Segment, line: Line | None = None
) -> SongError:
  if line is not None:
    written = _at(line) + (f" of [{part.label}]" if part.label else "")
  else:
    written = f"section [{part.label}] of the lyrics"
  return SongError("label_mismatch", f"{written} falls to {_name(segment)}")


def _name(segment: Segment) -> str:
  return f"[{segment.label}] {segment.start:.2f}..{segment.end:.2f} s"


def _at(line: Line) -> str:
  return f"{line.text!r:.60} at {line.start:.2f} s"
