"""Small manifests with codes and a tokenizer, to prepare data sets from."""

from collections.abc import Iterable
import json
import pathlib

import numpy as np

from yue_jax.data.preparing.prepare import prepare
from yue_jax.data.preparing.recipe import Recipe
from yue_jax.songs import TRACK_KEYS, Rules
from yue_jax.tokenizer import Tokenizer, train_tokenizer
from yue_jax.vocab import Vocab

WORDS = ("mo", "ra", "li", "sen", "du", "ka")
CODES = 16
WINDOW = 10
RULES = Rules(min_section_seconds=0.1)
SUFFIXES = {"mixture": "mix", "vocal": "voc", "backing": "ins"}


def small_tokenizer(path: pathlib.Path) -> Tokenizer:
  labels = ("[verse]", "[chorus]", "[start_of_segment]", "[end_of_segment]")
  symbols = [*WORDS, *(f" {word}" for word in WORDS), *labels, "\n"]
  return train_tokenizer([" ".join(WORDS)] * 9, path, size=300, symbols=symbols)


def small_recipe(
  tokenizer: Tokenizer, *, codes: int = CODES, **changes
) -> Recipe:
  vocab = Vocab.small(tokenizer.size, codes=codes, codebooks=8)
  fields = {"window": WINDOW, "windows_per_record": 2} | changes
  return Recipe(tokenizer=tokenizer, vocab=vocab, rules=RULES, **fields)


def write_tracks(
  root: pathlib.Path,
  name: str,
  frames: int,
  rng: np.random.Generator,
  *,
  tracks: Iterable[str] = SUFFIXES,
  codes: int = CODES,
) -> dict[str, str]:
  """Writes random codes of the tracks; returns the fields that name them."""
  fields = {}
  for track in tracks:
    file = f"{name}.{SUFFIXES[track]}.npy"
    np.save(root / file, rng.integers(0, codes, (8, frames)).astype(np.int16))
    fields[TRACK_KEYS[track]] = file
  return fields


def write_song(
  root: pathlib.Path,
  name: str,
  *,
  seed: int,
  longer: int = 1,
  codes: int = CODES,
  **changes,
) -> dict:
  """Writes random codes of a song; returns its row, with `changes`.

  Sections have 8 to 24 frames, or `longer` times as many.
  """
  rng = np.random.default_rng(seed)
  lengths = rng.integers(8, 25, rng.integers(1, 4)) * longer
  ends = np.cumsum(lengths)
  tracks = write_tracks(root, name, int(ends[-1]), rng, codes=codes)
  sections = [
    {
      "codec_frame_start": int(end - length),
      "codec_frame_end": int(end),
      "line_content": f"[{rng.choice(['verse', 'chorus'])}]\n"
      f"{' '.join(rng.choice(WORDS, rng.integers(1, 5)))}\n\n",
    }
    for length, end in zip(lengths, ends, strict=True)
  ]
  return {
    "id": name,
    **tracks,
    "audio_length_in_sec": ends[-1] / 50,
    "genres": str(rng.choice(WORDS)),
    "splitted_lyrics": {"segmented_lyrics": sections},
  } | changes


def write_track_row(
  root: pathlib.Path,
  name: str,
  *,
  seed: int,
  tracks: Iterable[str] = SUFFIXES,
  codes: int = CODES,
  **changes,
) -> dict:
  """Writes random codes of music; returns its row, with `changes`.

  It has 20 to 80 frames and one to three tags.
  """
  rng = np.random.default_rng(seed)
  frames = int(rng.integers(20, 81))
  return {
    "id": name,
    **write_tracks(root, name, frames, rng, tracks=tracks, codes=codes),
    "audio_length_in_sec": frames / 50,
    "genres": " ".join(rng.choice(WORDS, rng.integers(1, 4))),
  } | changes


def write_speech_row(
  root: pathlib.Path, name: str, *, seed: int, codes: int = CODES, **changes
) -> dict:
  """Likewise speech of 20 to 80 frames and one to four words."""
  rng = np.random.default_rng(seed)
  frames = int(rng.integers(20, 81))
  return {
    "id": name,
    **write_tracks(root, name, frames, rng, tracks=["mixture"], codes=codes),
    "audio_length_in_sec": frames / 50,
    "transcript": " ".join(rng.choice(WORDS, rng.integers(1, 5))),
  } | changes


WRITERS = {
  "songs": write_song,
  "music": write_track_row,
  "speech": write_speech_row,
}


def write_manifest(root: pathlib.Path, rows: list) -> pathlib.Path:
  """Rows are written as JSON, strings as they are."""
  path = root / "songs.jsonl"
  lines = [r if isinstance(r, str) else json.dumps(r) for r in rows]
  path.write_text("".join(line + "\n" for line in lines))
  return path


def write_songs(
  root: pathlib.Path, count: int, content: str = "songs", **options
) -> pathlib.Path:
  """A manifest of `count` good rows of different lengths."""
  write = WRITERS[content]
  rows = [write(root, f"s{i}", seed=i, **options) for i in range(count)]
  return write_manifest(root, rows)


def prepared(
  root: pathlib.Path,
  count: int = 12,
  *,
  content: str = "songs",
  songs_per_shard: int = 512,
  **changes,
) -> pathlib.Path:
  """A prepared data set of `count` good rows; `changes` are of the recipe.

  With codes=64 or so, tracks have enough distinct codes to be told apart.
  """
  recipe = small_recipe(
    small_tokenizer(root / "tokenizer.model"), content=content, **changes
  )
  options = {"codes": changes["codes"]} if "codes" in changes else {}
  prepare(
    write_songs(root, count, content, **options),
    root / "out",
    recipe=recipe,
    songs_per_shard=songs_per_shard,
  )
  return root / "out"
