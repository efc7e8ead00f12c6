"""The layout of a prepared data set on disk.

  songs-00000-of-00012.array_record     one record per song
  windows-00000-of-00012.array_record   one record per run of windows
  index.npz       columns by song, by section (of all songs, one after the
                  other) and by run: everything document lengths depend on;
                  run_song is -1 in runs of rows that became no song
  dataset.json    what it is: counts, vocabulary, phrases, shards, fingerprint
  rejected.jsonl  the rows of the manifest that became no song, why, and
                  which of their tracks gave windows all the same

dataset.json is written last, in a directory that gets its name only then.
"""

import hashlib
import json
from typing import Any

FORMAT = 2
SONG_COLUMNS = ("id", "frames", "fps", "head", "section_count")
SECTION_COLUMNS = (
  "section_text",  # ids
  "section_plain_text",  # ids
  "section_start",  # frames
  "section_end",
  "section_chorus",
)
NO_SONG = -1
RUN_COLUMNS = ("run_song", "run_track", "run_windows")
# of dataset.json: what is read again; the rest is for people
REQUIRED = (
  "format",
  "left_out",
  "vocab",
  "tokenizer_fingerprint",
  "phrases",
  "window",
  "codebooks",
  "rules",
  "shards",
  "fingerprint",
)
COLUMNS = SONG_COLUMNS + SECTION_COLUMNS + RUN_COLUMNS


def fingerprint(info: dict[str, Any]) -> str:
  """Sixteen hex digits that differ whenever a document could."""
  names = ("format", "vocab", "phrases", "window", "codebooks", "shards")
  text = json.dumps({name: info[name] for name in names}, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
