"""Corpora of the small world: endless training songs, held-out ones, files.

    OUT/world.json          the parameters and tables of the world
        tokenizer.model     in which each word is one piece
        train/songs.jsonl   manifest; codes in train/npy/<id>.<track>.npy
        heldout/songs.jsonl the same, of word sequences never sung in train

A song is a function of (world, seed, split, number): a longer corpus begins
with the songs of a shorter one.
"""

from collections.abc import Iterable, Iterator
import itertools
import json
import pathlib

import numpy as np

from yue_jax.manifest import read_manifest
from yue_jax.songs import Rules, Song, song_from_row
from yue_jax.tokenizer import Tokenizer, train_tokenizer
from yue_jax.vocab import Vocab
from yue_jax.world import manifest
from yue_jax.world.config import WorldConfig
from yue_jax.world.generator import World, WorldSong

SPLITS = ("train", "heldout")
RULES = Rules(min_section_seconds=0.02)  # one frame is the shortest section
_CHUNK = 500  # songs drawn at once; changing it changes all songs
_TRIES = 20  # draws per held-out song before the world counts as too small
_FORMAT = 1


def draw(world: World, split: str, *, seed: int) -> Iterator[WorldSong]:
  """The songs of a split, without end."""
  for chunk in itertools.count():
    rng = np.random.default_rng([seed, SPLITS.index(split), chunk])
    yield from world.draw(rng, songs=_CHUNK)


def read_songs(
  path: pathlib.Path, count: int, *, vocab: Vocab
) -> Iterator[Song]:
  """The first songs of a manifest, with the codes of their tracks.

  Raises ValueError if it has fewer.
  """
  rows = [row for _, row in itertools.islice(read_manifest(path), count)]
  if len(rows) < count:
    raise ValueError(f"{count} songs asked for, but {path} has {len(rows)}")
  for row in rows:
    yield song_from_row(row, path.parent, rules=RULES, vocab=vocab)


def lyrics_of(song: WorldSong) -> set[tuple[int, ...]]:
  """The word sequences of a song's sections."""
  return set(map(tuple, song.words.tolist()))


def draw_unseen(
  world: World, *, songs: int, seed: int, seen: set[tuple[int, ...]]
) -> Iterator[WorldSong]:
  """Held-out songs, of which no section has a word sequence in `seen`."""
  candidates = itertools.islice(
    draw(world, "heldout", seed=seed), _TRIES * songs
  )
  unseen = (song for song in candidates if not lyrics_of(song) & seen)
  found = 0
  for song in itertools.islice(unseen, songs):
    found += 1
    yield song
  if found < songs:
    raise ValueError(
      f"{_TRIES * songs} songs drawn, and only {found} of {songs} sing nothing"
      f" that training songs sing: {world.cfg.words} words in sections of"
      f" {world.cfg.words_per_section} are too few; raise either, or ask for"
      " fewer training songs"
    )


def write_songs(
  world: World, songs: Iterable[WorldSong], root: pathlib.Path
) -> Iterator[WorldSong]:
  """Writes manifest and codes of a split into `root`; yields what is done."""
  (root / "npy").mkdir(parents=True)
  with (root / "songs.jsonl").open("w") as file:
    for number, song in enumerate(songs):
      name = f"{root.name}-{number:06}"
      manifest.save_tracks(song, name, root)
      file.write(json.dumps(manifest.manifest_row(world, song, name)) + "\n")
      yield song


def write_tokenizer(world: World, path: pathlib.Path) -> Tokenizer:
  """Trains the tokenizer of this world's text into a .model file."""
  symbols = manifest.symbols(world)
  letters = sorted(set("".join(symbols)) - {"\n"})
  # 3 control pieces and 256 bytes besides; the rest learns nothing of use
  size = 259 + len(symbols) + len(letters)
  return train_tokenizer(
    ["".join(letters), *(symbol.strip() for symbol in symbols)],
    path,
    size=size,
    symbols=symbols,
  )


def write_world(world: World, path: pathlib.Path) -> None:
  """Writes world.json, for readers and for `read_world`."""
  path.write_text(json.dumps(_description(world), indent=1) + "\n")


def read_world(path: pathlib.Path) -> World:
  """The world of a world.json; ValueError if it cannot be built again.

  Tables follow from the parameters, but through a random generator that
  another version of numpy may change; so they are compared.
  """
  found = json.loads(path.read_text())
  if found.get("format") != _FORMAT:
    raise ValueError(
      f"{path} has format {found.get('format')}, expected {_FORMAT}; make the"
      " corpus again with tools/make_world.py"
    )
  world = World(WorldConfig.from_json(found["parameters"]))
  if _description(world)["tables"] != found["tables"]:
    raise ValueError(
      f"{path}: its parameters make other tables here than where it was"
      " written; make the corpus again with tools/make_world.py"
    )
  return world


def _description(world: World) -> dict:
  return {
    "format": _FORMAT,
    "parameters": world.cfg.to_json(),
    "tables": {
      "words": dict(zip(world.words, world.spelling.tolist(), strict=True)),
      "progressions": dict(
        zip(world.genres, world.progressions.tolist(), strict=True)
      ),
      "scale": world.scale.tolist(),
      "shift": world.shift.tolist(),
    },
  }
