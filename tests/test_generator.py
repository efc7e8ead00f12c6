"""Songs are what the description in `generator` says."""

import dataclasses
import itertools

import numpy as np
import pytest

from yue_jax.world.config import WorldConfig
from yue_jax.world.generator import World

QUIET = WorldConfig(
  vocal_noise=0.0, backing_noise=0.0, residual_noise=0.0, seed=3
)


def draw(cfg: WorldConfig, songs: int = 50, seed: int = 0):
  world = World(cfg)
  return world, world.draw(np.random.default_rng(seed), songs=songs)


def runs(flags: np.ndarray) -> list[int]:
  """Lengths of the pieces that begin where a flag is set."""
  starts = np.flatnonzero(np.append(flags, True))
  return np.diff(starts).tolist()


def test_the_vocal_spells_the_words():
  world, songs = draw(QUIET)
  cfg = world.cfg
  for song in songs:
    singers, codes = np.divmod(song.vocal[0], cfg.singer_codes)
    assert len(set(singers)) == 1
    for section, (start, end) in enumerate(itertools.pairwise(song.bounds)):
      syllable, sustained = np.divmod(codes[start:end], 2)
      onsets = sustained == 0
      assert set(runs(onsets)) <= set(cfg.durations)
      spelled = world.spelling[song.words[section]].ravel()
      np.testing.assert_array_equal(syllable[onsets], spelled)
      np.testing.assert_array_equal(syllable, np.repeat(spelled, runs(onsets)))


def test_the_backing_plays_the_progression_anew_in_each_section():
  cfg = dataclasses.replace(QUIET, chord_durations=(3, 4))
  world, songs = draw(cfg)
  for song in songs:
    for label, (start, end) in zip(
      song.labels, itertools.pairwise(song.bounds), strict=True
    ):
      codes = song.backing[0, start:end] - cfg.vocal_codes
      chord, beat = np.divmod(codes, cfg.beats)
      assert beat[0] == 0
      lengths = runs(beat == 0)
      assert set(lengths[:-1]) <= {3, 4}
      assert lengths[-1] <= 4  # cut by the end of the section
      played = world.progressions[song.genre, label]
      expected = np.resize(played, len(lengths))
      np.testing.assert_array_equal(chord[beat == 0], expected)


def test_a_chord_longer_than_its_beats_goes_round_them():
  cfg = dataclasses.replace(QUIET, chord_durations=(6,))
  _, (song, *_) = draw(cfg, songs=1)
  beats = (song.backing[0, :12] - cfg.vocal_codes) % cfg.beats
  assert beats.tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 0, 1]


def test_the_mixture_is_masked_by_beat():
  cfg = dataclasses.replace(
    QUIET, masking=(1.0, 0.0, 0.5, 0.0), chord_durations=(4,)
  )
  _, songs = draw(cfg, songs=200)
  shares = np.zeros((2, cfg.beats))
  for song in songs:
    beat = (song.backing[0] - cfg.vocal_codes) % cfg.beats
    masked = song.mixture[0] == song.backing[0]
    assert (masked | (song.mixture[0] == song.vocal[0])).all()
    np.add.at(shares, (masked.astype(int), beat), 1)
  np.testing.assert_allclose(
    shares[1] / shares.sum(axis=0), cfg.masking, atol=0.05
  )


@pytest.mark.parametrize("track", ["vocal", "backing", "mixture"])
def test_residual_codebooks_follow_codebook_0(track):
  world, songs = draw(QUIET)
  codes = np.concatenate([getattr(song, track) for song in songs], axis=1)
  np.testing.assert_array_equal(codes, world.residuals(codes[0]))
  for k in range(world.cfg.codebooks):
    every = world.residuals(np.arange(world.cfg.codes))[k]
    assert len(set(every)) == world.cfg.codes


def test_noise_is_as_frequent_as_its_parameters_say():
  cfg = WorldConfig(vocal_noise=0.4, backing_noise=0.2, residual_noise=0.3)
  world, songs = draw(cfg, songs=300)
  # any code replaces the clean one, itself included
  vocal = np.concatenate([song.vocal for song in songs], axis=1)
  residual = np.mean(vocal[1:] != world.residuals(vocal[0])[1:])
  assert abs(residual - 0.3 * (1 - 1 / cfg.codes)) < 0.01
  owners = [song.vocal[0] // cfg.singer_codes for song in songs]
  foreign = [np.mean(o != np.bincount(o).argmax()) for o in owners]
  assert abs(np.mean(foreign) - 0.4 * (1 - 1 / cfg.singers)) < 0.02
  assert vocal[0].max() == cfg.vocal_codes - 1
  backing = np.concatenate([song.backing[0] for song in songs])
  assert set(backing) == set(range(cfg.vocal_codes, cfg.codes))


def test_words_are_uniform_and_never_follow_themselves():
  world, songs = draw(WorldConfig(words=4, words_per_section=3), songs=2000)
  words = np.stack([song.words for song in songs]).reshape(-1, 3)
  pairs = np.zeros((4, 4))
  np.add.at(pairs, (words[:, 0], words[:, 1]), 1)
  np.add.at(pairs, (words[:, 1], words[:, 2]), 1)
  expected = (1 - np.eye(4)) / 12
  np.testing.assert_allclose(pairs / pairs.sum(), expected, atol=0.01)
  assert len({tuple(row) for row in world.spelling.tolist()}) == 4


def test_all_of_it_follows_from_the_seeds():
  world, songs = draw(WorldConfig(seed=1), songs=5)
  _, again = draw(WorldConfig(seed=1), songs=5)
  for a, b in zip(songs, again, strict=True):
    for field in dataclasses.fields(a):
      np.testing.assert_array_equal(
        getattr(a, field.name), getattr(b, field.name)
      )
  other, _ = draw(WorldConfig(seed=2), songs=1)
  assert world.words == World(WorldConfig(seed=1)).words
  assert (world.spelling != other.spelling).any()
  _, others = draw(WorldConfig(seed=1), songs=5, seed=1)
  assert any(
    (a.words != b.words).any() for a, b in zip(songs, others, strict=True)
  )


@pytest.mark.parametrize("syllables", [16, 81, 300])
def test_names_can_be_told_apart(syllables):
  cfg = WorldConfig(syllables=syllables, singers=1, words=60, genres=30)
  world = World(cfg)
  assert len({*world.words, *world.genres}) == 90
  assert len(world.genres) == 30
  assert len({len(word) for word in world.words}) == 1


def test_config_round_trip():
  cfg = WorldConfig(words=5, masking=(0.1, 0.2), beats=2)
  assert WorldConfig.from_json(cfg.to_json()) == cfg
  with pytest.raises(ValueError, match="expected the keys"):
    WorldConfig.from_json(cfg.to_json() | {"tempo": 1})


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"words": 0}, "words=0, expected a positive integer"),
    ({"words": 300}, "words=300 exceeds the 256 spellings"),
    ({"words": 1}, "no word follows itself"),
    ({"masking": (0.5,)}, "masking has 1 values, expected one for each of be"),
    ({"vocal_noise": 1.5}, "vocal_noise: 1.5 is not a probability"),
    ({"durations": ()}, "durations="),
    ({"durations": (0, 2)}, "durations=0, expected a positive integer"),
    ({"chord_durations": (2, 2)}, "names a number of frames twice"),
    ({"labels": ("verse", "verse")}, "all different"),
    ({"labels": ("pre chorus",)}, "expected lower-case letters"),
    ({"singers": 2000}, "a code file holds at most"),
    ({"seed": -1}, "seed=-1"),
  ],
)
def test_bad_parameters(change, message):
  with pytest.raises(ValueError, match=message):
    WorldConfig(**change)
