"""Small manifests with codes and a tokenizer, to prepare data sets from."""

import json
import pathlib

import numpy as np

from yue_jax.data.parts import Recipe
from yue_jax.data.prepare import prepare
from yue_jax.songs import Rules
from yue_jax.tokenizer import Tokenizer, train_tokenizer
from yue_jax.vocab import Vocab

WORDS = ("mo", "ra", "li", "sen", "du", "ka")
CODES = 16
WINDOW = 10
RULES = Rules(min_section_seconds=0.1)


def small_tokenizer(path: pathlib.Path) -> Tokenizer:
  labels = ("[verse]", "[chorus]", "[start_of_segment]", "[end_of_segment]")
  symbols = [*WORDS, *(f" {word}" for word in WORDS), *labels, "\n"]
  return train_tokenizer([" ".join(WORDS)] * 9, path, size=300, symbols=symbols)


def small_recipe(tokenizer: Tokenizer, **changes) -> Recipe:
  vocab = Vocab.small(tokenizer.size, codes=CODES, codebooks=8)
  fields = {"window": WINDOW, "windows_per_record": 2} | changes
  return Recipe(tokenizer=tokenizer, vocab=vocab, rules=RULES, **fields)


def write_song(
  root: pathlib.Path, name: str, *, seed: int, longer: int = 1, **changes
) -> dict:
  """Writes random codes of a song; returns its row, with `changes`.

  Sections have 8 to 24 frames, or `longer` times as many.
  """
  rng = np.random.default_rng(seed)
  lengths = rng.integers(8, 25, rng.integers(1, 4)) * longer
  ends = np.cumsum(lengths)
  tracks = {"codec": "mix", "vocals_codec": "voc", "instrumental_codec": "ins"}
  for short in tracks.values():
    codes = rng.integers(0, CODES, (8, ends[-1])).astype(np.int16)
    np.save(root / f"{name}.{short}.npy", codes)
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
    **{key: f"{name}.{short}.npy" for key, short in tracks.items()},
    "audio_length_in_sec": ends[-1] / 50,
    "genres": str(rng.choice(WORDS)),
    "splitted_lyrics": {"segmented_lyrics": sections},
  } | changes


def write_manifest(root: pathlib.Path, rows: list) -> pathlib.Path:
  """Rows are written as JSON, strings as they are."""
  path = root / "songs.jsonl"
  lines = [r if isinstance(r, str) else json.dumps(r) for r in rows]
  path.write_text("".join(line + "\n" for line in lines))
  return path


def write_songs(root: pathlib.Path, count: int) -> pathlib.Path:
  """A manifest of `count` good songs of different lengths."""
  rows = [write_song(root, f"s{i}", seed=i) for i in range(count)]
  return write_manifest(root, rows)


def prepared(
  root: pathlib.Path, count: int = 12, *, songs_per_shard: int = 512, **changes
) -> pathlib.Path:
  """A prepared data set of `count` good songs."""
  recipe = small_recipe(small_tokenizer(root / "tokenizer.model"), **changes)
  prepare(
    write_songs(root, count),
    root / "out",
    recipe=recipe,
    songs_per_shard=songs_per_shard,
  )
  return root / "out"
