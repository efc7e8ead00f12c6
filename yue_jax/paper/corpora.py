"""Corpora on disk: made once, in folders named by what is in them.

FOLDER/corpus.json         what it was made of
    world-<n>.json         the world of songs with n sections
    tokenizer.model        one for all
    songs/train-<n>/       manifest and codes, as in `world.corpus`
    songs/heldout-<n>/
    train/                 training songs of all lengths, prepared
"""

from collections.abc import Iterator
import itertools
import pathlib

from yue_jax.data.preparing.prepare import prepare
from yue_jax.data.preparing.recipe import Recipe
from yue_jax.paper.cases import Corpus, to_json
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import Vocab
from yue_jax.whole_directory import whole_directory
from yue_jax.world import corpus as world_corpus
from yue_jax.world.generator import World, WorldSong

_SPARE = 4  # songs drawn for each held-out one, before rules are applied


def make(corpus: Corpus, folder: pathlib.Path) -> None:
  """Makes the corpus, unless it is there."""
  if folder.exists():
    return
  with whole_directory(folder) as partial:
    _write(corpus, partial)
    (partial / "corpus.json").write_text(to_json(corpus))


def vocabulary(folder: pathlib.Path, corpus: Corpus) -> Vocab:
  """The token ids of the corpus."""
  size = Tokenizer(folder / "tokenizer.model").size
  cfg = corpus.world
  return Vocab.small(size, codes=cfg.codes, codebooks=cfg.codebooks)


def is_plain_to_read(song: WorldSong) -> bool:
  """Whether no section begins with the word that ended the one before.

  Words are read from the sound of whole songs, where no word follows itself.
  """
  return all(a[-1] != b[0] for a, b in itertools.pairwise(song.words.tolist()))


def _write(corpus: Corpus, folder: pathlib.Path) -> None:
  worlds = {n: World(corpus.world_of(n)) for n in corpus.sections}
  first = next(iter(worlds.values()))
  tokenizer = world_corpus.write_tokenizer(first, folder / "tokenizer.model")
  for sections, world in worlds.items():
    world_corpus.write_world(world, folder / f"world-{sections}.json")
  _write_songs(corpus, worlds, folder / "songs")
  recipe = Recipe(
    tokenizer=tokenizer,
    vocab=vocabulary(folder, corpus),
    rules=world_corpus.RULES,
    window=1,  # frames: nothing here reads windows
    windows_per_record=255,
  )
  manifests = [folder / "songs" / f"train-{n}/songs.jsonl" for n in worlds]
  prepare(manifests, folder / "train", recipe=recipe)


def _write_songs(corpus: Corpus, worlds: dict[int, World], root) -> None:
  seed, seen = corpus.world.seed, set()
  shares = _shares(corpus.train, len(worlds))
  for (sections, world), songs in zip(worlds.items(), shares, strict=True):
    endless = world_corpus.draw(world, "train", seed=seed)
    chosen = itertools.islice(endless, songs)
    path = root / f"train-{sections}"
    for song in world_corpus.write_songs(world, chosen, path):
      seen |= world_corpus.lyrics_of(song)
  for sections, world in worlds.items():
    unseen = world_corpus.draw_unseen(
      world, songs=_SPARE * corpus.heldout, seed=seed, seen=seen
    )
    chosen = list(
      itertools.islice(filter(is_plain_to_read, unseen), corpus.heldout)
    )
    _exhaust(
      world_corpus.write_songs(world, chosen, root / f"heldout-{sections}")
    )


def _shares(whole: int, parts: int) -> list[int]:
  """Example: 7 songs for 2 lengths -> [4, 3]."""
  return [whole // parts + (n < whole % parts) for n in range(parts)]


def _exhaust(items: Iterator) -> None:
  for _ in items:
    pass
