"""LRC: lyrics with times, as players of music show them.

  [ti:Title]                   tags; [offset:+250] makes all 250 ms earlier
  [verse 1]                    a label, of the lines after it
  [00:12.50]batoki meda        when a line begins
  [00:15.00]suno <00:16.20>da  enhanced: when its words do
  [00:18.00]                   nothing is sung from here on
  [chorus]
  [00:20.10][01:02.30]lali     a line that is sung twice

A label may have times of its own, [00:12.00][verse 1]. Where all lines under a
label are sung twice, one time through after the other, they are two parts.
Times lie in any order in the file.
"""

from collections.abc import Iterable, Iterator
import dataclasses
import itertools
import re

from yue_jax.errors import SongError
from yue_jax.sheets.labelled import split_label
from yue_jax.sheets.labels import canonical
from yue_jax.sheets.sheet import Line, Part

_TIME = r"(\d{1,3}):([0-5]?\d(?:\.\d{1,3})?)"
_STAMP = re.compile(rf"\s*\[{_TIME}\]")
_WORD_STAMP = re.compile(rf"<{_TIME}>")
_LIKE_STAMP = re.compile(r"\s*\[\s*[+-]?\d+\s*[:.][^\]]*\]")
_TAG = re.compile(r"\s*\[(#|[a-z]+):(.*)\]\s*", re.IGNORECASE)
_TAGS = (  # of the format and its writers; what else has a colon is a label
  *("ar", "al", "ti", "au", "lr", "by", "re", "ve", "tool", "length", "#"),
  *("offset", "id", "la", "genre", "hash", "sign", "total", "qq"),
)


@dataclasses.dataclass(frozen=True)
class _Event:
  """Something that begins at a time.

  Attributes:
    block: number of the label it stands under; 0 for none.
    turn: which time through the block it belongs to, from 0.
    words: of a line; "" for a pause, None for the label itself.
    end: of the last word, if known.
  """

  start: float
  block: int
  turn: int
  words: str | None
  end: float | None = None


def parts_of_lrc(text: str) -> tuple[Part, ...]:
  """The parts of an LRC file in the order they are sung, with times.

  A label without lines and without a time says nothing, and is left out.

  Raises:
    SongError: bad_lyrics: a line without a time, two lines at one time, a
      time that cannot be read, or no line at all.
  """
  labels, events = _read(text.splitlines())
  if not any(event.words for event in events):
    raise SongError(
      "bad_lyrics", "no line with a time, such as [00:12.50]words"
    )
  events.sort(key=lambda event: event.start)  # stable: as in the file
  _check_one_at_a_time(events)
  events = _join_pauses(_join_turns(events))
  runs = itertools.groupby(events, lambda event: (event.block, event.turn))
  return tuple(_part(labels[block], list(run)) for (block, _), run in runs)


def _read(lines: Iterable[str]) -> tuple[list[str], list[_Event]]:
  """Labels by number of their block, and all events in the file's order."""
  labels, events, offset = [""], [], 0.0
  for number, line in enumerate(lines, start=1):
    stamps, rest = _split_stamps(line, number)
    if (tag := _TAG.fullmatch(rest)) and tag[1].lower() in _TAGS:
      if tag[1].lower() == "offset":
        offset = _milliseconds(tag[2], number)
      continue
    words = " ".join(_WORD_STAMP.sub("", rest).split())
    if found := split_label(rest):
      if not found[0]:
        raise _error(number, "a label without a name")
      labels.append(canonical(found[0]))
      words = found[1] or None
    elif words and not stamps:
      raise _error(number, f"{words!r:.60} has no time such as [01:02.50]")
    length = _length(stamps[0], rest) if stamps else None
    for turn, start in enumerate(stamps):
      end = start + length if length and words else None
      events.append(_Event(start, len(labels) - 1, turn, words, end))
  return labels, [_earlier(event, offset) for event in events]


def _split_stamps(line: str, number: int) -> tuple[list[float], str]:
  stamps = []
  while found := _STAMP.match(line):
    stamps.append(_seconds(found))
    line = line[found.end() :]
  if found := _LIKE_STAMP.match(line):
    message = f"{found[0].strip()} is no time; expected [mm:ss.xx]"
    raise _error(number, message)
  return stamps, line


def _length(start: float, words: str) -> float | None:
  """How long a line is sung, if a word stamp stands at its end.

  Word stamps are those of the first time that the line is sung.
  """
  inner = list(_WORD_STAMP.finditer(words))
  if not inner or words[inner[-1].end() :].strip():
    return None
  length = _seconds(inner[-1]) - start
  return length if length > 0 else None


def _seconds(found: re.Match) -> float:
  return 60 * int(found[1]) + float(found[2])


def _milliseconds(value: str, number: int) -> float:
  try:
    return int(value) / 1000
  except ValueError:
    message = f"offset {value!r:.20}, expected milliseconds such as +250"
    raise _error(number, message) from None


def _earlier(event: _Event, offset: float) -> _Event:
  """As players do it; nothing is before 0."""
  start = max(0.0, event.start - offset)
  end = None if event.end is None else max(start, event.end - offset)
  return dataclasses.replace(event, start=start, end=end)


def _check_one_at_a_time(events: list[_Event]) -> None:
  """A translation under each line, say, is not sung."""
  lines = [event for event in events if event.words]
  for line, after in itertools.pairwise(lines):
    if line.start == after.start:
      raise SongError(
        "bad_lyrics",
        f"{line.words!r:.60} and {after.words!r:.60} are both at"
        f" {line.start:.2f} s; keep what is sung",
      )


def _join_turns(events: list[_Event]) -> list[_Event]:
  """Makes one turn of blocks that are not sung through as a whole."""
  turns: dict[int, list[int]] = {}
  for event in events:
    if event.words:
      turns.setdefault(event.block, []).append(event.turn)
  whole = {
    block
    for block, heard in turns.items()
    if block
    and heard == sorted(heard)
    and len({heard.count(turn) for turn in range(max(heard) + 1)}) == 1
  }
  return [
    event if event.block in whole else dataclasses.replace(event, turn=0)
    for event in events
  ]


def _join_pauses(events: Iterable[_Event]) -> Iterator[_Event]:
  """A pause belongs to what it ends, wherever it stands in the file."""
  last = None
  for event in events:
    if event.words == "":
      if last is None:
        continue
      event = dataclasses.replace(event, block=last.block, turn=last.turn)
    yield event
    last = event


def _part(label: str, run: list[_Event]) -> Part:
  lines = []
  for event, after in itertools.zip_longest(run, run[1:]):
    if event.words:
      end = after.start if event.end is None and after else event.end
      lines.append(Line(event.words, event.start, end))
  pause = run[-1].start if run[-1].words == "" else None
  return Part(label, tuple(lines), run[0].start, pause)


def _error(number: int, what: str) -> SongError:
  return SongError("bad_lyrics", f"line {number}: {what}")
