"""Floors of the mixture: the sum over all pairs of hidden paths, naively."""

import dataclasses

import numpy as np
import pytest

from tests.test_floors import (
  TINY,
  chained,
  draw,
  played_paths,
  slices,
  sung_paths,
)
from yue_jax.world import floors, lyrics, mixtures
from yue_jax.world.config import WorldConfig
from yue_jax.world.generator import World

SMALL = dataclasses.replace(
  TINY, words_per_section=1, chord_durations=(2, 3), masking=(0.6, 0.3)
)


def enumerated(world: World, song, section: int, singer: int) -> np.ndarray:
  """P(codes[:t]) for t = 0 ... T, then P(codes and the end after them).

  Every pair of a way to sing and a way to play, frame by frame, either heard.
  """
  cfg = world.cfg
  codes = song.mixture[0, slices(song)[section]]
  label = int(song.labels[section])
  played = list(played_paths(world, song.genre, label, cfg.max_section_frames))
  total = np.zeros(len(codes) + 2)
  for sung_p, sung in sung_paths(world, song.words[section], singer):
    for played_p, backing in played:
      p = sung_p * played_p
      for t in range(len(codes) + 1):
        total[t] += p
        if t == len(sung):
          total[-1] += p * (t == len(codes))
          break
        if t < len(codes):
          p *= code_probability(cfg, codes[t], sung[t], backing[t])
  return total


def code_probability(cfg, code, vocal, backing) -> float:
  """Of a code of the mixture, given the clean codes of both tracks."""
  masked = cfg.masking[(backing - cfg.vocal_codes) % cfg.beats]
  if code < cfg.vocal_codes:
    own, noise, size, clean = (
      1 - masked,
      cfg.vocal_noise,
      cfg.vocal_codes,
      vocal,
    )
  else:
    own, noise, size = masked, cfg.backing_noise, cfg.backing_codes
    clean = backing
  return own * (noise / size + (1 - noise) * (code == clean))


@pytest.mark.parametrize("masking", [(0.6, 0.3), (0.0, 0.0), (1.0, 0.5)])
def test_floors_are_sums_over_all_pairs_of_paths(masking):
  world, songs = draw(dataclasses.replace(SMALL, masking=masking), songs=4)
  for song, found in zip(songs, mixtures.cot(world, songs), strict=True):
    exact = chained(
      [
        [enumerated(world, song, s, singer) for s in range(world.cfg.sections)]
        for singer in range(world.cfg.singers)
      ]
    )
    np.testing.assert_allclose(
      found.mixture, np.concatenate([x[:-1] for x in exact]), atol=1e-9
    )
    np.testing.assert_allclose(found.end, [x[-1] for x in exact], atol=1e-9)


def test_every_next_token_is_counted_once():
  """All codes and the end have probabilities that sum to one."""
  world, (song,) = draw(SMALL, songs=1)
  cfg, total = world.cfg, 0.0
  last = song.frames - 1
  (before,) = mixtures.cot(world, [song])
  for code in range(cfg.codes):
    mixture = song.mixture.copy()
    mixture[0, last] = code
    changed = dataclasses.replace(song, mixture=mixture)
    (found,) = mixtures.cot(world, [changed])
    np.testing.assert_allclose(found.mixture[:last], before.mixture[:last])
    total += np.exp(-found.mixture[last])
  assert total < 1  # the rest is the end, which could have come here
  durations = cfg.durations
  assert total > 1 - 1 / len(durations) - 1e-9


def test_without_masks_it_costs_what_the_vocal_costs():
  world, songs = draw(WorldConfig(masking=(0.0,) * 4), songs=20)
  for mixed, both in zip(
    mixtures.cot(world, songs), floors.cot(world, songs), strict=True
  ):
    np.testing.assert_allclose(mixed.mixture, both.vocal, atol=1e-9)
    np.testing.assert_allclose(mixed.end, both.end, atol=1e-9)


def test_behind_full_masks_it_costs_what_the_backing_costs_and_the_end():
  world, songs = draw(WorldConfig(masking=(1.0,) * 4), songs=20)
  shortest = world.cfg.units_per_section * min(world.cfg.durations)
  for mixed, both in zip(
    mixtures.cot(world, songs), floors.cot(world, songs), strict=True
  ):
    more = mixed.mixture - both.backing
    np.testing.assert_allclose(more[:shortest], 0, atol=1e-9)
    assert (more > -1e-9).all()  # that it goes on is news from then on


def test_another_masking_is_a_worse_model():
  world, songs = draw(WorldConfig(masking=(0.5,) * 4), songs=100)
  other = World(dataclasses.replace(world.cfg, masking=(0.3,) * 4))
  true, wrong = (
    sum(d.mixture.sum() + d.end.sum() for d in mixtures.cot(w, songs))
    for w in (world, other)
  )
  assert wrong > true + 5
  whole = World(dataclasses.replace(world.cfg, masking=(0.0,) * 4))
  with pytest.raises(ValueError, match="cannot happen in this world"):
    mixtures.cot(whole, songs)


def test_masked_words_are_read_as_long_as_something_is_heard():
  rates = []
  for masking in (0.0, 0.3, 0.9):
    cfg = WorldConfig(
      masking=(masking,) * 4, vocal_noise=0.0, sections=1, durations=(3,)
    )
    world, songs = draw(cfg, songs=30)
    read = lyrics.read(world, [s.mixture[0].astype(int) for s in songs])
    true = [s.words[0].tolist() for s in songs]
    rates.append(lyrics.error_rate(true, [r.words for r in read]))
  assert rates[0] == 0 and rates[0] < rates[1] < rates[2]


def test_edits_by_word():
  assert lyrics.edits_by_word([1, 2, 3], [1, 3, 3, 4]).tolist() == [0, 1, 1]
  assert lyrics.edits_by_word([1, 2, 3], [3]).tolist() == [1, 1, 0]
  assert lyrics.edits_by_word([1], [5, 1]).tolist() == [1]
  rng = np.random.default_rng(0)
  for _ in range(200):
    true, read = (
      rng.integers(4, size=rng.integers(low, 7)).tolist() for low in (1, 0)
    )
    assert lyrics.edits_by_word(true, read).sum() == lyrics.edits(true, read)
  with pytest.raises(ValueError, match="at least one"):
    lyrics.edits_by_word([], [1])
