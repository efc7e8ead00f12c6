"""Songs of the small world as a folder of results, for the evaluation.

Writes what `evaluation.results` reads: codes, lyrics and what is heard of them,
pitch, embeddings, texts and class logits (see `listening`).
"""

from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np

from yue_jax.codec import FRAME_RATE
from yue_jax.json_lines import write_lines
from yue_jax.world import listening, lyrics
from yue_jax.world.generator import World


@dataclasses.dataclass(frozen=True, eq=False)
class Sung:
  """A song of the world, as it was to be and as it is.

  Attributes:
    id: its name.
    labels: of its sections, as indices.
    words: of each section's lyrics, as indices.
    frames: of each section.
    vocal, backing: (frames,) codes of codebook 0.
  """

  id: str
  labels: Sequence[int]
  words: Sequence[Sequence[int]]
  frames: Sequence[int]
  vocal: np.ndarray
  backing: np.ndarray


def write_results(
  world: World, songs: Sequence[Sung], root: pathlib.Path
) -> None:
  """Writes the songs into a new folder."""
  heard = [_heard(world, song) for song in songs]
  files = {"lyrics.jsonl": [], "transcripts.jsonl": []}
  for song, read in zip(songs, heard, strict=True):
    backings = np.split(song.backing, np.cumsum(song.frames)[:-1])
    arrays = {
      f"songs/{song.id}/vtrack": song.vocal,
      f"songs/{song.id}/itrack": song.backing,
      f"f0/{song.id}": listening.pitch(world, song.vocal),
      f"embeddings/sound/{song.id}": listening.sound_embedding(
        world, song.vocal, song.backing
      ),
      f"embeddings/words/{song.id}": _embedding(world, read),
      f"texts/words/{song.id}": _embedding(world, song.words),
      f"logits/genre/{song.id}": listening.genre_logits(
        world, song.labels, backings
      ),
    }
    for name, array in arrays.items():
      path = root / f"{name}.npy"
      path.parent.mkdir(parents=True, exist_ok=True)
      np.save(path, array)
    files["lyrics.jsonl"].append(_row(world, song, song.words, timed=True))
    files["transcripts.jsonl"].append(_row(world, song, read, timed=False))
  for name, rows in files.items():
    write_lines(root / name, rows)


def _heard(world: World, song: Sung) -> list[tuple[int, ...]]:
  vocals = np.split(song.vocal, np.cumsum(song.frames)[:-1])
  return [reading.words for reading in lyrics.read(world, vocals)]


def _embedding(world: World, words: Sequence[Sequence[int]]) -> np.ndarray:
  return listening.word_embedding(world, [w for part in words for w in part])


def _row(
  world: World, song: Sung, words: Sequence[Sequence[int]], *, timed: bool
) -> dict:
  ends = np.cumsum(song.frames) / FRAME_RATE
  sections = []
  for number, (label, part) in enumerate(zip(song.labels, words, strict=True)):
    section = {
      "label": world.cfg.labels[label],
      "text": " ".join(world.words[w] for w in part),
    }
    if timed:
      start = ends[number - 1] if number else 0.0
      section |= {"start": float(start), "end": float(ends[number])}
    sections.append(section)
  return {"id": song.id, "language": "en", "sections": sections}
