"""A trained run as measures see it: its model, and the songs held out of it."""

import functools
import pathlib

import jax

from yue_jax import config, sharding
from yue_jax.encoding import EncodedSong, Phrases, encode_song
from yue_jax.model import Decoder
from yue_jax.paper import corpora
from yue_jax.paper.cases import Run
from yue_jax.sampling.layered import LayeredDecoder, unstack
from yue_jax.songs import Song
from yue_jax.tokenizer import Tokenizer
from yue_jax.train.state import decoder_of
from yue_jax.vocab import Vocab
from yue_jax.weights import Weights, load_weights
from yue_jax.world import corpus as world_corpus
from yue_jax.world import manifest
from yue_jax.world.generator import World, WorldSong


class Trained:
  """A run that is done, on one device. What is asked for is read then."""

  def __init__(self, run: Run, folder: pathlib.Path, corpus: pathlib.Path):
    """`folder` is that of the run, `corpus` that of its corpus."""
    self.run, self._folder, self._corpus = run, folder, corpus
    self.mesh = sharding.make_mesh(config.MeshConfig(), jax.devices()[:1])

  @functools.cached_property
  def vocab(self) -> Vocab:
    return corpora.vocabulary(self._corpus, self.run.corpus)

  @functools.cached_property
  def tokenizer(self) -> Tokenizer:
    return Tokenizer(self._corpus / "tokenizer.model")

  @functools.cached_property
  def phrases(self) -> Phrases:
    return Phrases.encode(self.tokenizer)

  @functools.cached_property
  def decoder(self) -> Decoder:
    """That measures losses."""
    return decoder_of(self._weights.params, self._weights.model)

  @functools.cached_property
  def singer(self) -> LayeredDecoder:
    """The same, to sing."""
    with jax.set_mesh(self.mesh):
      return unstack(dict(self._weights.params), self._weights.model)

  @functools.cached_property
  def _weights(self) -> Weights:
    return load_weights(self._folder, self.mesh, dtype=None)

  def world(self, sections: int) -> World:
    """That of songs with so many sections."""
    return world_corpus.read_world(self._corpus / f"world-{sections}.json")

  def songs(self, sections: int, count: int) -> list[Song]:
    """The first held-out songs with so many sections."""
    path = self._corpus / f"songs/heldout-{sections}/songs.jsonl"
    return list(world_corpus.read_songs(path, count, vocab=self.vocab))

  def encoded(self, songs: list[Song]) -> list[EncodedSong]:
    return [
      encode_song(song, self.tokenizer, vocab=self.vocab) for song in songs
    ]


def world_songs(world: World, songs: list[Song]) -> list[WorldSong]:
  """The same songs as their world drew them."""
  return [manifest.from_song(world, song) for song in songs]
