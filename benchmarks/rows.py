"""Manifests for benchmarks: noise as long as songs and speech are.

A song is four minutes in 14 sections of lyrics (their lengths are drawn), with
codebook 0 of three tracks, or all eight; a recording of speech is 2 to 20 s
and a sentence.
"""

import json
import pathlib
from typing import Any

import numpy as np

from yue_jax.songs import TRACK_KEYS
from yue_jax.tokenizer import Tokenizer, train_tokenizer

_LABELS = ("intro", "verse", "chorus", "verse", "chorus", "bridge", "outro")
_SECTIONS, _SECTION_FRAMES = 14, (428, 1_286)
_LINES, _WORDS = 4, 6  # of a section, of a line
_SYLLABLES = ("mo", "ra", "li", "sen", "du", "ka", "to", "nel", "vi", "shu")
_FPS, _CODES = 50, 1024


def write_songs(
  folder: pathlib.Path, count: int, *, codebooks: int = 1
) -> pathlib.Path:
  """Writes songs.jsonl and the codes it names; returns its path."""
  rng = np.random.default_rng(0)
  words, rows = _words(rng), []
  for number in range(count):
    lengths = rng.integers(*_SECTION_FRAMES, _SECTIONS)
    ends = np.cumsum(lengths).tolist()
    row = {
      "id": str(number),
      "audio_length_in_sec": ends[-1] / _FPS,
      "genres": "inspiring female uplifting pop airy vocal",
      "splitted_lyrics": {"segmented_lyrics": _sections(ends, rng, words)},
    }
    for key in TRACK_KEYS.values():
      name = f"{number}.{key}"
      row[key] = _write_codes(folder, name, rng, codebooks, ends[-1])
    rows.append(row)
  return _write_manifest(folder / "songs.jsonl", rows)


def write_speech(folder: pathlib.Path, count: int) -> pathlib.Path:
  """Writes speech.jsonl and the codes it names; returns its path."""
  rng = np.random.default_rng(0)
  words = _words(rng)
  rows = []
  for number in range(count):
    frames = int(rng.integers(2 * _FPS, 20 * _FPS))
    codes = _write_codes(folder, f"speech {number}", rng, 1, frames)
    row = {
      "id": str(number),
      "audio_length_in_sec": frames / _FPS,
      "transcript": " ".join(_line(rng, words) for _ in range(2)),
      "codec": codes,
    }
    rows.append(row)
  return _write_manifest(folder / "speech.jsonl", rows)


def small_tokenizer(path: pathlib.Path) -> Tokenizer:
  """A tokenizer of words as they are in these manifests."""
  rng = np.random.default_rng(0)
  words = _words(rng)
  lines = [_line(rng, words) for _ in range(2_000)]
  return train_tokenizer(lines, path, size=1_000, symbols=["\n"])


def _sections(
  ends: list[int], rng: np.random.Generator, words: list[str]
) -> list[dict[str, Any]]:
  sections = []
  for place, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
    lyrics = "\n".join(_line(rng, words) for _ in range(_LINES))
    section = {
      "offset": start / _FPS,
      "duration": (end - start) / _FPS,
      "codec_frame_start": start,
      "codec_frame_end": end,
      "line_content": f"[{_LABELS[place % len(_LABELS)]}]\n{lyrics}\n\n",
    }
    sections.append(section)
  return sections


def _words(rng: np.random.Generator) -> list[str]:
  return ["".join(rng.choice(_SYLLABLES, 3)) for _ in range(2_000)]


def _line(rng: np.random.Generator, words: list[str]) -> str:
  return " ".join(rng.choice(words, _WORDS))


def _write_codes(
  folder: pathlib.Path,
  name: str,
  rng: np.random.Generator,
  codebooks: int,
  frames: int,
) -> str:
  codes = rng.integers(0, _CODES, (codebooks, frames)).astype(np.int16)
  np.save(folder / f"{name}.npy", codes)
  return f"{name}.npy"


def _write_manifest(
  path: pathlib.Path, rows: list[dict[str, Any]]
) -> pathlib.Path:
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return path
