"""Songs of the small world as rows of an openl2s manifest, and back.

The tag is the genre, and each word of a section stands on a line of its own:
"[verse]\\nkoti\\nmeda\\n\\n". The same character follows every word, so that
each can be one token wherever it stands. What is hidden (singer, durations,
noise) is written nowhere.
"""

import itertools
import pathlib
from typing import Any

import numpy as np

from yue_jax.codec import FRAME_RATE
from yue_jax.encoding import INSTRUCTION
from yue_jax.songs import TRACK_KEYS, Song
from yue_jax.world.generator import World, WorldSong

PHRASES = (
  "[start_of_segment]",
  "[end_of_segment]",
  "[start_of_reference]",
  "[end_of_reference]",
)


def section_text(world: World, label: int, words: np.ndarray) -> str:
  """Text of one section, as lyrics are written in the manifest.

  Example: label 0 and words 3, 1 -> "[verse]\\nmeda\\nkoti\\n\\n".
  """
  lines = [f"[{world.cfg.labels[label]}]", *(world.words[w] for w in words)]
  return "\n".join(lines) + "\n\n"


def symbols(world: World) -> list[str]:
  """Pieces of text that deserve to be one token each."""
  return [
    INSTRUCTION,
    *PHRASES,
    "[Genre]",
    *(f" {genre}" for genre in world.genres),
    *(f"[{label}]" for label in world.cfg.labels),
    *(f"{word}\n" for word in world.words),
    "\n",
  ]


def manifest_row(world: World, song: WorldSong, name: str) -> dict[str, Any]:
  """The manifest row; codes are expected at `track_path(name, track)`."""
  spans = list(itertools.pairwise(song.bounds.tolist()))
  return {
    "id": name,
    **{key: track_path(name, track) for track, key in TRACK_KEYS.items()},
    "audio_length_in_sec": song.frames / FRAME_RATE,
    "msa": [
      {
        "start": start / FRAME_RATE,
        "end": end / FRAME_RATE,
        "label": world.cfg.labels[label],
      }
      for (start, end), label in zip(spans, song.labels, strict=True)
    ],
    "genres": world.genres[song.genre],
    "splitted_lyrics": {
      "segmented_lyrics": [
        {
          "offset": start / FRAME_RATE,
          "duration": (end - start) / FRAME_RATE,
          "codec_frame_start": start,
          "codec_frame_end": end,
          "line_content": section_text(world, label, words),
        }
        for (start, end), label, words in zip(
          spans, song.labels, song.words, strict=True
        )
      ]
    },
  }


def track_path(name: str, track: str) -> str:
  """Where the codes of a track lie, relative to the manifest."""
  return f"npy/{name}.{track}.npy"


def save_tracks(song: WorldSong, name: str, root: pathlib.Path) -> None:
  for track in TRACK_KEYS:
    np.save(root / track_path(name, track), getattr(song, track))


def parse_section(world: World, text: str) -> tuple[int, np.ndarray]:
  """Label and words of a section's text; inverse of `section_text`."""
  first, _, lyrics = text.partition("\n")
  label = _index(world.cfg.labels, first.strip().strip("[]"), "label")
  words = [_index(world.words, word, "word") for word in lyrics.split()]
  return label, np.array(words, np.int64)


def from_song(world: World, song: Song) -> WorldSong:
  """Reads a song of this world back from the pipeline's own form.

  ValueError when the song cannot be one of this world's: floors are exact for
  the process that made a song, and mean nothing for another.
  """
  parsed = [parse_section(world, section.text) for section in song.sections]
  bounds = [0] + [section.end for section in song.sections]
  starts = [section.start for section in song.sections]
  counts = [len(words) for _, words in parsed]
  cfg = world.cfg
  if counts != [cfg.words_per_section] * cfg.sections:
    raise ValueError(
      f"song {song.id}: its sections have {counts} words, expected"
      f" {cfg.sections} sections of {cfg.words_per_section}; were sections"
      " dropped by a rule on their length?"
    )
  if starts != bounds[:-1] or bounds[-1] != song.vocal.shape[1]:
    raise ValueError(
      f"song {song.id}: sections start at {starts} and end at {bounds[1:]} of"
      f" {song.vocal.shape[1]} frames, expected one right after the other"
    )
  return WorldSong(
    _index(world.genres, song.tags, "genre"),
    np.array([label for label, _ in parsed]),
    np.stack([words for _, words in parsed]),
    np.array(bounds),
    song.vocal,
    song.backing,
    song.mixture,
  )


def _index(names: tuple[str, ...], name: str, kind: str) -> int:
  if name not in names:
    raise ValueError(
      f"{kind} {name!r} is not in this world, which has {', '.join(names)};"
      " is its world.json that of another data set?"
    )
  return names.index(name)
