"""The layout of a prepared data set on disk.

  songs-00000-of-00012.array_record     one record per song
  windows-00000-of-00012.array_record   one record per run of windows
  index/<column>.npy  columns by song, by section (of all songs, one after the
                      other) and by run, memory-mapped when opened: all that
                      the lengths of documents depend on
  dataset.json    what it is: counts, vocabulary, phrases, languages, columns,
                  shards, fingerprint
  rejected.jsonl  the rows of the manifests that became no song, why, and
                  which of their tracks gave windows all the same

Rows that became no song, but gave windows, are in the song table too: their
record is NO_RECORD and they have an id, a group, the hashes of their codes
and a language; all else is 0.

dataset.json is written last, in a directory that gets its name only then.
"""

import hashlib
import io
import json
import pathlib
from typing import Any, Self

import numpy as np

FORMAT = 3
NO_RECORD = -1
SONG_COLUMNS = {
  "record": np.int64,  # number of its record, or NO_RECORD
  "id_hash": np.uint64,  # `hash_bytes` of the UTF-8 id
  "group": np.uint64,  # smallest id_hash among songs that share codes with it
  "codes_vocal": np.uint64,  # `hash_codes` of the track; 0: identifies nothing
  "codes_backing": np.uint64,
  "codes_mixture": np.uint64,
  "frames": np.uint32,  # of every track it has
  "tracks": np.uint8,  # bit i: has records.TRACKS[i]
  "language": np.uint8,  # index into "languages" of dataset.json
  "head": np.uint32,  # ids
  "tags": np.uint32,  # ids of all tags together
  "text": np.uint32,  # ids of all sections' text
  "plain_text": np.uint32,  # ids of all sections' plain text
  "sung": np.uint32,  # frames of all sections
  "span": np.uint32,  # frames from the first section's start to the last end
  "section_count": np.uint32,
}
SECTION_COLUMNS = {
  "section_text": np.uint32,  # ids
  "section_plain_text": np.uint32,  # ids
  "section_start": np.uint32,  # frames
  "section_end": np.uint32,
  "section_chorus": np.bool_,
}
RUN_COLUMNS = {
  "run_record": np.int64,  # number of its record
  "run_song": np.uint32,  # row of the song table
  "run_track": np.uint8,  # index into records.TRACKS
  "run_windows": np.uint8,
}
COLUMNS = SONG_COLUMNS | SECTION_COLUMNS | RUN_COLUMNS  # their dtypes
MAX_LANGUAGES = 255  # besides "", which is none
_DISTINCT_CODES = 25  # fewer identify no track: silence is common
# of dataset.json: what is read again; the rest is for people
REQUIRED = (
  "format",
  "left_out",
  "content",
  "languages",
  "vocab",
  "tokenizer_fingerprint",
  "phrases",
  "window",
  "codebooks",
  "rules",
  "index",
  "shards",
  "fingerprint",
)
_IN_FINGERPRINT = (
  "format", "content", "languages", "vocab", "phrases", "window", "codebooks",
  "index", "shards",
)  # fmt: skip


def fingerprint(info: dict[str, Any]) -> str:
  """Sixteen hex digits that differ whenever a document could."""
  text = json.dumps({n: info[n] for n in _IN_FINGERPRINT}, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def checksum(info: dict[str, Any]) -> str:
  """SHA-256 of all of dataset.json but the checksum itself."""
  rest = {name: value for name, value in info.items() if name != "checksum"}
  return hashlib.sha256(json.dumps(rest).encode()).hexdigest()


def to_text(info: dict[str, Any]) -> bytes:
  """dataset.json, byte for byte."""
  return f"{json.dumps(info, indent=2)}\n".encode()


def hash_bytes(content: bytes) -> int:
  """The first 8 bytes of the SHA-256, little endian."""
  return int.from_bytes(hashlib.sha256(content).digest()[:8], "little")


def hash_codes(codes: np.ndarray) -> int:
  """`hash_bytes` of codes (frames,) as little-endian uint16.

  0 for fewer than 25 distinct codes, as in silence: equal codes then say
  nothing about the songs.
  """
  if np.count_nonzero(np.bincount(codes)) < _DISTINCT_CODES:
    return 0
  return hash_bytes(codes.astype("<u2").tobytes())


def column_path(directory: pathlib.Path, name: str) -> pathlib.Path:
  return directory / "index" / f"{name}.npy"


class ColumnWriter:
  """Writes a column piece by piece; its number of rows is known before.

  The file is that of `np.save`.
  """

  def __init__(self, directory: pathlib.Path, name: str, rows: int):
    self._dtype, self._rows, self._left = COLUMNS[name], rows, rows
    self._file = open(column_path(directory, name), "wb")  # noqa: SIM115
    self._hash = hashlib.sha256()
    header = {
      "descr": np.lib.format.dtype_to_descr(np.dtype(self._dtype)),
      "fortran_order": False,
      "shape": (rows,),
    }
    encoded = io.BytesIO()
    np.lib.format.write_array_header_1_0(encoded, header)
    self._write(encoded.getvalue())

  def append(self, values: np.ndarray) -> None:
    self._left -= len(values)
    self._write(values.astype(self._dtype, casting="same_kind").tobytes())

  def finish(self) -> dict[str, Any]:
    """Number of rows, and the SHA-256 of the file."""
    self._file.close()
    if self._left:
      raise AssertionError(f"{self._left} rows of {self._rows} are missing")
    return {"rows": self._rows, "sha256": self._hash.hexdigest()}

  def _write(self, content: bytes) -> None:
    self._file.write(content)
    self._hash.update(content)

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_) -> None:
    self._file.close()
