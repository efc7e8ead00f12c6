"""A corpus on disk is one the pipeline reads, and the world knows again."""

import importlib.util
import itertools
import json
import pathlib
import sys

import numpy as np
import pytest

from yue_jax import documents, songs
from yue_jax.encoding import Phrases, encode_song
from yue_jax.manifest import read_manifest
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import Stream, Vocab
from yue_jax.world import corpus, floors, manifest, nats
from yue_jax.world.config import WorldConfig
from yue_jax.world.generator import World

TOOL = pathlib.Path(__file__).parent.parent / "tools" / "make_world.py"
RULES = songs.Rules(min_section_seconds=0.1)
FLAGS = ("--train-songs", "40", "--heldout-songs", "10", "--seed", "3")


def make(*args: object) -> None:
  spec = importlib.util.spec_from_file_location("make_world", TOOL)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "argv", ["make_world", *map(str, args)])
    module.main()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  out = tmp_path_factory.mktemp("corpus") / "world"
  make(out, *FLAGS)
  return out


def load(made: pathlib.Path, split: str):
  """(world, tokenizer, vocabulary, songs as the pipeline reads them)."""
  world = corpus.read_world(made / "world.json")
  tokenizer = Tokenizer(made / "tokenizer.model")
  vocab = Vocab.small(tokenizer.size, codes=world.cfg.codes, codebooks=8)
  root = made / split
  rows = [row for _, row in read_manifest(root / "songs.jsonl")]
  read = [
    songs.song_from_row(row, root, vocab=vocab, rules=RULES) for row in rows
  ]
  return world, tokenizer, vocab, read


@pytest.mark.parametrize(("split", "count"), [("train", 40), ("heldout", 10)])
def test_songs_come_back_as_they_were_drawn(made, split, count):
  world, _, _, read = load(made, split)
  assert len(read) == count
  assert not any(song.dropped for song in read)
  drawn = corpus.draw(world, split, seed=3)
  for song, original in zip(read, drawn, strict=False):
    found = manifest.from_song(world, song)
    for name in ("genre", "labels", "words", "bounds", "vocal", "backing"):
      np.testing.assert_array_equal(
        getattr(found, name), getattr(original, name)
      )
    np.testing.assert_array_equal(song.mixture, original.mixture)


def test_codes_have_the_released_form(made):
  codes = np.load(made / "train/npy/train-000000.mixture.npy")
  assert codes.dtype == np.int16
  assert codes.shape[0] == 8


def test_every_word_label_and_mark_is_one_token(made):
  world, tokenizer, vocab, read = load(made, "train")
  phrases = Phrases.encode(tokenizer)
  for song in read[:5]:
    document = documents.cot(
      encode_song(song, tokenizer, vocab=vocab), vocab, phrases=phrases
    )
    counts = np.bincount(document.streams, minlength=len(Stream))
    section = 1 + 1 + world.cfg.words_per_section + 1  # [label] \n words \n
    assert counts[Stream.RESTATED] == 2 * section
    # instruction \n [Genre] genre \n, and a \n between two sections
    assert counts[Stream.TEXT] == 5 + 2 * section + 1
    # phrases around, <SOA> <xcodec> <EOA>, and <EOD>
    assert counts[Stream.MARK] == 2 * 5 + 1
    assert tokenizer.decode(tokenizer.encode(song.lyrics)) == song.lyrics


def test_floors_fit_the_documents(made):
  world, tokenizer, vocab, read = load(made, "heldout")
  phrases = Phrases.encode(tokenizer)
  drawn = [manifest.from_song(world, song) for song in read]
  totals = []
  for song, planned, alone in zip(
    read, floors.cot(world, drawn), floors.plain(world, drawn), strict=True
  ):
    encoded = encode_song(song, tokenizer, vocab=vocab)
    totals.append(
      planned.totals(documents.cot(encoded, vocab, phrases=phrases).streams)
    )
    alone.totals(documents.plain(encoded, vocab).streams)
  summed = nats.add(totals)
  frames = sum(song.frames for song in drawn)
  assert summed["vocal"][1] == summed["backing"][1] == frames
  assert summed["restated"][0] == 0
  per_token = nats.per_token(summed)
  assert 0.3 < per_token["vocal"] < 0.7
  assert 0.2 < per_token["backing"] < 0.6


def test_held_out_lyrics_are_never_sung_in_training(tmp_path):
  out = tmp_path / "world"
  few = ("--words", 4, "--words-per-section", 3)
  make(out, "--train-songs", 12, "--heldout-songs", 10, *few)
  sung = {}
  for split in corpus.SPLITS:
    world, _, _, read = load(out, split)
    sung[split] = [corpus.lyrics_of(manifest.from_song(world, s)) for s in read]
  train = set().union(*sung["train"])
  assert len(sung["heldout"]) == 10
  assert not any(lyrics & train for lyrics in sung["heldout"])
  # and that was no accident: of the songs as drawn, some would not do
  drawn = corpus.draw(world, "heldout", seed=0)
  assert any(corpus.lyrics_of(s) & train for s in itertools.islice(drawn, 10))


def test_too_few_word_sequences_is_an_error(tmp_path):
  few = ("--words", 2, "--words-per-section", 2)
  with pytest.raises(SystemExit, match="2 words in sections of 2 are too few"):
    make(tmp_path / "world", *FLAGS, *few)
  assert not (tmp_path / "world").exists()


def test_a_longer_corpus_begins_with_the_shorter_one():
  world = World(WorldConfig())
  long = list(itertools.islice(corpus.draw(world, "train", seed=0), 510))
  again = itertools.islice(corpus.draw(world, "train", seed=0), 3)
  for a, b in zip(long, again, strict=False):
    np.testing.assert_array_equal(a.vocal, b.vocal)
  other = next(corpus.draw(world, "heldout", seed=0))
  assert corpus.lyrics_of(other) != corpus.lyrics_of(long[0])
  assert corpus.lyrics_of(long[500]) != corpus.lyrics_of(long[0])


def test_parameters_are_flags(tmp_path):
  flags = ("--masking", 0.5, 0.1, "--beats", 2, "--world-seed", 7)
  make(tmp_path / "a", *FLAGS, *flags, "--labels", "verse", "bridge")
  cfg = corpus.read_world(tmp_path / "a" / "world.json").cfg
  assert cfg == WorldConfig(
    masking=(0.5, 0.1), beats=2, seed=7, labels=("verse", "bridge")
  )


def test_existing_output_and_bad_parameters_are_errors(made, tmp_path):
  with pytest.raises(SystemExit, match="exists already; remove it, or"):
    make(made, *FLAGS)
  with pytest.raises(SystemExit, match="words=300 exceeds the 256 spellings"):
    make(tmp_path / "b", *FLAGS, "--words", 300)


def test_another_world_json_is_refused(made, tmp_path):
  fields = json.loads((made / "world.json").read_text())
  path = tmp_path / "world.json"
  for key, value, message in [
    ("format", 0, "has format 0, expected 1"),
    ("tables", {}, "its parameters make other tables"),
    ("parameters", {}, "expected the keys"),
  ]:
    path.write_text(json.dumps(fields | {key: value}))
    with pytest.raises(ValueError, match=message):
      corpus.read_world(path)


def test_songs_of_another_world_are_refused(made):
  _, _, _, read = load(made, "heldout")
  other = World(WorldConfig(seed=1))
  with pytest.raises(ValueError, match="is not in this world"):
    manifest.from_song(other, read[0])
  shorter = World(WorldConfig(words_per_section=5))
  with pytest.raises(ValueError, match=r"expected 2 sections of 5"):
    manifest.from_song(shorter, read[0])
