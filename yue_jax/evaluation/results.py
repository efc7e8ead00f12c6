"""What a folder of results holds, for the metrics to read.

    results/songs/ID/stage2/vtrack.npy   codes, as tools/generate.py writes
                            itrack.npy   them (or stage1/, or songs/ID/ itself)
            references/ID/vtrack.npy     codes of the clip a song was given
            lyrics.jsonl                 what was to be sung (see `transcripts`)
            transcripts.jsonl            what was heard
            f0/ID.npy                    Hz every 10 ms, 0 where nobody sings
            embeddings/NAME/ID.npy       of songs, by the model NAME
            texts/NAME/ID.npy            of their lyrics or tags, by the same
            logits/NAME/ID.npy           of classes, by a classifier

Each is optional. A folder of real songs to compare with looks the same.
"""

import dataclasses
import pathlib

import numpy as np

from yue_jax.evaluation.embeddings import (
  Embeddings,
  load_array,
  read_embeddings,
)
from yue_jax.evaluation.ngrams import checked_codes
from yue_jax.evaluation.transcripts import Heard, read_heard
from yue_jax.tracks import FILES

_PLACES = ("stage2", "stage1", ".")
_KNOWN = (
  *("songs", "references", "f0", "embeddings", "texts", "logits"),
  *("lyrics.jsonl", "transcripts.jsonl"),
)


@dataclasses.dataclass(frozen=True)
class Results:
  """A folder of results; everything is read when it is asked for."""

  root: pathlib.Path

  @property
  def name(self) -> str:
    return self.root.resolve().name

  def codes(self, track: str, *, of: str = "songs") -> dict[str, np.ndarray]:
    """(frames,) codes of codebook 0 by song, of those that have the track."""
    found = {
      folder.name: _first(folder, FILES[track])
      for folder in sorted((self.root / of).glob("*/"))
    }
    return {
      song: _codebook_0(path)
      for song, path in found.items()
      if path is not None
    }

  def f0(self) -> dict[str, np.ndarray]:
    """(frames,) frequencies by song."""
    files = sorted((self.root / "f0").glob("*.npy"))
    return {file.stem: load_array(file) for file in files}

  def embeddings(self, kind: str) -> dict[str, Embeddings]:
    """By model; `kind` is embeddings, texts or logits."""
    root = self.root / kind
    found = [p for p in root.glob("*") if p.is_dir() or p.suffix == ".npy"]
    return {path.stem: read_embeddings(path) for path in sorted(found)}

  def heard(self) -> list[Heard]:
    """Songs with lyrics and transcripts; none if neither is there."""
    lyrics = self.root / "lyrics.jsonl"
    transcripts = self.root / "transcripts.jsonl"
    there = lyrics.exists(), transcripts.exists()
    if there == (False, False):
      return []
    if not all(there):
      missing = transcripts if there[0] else lyrics
      raise ValueError(
        f"{missing} is missing; an error rate needs lyrics and transcripts"
      )
    return read_heard(lyrics, transcripts)


def open_results(root: pathlib.Path) -> Results:
  """Raises ValueError for a folder with nothing in it to evaluate."""
  if not root.is_dir():
    raise ValueError(f"{root} is no folder; expected one of results")
  if not any(_filled(root / name) for name in _KNOWN):
    raise ValueError(
      f"{root} has nothing to evaluate; expected some of {', '.join(_KNOWN)}"
      " (see yue_jax/evaluation/results.py)"
    )
  return Results(root)


def _filled(path: pathlib.Path) -> bool:
  return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _first(folder: pathlib.Path, name: str) -> pathlib.Path | None:
  paths = (folder / place / name for place in _PLACES)
  return next((path for path in paths if path.exists()), None)


def _codebook_0(path: pathlib.Path) -> np.ndarray:
  codes = load_array(path)
  try:
    if codes.ndim not in (1, 2):
      raise ValueError(f"codes of shape {codes.shape}")
    return checked_codes(np.atleast_2d(codes)[0])
  except ValueError as error:
    raise ValueError(
      f"{path}: {error}; expected (codebooks, frames) or (frames,)"
    ) from error
