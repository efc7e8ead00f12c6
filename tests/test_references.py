"""Clips are drawn as described, from counters alone, and the same for ever."""

import numpy as np
import pytest

from yue_jax import references
from yue_jax.encoding import EncodedSection

NOTHING = np.zeros(0, np.int32)
SONGS = np.arange(20_000)


def section(start, end, chorus=False):
  return EncodedSection(NOTHING, NOTHING, start, end, chorus)


def varied(frames):
  return [np.arange(frames)]


def starts(length, sections, tracks, draws=300):
  return np.array(
    [
      references.draw_start(
        0, 0, song=song, length=length, sections=sections, tracks=tracks
      )
      for song in range(draws)
    ]
  )


def test_numbers_never_change():
  """Golden values: change them only together with the version of the data."""
  numbers = references.counter_hash(0, 1, np.arange(3), purpose="test")
  assert numbers.tolist() == [
    251_344_432_867_255_553,
    8_124_026_695_231_182_030,
    15_706_559_835_960_996_319,
  ]
  lengths = references.draw_lengths(
    7, 0, songs=np.arange(4), spans=np.full(4, 9000)
  )
  assert lengths.tolist() == [1676, 1627, 1364, 1520]
  modes = references.draw_modes(7, 0, songs=np.arange(8))
  assert modes.tolist() == [0, 0, 1, 3, 0, 3, 0, 3]
  sections = [section(0, 5000)]
  assert starts(1500, sections, varied(5000), draws=3).tolist() == [
    1568,
    582,
    3128,
  ]


def test_tags_and_instructions_never_change():
  order = [references.draw_tag_order(7, e, song=5, tags=4) for e in range(3)]
  assert order == [[1, 3, 0, 2], [3, 1, 2, 0], [2, 1, 3, 0]]
  drawn = references.draw_instructed(7, 0, songs=np.arange(8))
  assert drawn.tolist() == [1, 0, 1, 0, 1, 0, 0, 1]


def test_one_number_at_a_time_is_the_same_as_all_at_once():
  numbers = np.array([0, 1, -5, 2**62, 12])
  together = references.counter_hash(3, numbers, 8, purpose="a")
  alone = [references.counter_hash(3, int(n), 8, purpose="a") for n in numbers]
  assert together.tolist() == [int(number) for number in alone]
  drawn = references.draw_instructed(7, 0, songs=numbers)
  assert drawn.tolist() == [
    bool(references.draw_instructed(7, 0, songs=int(n))) for n in numbers
  ]
  unsigned = references.counter_hash(np.uint64(2**64 - 5), purpose="a")
  assert unsigned == references.counter_hash(-5, purpose="a")
  many = references.counter_hash(
    np.arange(3)[:, None], np.arange(4), purpose="a"
  )
  assert many.shape == (3, 4)
  assert many[2, 3] == references.counter_hash(2, 3, purpose="a")


def test_every_order_of_tags_is_drawn():
  orders = [
    tuple(references.draw_tag_order(0, epoch, song=song, tags=3))
    for epoch in range(30)
    for song in range(40)
  ]
  counts = [orders.count(order) for order in set(orders)]
  assert len(counts) == 6
  assert 150 < min(counts) <= max(counts) < 250
  assert references.draw_tag_order(0, 0, song=0, tags=0) == []


def test_half_of_speech_is_instructed():
  drawn = references.draw_instructed(0, 0, songs=SONGS)
  assert 0.48 < drawn.mean() < 0.52
  other = references.draw_instructed(0, 1, songs=SONGS)
  assert 0.48 < (drawn == other).mean() < 0.52


def test_uniform_numbers_look_uniform_and_independent():
  drawn = [
    references.uniform(0, 0, SONGS, purpose="a"),
    references.uniform(0, 0, SONGS, purpose="b"),
    references.uniform(0, 1, SONGS, purpose="a"),
    references.uniform(1, 0, SONGS, purpose="a"),
    references.uniform(-1, 0, SONGS, purpose="a"),
    references.uniform(0, 0, SONGS + 1, purpose="a"),
  ]
  for numbers in drawn:
    counts, _ = np.histogram(numbers, 10, (0, 1))
    assert counts.sum() == len(SONGS)
    assert abs(counts - 2000).max() < 200
  correlations = np.corrcoef(drawn[:-1]) - np.eye(5)
  assert abs(correlations).max() < 0.03
  np.testing.assert_array_equal(drawn[5][:-1], drawn[0][1:])


def test_one_song_at_a_time_is_the_same_as_all_at_once():
  spans = 1000 + SONGS[:50] * 20
  together = references.draw_lengths(3, 1, songs=SONGS[:50], spans=spans)
  for song in SONGS[:50]:
    alone = references.draw_lengths(
      3, 1, songs=np.array([song]), spans=spans[song : song + 1]
    )
    assert alone.tolist() == [together[song]]


def test_lengths_follow_the_truncated_normal():
  spans = np.full(len(SONGS), 10_000)
  seconds = references.draw_lengths(0, 0, songs=SONGS, spans=spans) / 50
  assert seconds.min() >= 20
  assert seconds.max() <= 40
  assert seconds.mean() == pytest.approx(30, abs=0.1)
  assert seconds.std() == pytest.approx(3**0.5, rel=0.05)
  within = (abs(seconds - 30) < 3**0.5).mean()
  assert within == pytest.approx(0.683, abs=0.02)


@pytest.mark.parametrize("span", [1, 2, 3, 60, 900])
def test_clips_longer_than_the_song_are_half_of_it(span):
  lengths = references.draw_lengths(
    0, 0, songs=SONGS[:100], spans=np.full(100, span)
  )
  assert set(lengths.tolist()) == {max(1, span // 2)}


def test_modes_are_equally_likely():
  modes = references.draw_modes(0, 0, songs=SONGS)
  np.testing.assert_allclose(np.bincount(modes) / len(SONGS), 0.25, atol=0.02)
  assert set(references.draw_modes(0, 0, songs=SONGS, modes=["dual"])) == {0}


def test_starts_lie_in_a_chorus_that_is_long_enough():
  sections = [
    section(0, 400),
    section(400, 450, chorus=True),
    section(450, 600, chorus=True),
    section(600, 800),
    section(800, 901, chorus=True),
  ]
  found = starts(100, sections, varied(901))
  assert set(found.tolist()) <= {*range(450, 501), 800, 801}
  assert {450, 500, 800, 801} <= set(found.tolist())


def test_starts_lie_anywhere_without_a_chorus_that_fits():
  sections = [section(10, 400), section(400, 450, chorus=True)]
  found = starts(100, sections, varied(500), draws=1500)
  assert (found.min(), found.max()) == (10, 350)
  counts, _ = np.histogram(found, 4, (10, 351))
  assert counts.min() > 300


def test_a_clip_as_long_as_the_song_fits():
  assert set(starts(40, [section(10, 50)], varied(50), draws=5)) == {10}
  with pytest.raises(ValueError, match="a clip of 41 frames in a song of 40"):
    starts(41, [section(10, 50)], varied(50))


def test_monotonous_clips_are_drawn_again():
  track = np.arange(1000)
  track[:500] = 0
  sections = [section(0, 1000)]
  monotonous = (starts(100, sections, [track]) < 411).mean()
  assert monotonous < 0.02  # about 0.45 ** 6
  other = np.arange(1000)
  both = (starts(100, sections, [other, track]) < 411).mean()
  assert both == monotonous  # one such track is enough to draw again
  assert len(starts(100, sections, [track * 0])) == 300  # but not for ever


def test_draw_combines_length_and_start():
  sections = (section(5, 300), section(300, 605, chorus=True))
  tracks = {
    "vocal": np.arange(605),
    "backing": np.arange(605),
    "mixture": np.zeros(605, int),
  }
  for song in range(20):
    dual = references.draw(
      0, 0, song=song, mode="dual", sections=sections, tracks=tracks
    )
    assert (dual.mode, dual.length) == ("dual", 300)
    assert dual.start in range(300, 306)
    mixture = references.draw(
      0, 0, song=song, mode="mixture", sections=sections, tracks=tracks
    )
    assert mixture.length == dual.length


def test_spans_of_songs():
  spans = references.song_spans(
    np.array([5, 20, 0]), np.array([20, 45, 7]), np.array([0, 2, 3])
  )
  assert spans.tolist() == [40, 7]


def test_unknown_modes_are_refused():
  with pytest.raises(ValueError, match="mode='inst', expected one of"):
    references.Reference("inst", 0, 1)
