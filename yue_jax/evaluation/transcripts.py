"""What was to be sung, and what was heard; matched by name.

lyrics.jsonl       {"id": "0", "language": "en", "sections": [
                     {"label": "verse", "text": "we all sing along",
                      "start": 0.0, "end": 12.5}, ...]}
transcripts.jsonl  {"id": "0", "sections": [
                     {"label": "verse", "text": "we too sing now"}, ...]}

One line a song. Times are in seconds, and may be left out. A transcript has
the sections of the song's lyrics, in their order: an error rate between a verse
and a chorus means nothing.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

from yue_jax.errors import SongError
from yue_jax.evaluation.embeddings import expect_same_ids
from yue_jax.manifest import read_manifest


@dataclasses.dataclass(frozen=True)
class LyricSection:
  """Lyrics of a section, and the seconds it was sung in, if known."""

  label: str
  text: str
  start: float | None = None
  end: float | None = None


@dataclasses.dataclass(frozen=True)
class Heard:
  """A song: its lyrics by section, and what was heard of each."""

  id: str
  language: str
  sections: tuple[LyricSection, ...]
  heard: tuple[str, ...]


def read_heard(lyrics: pathlib.Path, transcripts: pathlib.Path) -> list[Heard]:
  """The songs of two files, in the order of their ids.

  Raises:
    ValueError: songs or sections differ, or a line is not as above.
  """
  return match(_read(lyrics), _read(transcripts), of=str(transcripts))


def match(
  lyrics: Mapping[str, Any], transcripts: Mapping[str, Any], *, of: str
) -> list[Heard]:
  """Songs by id, of rows as in the two files; `of` names the second."""
  expect_same_ids(tuple(lyrics), tuple(transcripts), of=of)
  return [
    _heard(lyrics[song], transcripts[song], f"{of}, song {song!r}")
    for song in sorted(lyrics)
  ]


def _heard(lyrics: Any, transcript: Any, of: str) -> Heard:
  try:
    sections = tuple(LyricSection(**s) for s in lyrics["sections"])
    labels = [s["label"] for s in transcript["sections"]]
    heard = tuple(s["text"] for s in transcript["sections"])
    language = lyrics["language"]
  except (KeyError, TypeError) as error:
    raise ValueError(
      f"{of}: no row as expected ({error!r}); see"
      " yue_jax/evaluation/transcripts.py"
    ) from error
  if not all(isinstance(t, str) for t in (*heard, *(s.text for s in sections))):
    raise ValueError(f"{of}: a text is not a string")
  expected = [s.label for s in sections]
  if labels != expected:
    raise ValueError(
      f"{of}: its sections are {labels}, those of the lyrics {expected};"
      " expected the same, in the same order"
    )
  for s in sections:
    if s.start is not None and s.end is not None and not 0 <= s.start < s.end:
      raise ValueError(
        f"{of}: section [{s.label}] lasts from {s.start} to {s.end} s"
      )
  return Heard(lyrics["id"], language, sections, heard)


def _read(path: pathlib.Path) -> dict[str, Any]:
  rows: dict[str, Any] = {}
  for number, row in read_manifest(path):
    if isinstance(row, SongError) or "id" not in row:
      raise ValueError(
        f"{path}, line {number}: no JSON object with an id ({row!r:.80});"
        " without names, transcripts cannot be told apart"
      )
    song = row["id"]
    if song in rows:
      raise ValueError(f"{path}, line {number}: song {song!r} is there twice")
    rows[song] = row
  if not rows:
    raise ValueError(f"{path} has no songs; expected one a line")
  return rows
