"""Songs of the small world as people have theirs: sound, lyrics, structure.

  songs/NAME/vocals.wav         16 kHz, mono, 16 bits (see `rendering`)
             accompaniment.wav
             lyrics.txt         the words under their labels, or, with times,
             lyrics.lrc
             structure.json     when every section begins and ends
             tags.txt           the genre

What a recording would not tell is in none of them: codes, singer, syllables.
"""

from collections.abc import Mapping
import itertools
import json
import pathlib
from typing import BinaryIO

import numpy as np
import soundfile

from yue_jax.world import manifest, rendering
from yue_jax.world.generator import World, WorldSong

STEMS = ("vocals.wav", "accompaniment.wav")


def write_wav(file: pathlib.Path | BinaryIO, samples: np.ndarray) -> None:
  """Writes (samples,) of `rendering`, 16 bits each."""
  soundfile.write(file, samples, rendering.RATE, subtype="PCM_16", format="WAV")


def write_song(
  world: World,
  song: WorldSong,
  folder: pathlib.Path,
  *,
  lrc: bool = False,
  frame_seconds: float = rendering.FRAME_SECONDS,
) -> None:
  """Writes a song into a new folder; `lrc` says which lyrics."""
  folder.mkdir(parents=True)
  stems = rendering.render(
    world, song.vocal, song.backing, frame_seconds=frame_seconds
  )
  for name, samples in zip(STEMS, stems, strict=True):
    write_wav(folder / name, samples)
  files = texts(world, song, frame_seconds=frame_seconds)
  del files["lyrics.txt" if lrc else "lyrics.lrc"]
  for name, text in files.items():
    (folder / name).write_text(text)


def texts(
  world: World, song: WorldSong, *, frame_seconds: float
) -> dict[str, str]:
  """The text files of a song by name, with both kinds of lyrics."""
  sections = [
    manifest.section_text(world, label, words)
    for label, words in zip(song.labels, song.words, strict=True)
  ]
  bounds = (song.bounds * frame_seconds).tolist()
  segments = [
    {"start": start, "end": end, "label": world.cfg.labels[label]}
    for (start, end), label in zip(
      itertools.pairwise(bounds), song.labels, strict=True
    )
  ]
  lrc = "".join(map(_lrc, sections, segments))
  return {
    "lyrics.txt": "".join(sections),
    "lyrics.lrc": lrc,
    "structure.json": json.dumps({"segments": segments}, indent=2) + "\n",
    "tags.txt": world.genres[song.genre] + "\n",
  }


def _lrc(text: str, segment: Mapping[str, float]) -> str:
  """A section in LRC: all its words are one line, at the time it begins."""
  label, *words = text.split()
  minutes, seconds = divmod(segment["start"], 60)
  time = f"[{int(minutes):02}:{seconds:05.2f}]"
  return f"{time}{label}\n{time}{' '.join(words)}\n"
