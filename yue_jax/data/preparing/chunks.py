"""Chunks: consecutive rows of the manifests, each to become one part.

A chunk ends when the records of its rows would reach a given size. What they
will take is estimated from each line as it is (its duration, and which tracks
it names), so that the boundaries are a function of manifests and settings:
whoever reads the manifests finds the same chunks without looking at codes.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import hashlib
import math
import pathlib
import re

from yue_jax.codec import FRAME_RATE
from yue_jax.data.preparing.recipe import Recipe
from yue_jax.manifest import Line, ManifestFile, Segment
from yue_jax.progress import Progress
from yue_jax.songs import TRACK_KEYS

# A quote within a string has a backslash before it, so these are fields.
_SECONDS = re.compile(rb'"audio_length_in_sec"\s*:\s*([0-9.eE+]+)')
_TRACK = re.compile(
  rb'"(?:%s)"\s*:\s*"' % "|".join(TRACK_KEYS.values()).encode()
)
_BYTES_PER_CODE = 2


@dataclasses.dataclass(frozen=True)
class Chunk:
  """Rows of one or more manifests, and the SHA-256 of their lines."""

  number: int
  segments: tuple[Segment, ...]
  sha256: str

  @property
  def rows(self) -> int:
    return sum(segment.rows for segment in self.segments)

  def describe(self) -> str:
    first, last = self.segments[0], self.segments[-1]
    return (
      f"{first.manifest} from line {first.line} on"
      if first is last
      else f"{first.manifest}:{first.line} to {last.manifest}"
    )


def hash_line(line: Line) -> bytes:
  """What of a line goes into the SHA-256 of its chunk."""
  content = line.content
  content = content if isinstance(content, bytes) else content.reason.encode()
  return b"%d:%d:%b" % (line.number, len(content), content)


def estimated_bytes(line: Line, recipe: Recipe) -> int:
  """Bytes of records that a row will have, about; 0 where that is unclear.

  Every frame of a track is a code in a song, and all its codebooks in a
  window.
  """
  if not isinstance(line.content, bytes):
    return 0
  found = _SECONDS.search(line.content)
  try:
    seconds = float(found[1]) if found else 0.0
  except ValueError:
    return 0
  if not math.isfinite(seconds):
    return 0
  tracks = len(_TRACK.findall(line.content))
  codes = FRAME_RATE * tracks * (1 + recipe.codebooks)
  return int(seconds * codes * _BYTES_PER_CODE)


def find_chunks(
  manifests: Sequence[str],
  recipe: Recipe,
  *,
  chunk_bytes: int,
  max_rows: int,
) -> Iterator[Chunk]:
  """Reads the manifests once, a line at a time."""
  total = sum(pathlib.Path(name).stat().st_size for name in manifests)
  with Progress(total, "bytes", "reading manifests") as progress:
    number, building = 0, _Building()
    for name in manifests:
      with ManifestFile(name) as file:
        position = 0
        for line in file.lines():
          building.add(name, line, estimated_bytes(line, recipe))
          if building.size >= chunk_bytes or building.rows >= max_rows:
            yield building.chunk(number)
            number, building = number + 1, _Building()
            position = _advance(progress, file, position)
        _advance(progress, file, position)
    if building.rows:
      yield building.chunk(number)


def _advance(progress: Progress, file: ManifestFile, position: int) -> int:
  """Reports the bytes read since `position`, if any; returns the new one."""
  if file.position > position:
    progress.advance(file.position - position)
  return file.position


class _Building:
  """A chunk that still grows."""

  def __init__(self):
    self.rows = self.size = 0
    self._segments: list[Segment] = []
    self._hash = hashlib.sha256()

  def add(self, manifest: str, line: Line, size: int) -> None:
    self.rows += 1
    self.size += size
    self._hash.update(hash_line(line))
    last = self._segments[-1] if self._segments else None
    if last and last.manifest == manifest:
      self._segments[-1] = dataclasses.replace(last, rows=last.rows + 1)
    else:
      self._segments.append(Segment(manifest, line.number, line.offset, 1))

  def chunk(self, number: int) -> Chunk:
    return Chunk(number, tuple(self._segments), self._hash.hexdigest())
