"""Floors are exact: equal to the sum over all hidden paths, path by path.

`enumerated` writes the process down a second time, naively: it lists every
choice of words and durations there is, and adds up what each would have made.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from yue_jax.references import Reference
from yue_jax.vocab import Stream
from yue_jax.world import baselines, floors, nats, sections
from yue_jax.world.config import WorldConfig
from yue_jax.world.generator import World, WorldSong

TINY = WorldConfig(
  words=3,
  syllables=2,
  singers=2,
  genres=3,
  sections=2,
  words_per_section=2,
  durations=(1, 3),
  chords=2,
  beats=2,
  progression=3,
  chord_durations=(2, 3),
  masking=(0.5, 0.3),
  vocal_noise=0.2,
  backing_noise=0.1,
  residual_noise=0.3,
  codebooks=3,
  seed=5,
)


def draw(cfg: WorldConfig, songs: int, seed: int = 0):
  world = World(cfg)
  return world, world.draw(np.random.default_rng(seed), songs=songs)


# -- the process, a second time ---------------------------------------------


def enumerated(paths, codes, *, noise: float, size: int) -> np.ndarray:
  """P(codes[:t]) for t = 0 ... T, then P(codes and the end after them).

  `paths` are (probability, clean codes of a whole section).
  """
  total = np.zeros(len(codes) + 2)
  for p, clean in paths:
    for t in range(len(codes) + 1):
      total[t] += p
      if t == len(clean):
        total[-1] += p * (t == len(codes))
        break
      if t < len(codes):
        p *= noise / size + (1 - noise) * (clean[t] == codes[t])
  return total


def sung_paths(world: World, words, singer: int):
  """Every way to sing the words."""
  cfg = world.cfg
  syllables = [y for word in words for y in world.spelling[word]]
  choices = list(itertools.product(cfg.durations, repeat=len(syllables)))
  for durations in choices:
    clean = []
    for y, held in zip(syllables, durations, strict=True):
      onset = singer * 2 * cfg.syllables + 2 * y
      clean += [onset] + [onset + 1] * (held - 1)
    yield 1 / len(choices), clean


def known_words_paths(world: World, song):
  return lambda s, singer: sung_paths(world, song.words[s], singer)


def any_words_paths(world: World, singer: int):
  """Every way to sing any words."""
  cfg = world.cfg
  choices = [
    words
    for words in itertools.product(
      range(cfg.words), repeat=cfg.words_per_section
    )
    if all(a != b for a, b in itertools.pairwise(words))
  ]
  for words in choices:
    for p, clean in sung_paths(world, words, singer):
      yield p / len(choices), clean


def played_paths(world: World, genre: int, label: int, frames: int):
  """Every way to play the first frames of a section."""
  cfg = world.cfg
  enough = -(-frames // min(cfg.chord_durations))
  choices = list(itertools.product(cfg.chord_durations, repeat=enough))
  for durations in choices:
    clean = []
    for number, held in enumerate(durations):
      chord = world.progressions[genre, label, number % cfg.progression]
      clean += [
        cfg.vocal_codes + chord * cfg.beats + j % cfg.beats for j in range(held)
      ]
    yield 1 / len(choices), [*clean[:frames], None]


def chained(by_hypothesis: list[list[np.ndarray]]) -> list[np.ndarray]:
  """Nats of the tokens of each section, hypotheses added up over the song.

  `by_hypothesis[h][s]` is what `enumerated` gives.
  """
  weights, result = np.ones(len(by_hypothesis)), []
  for section in zip(*by_hypothesis, strict=True):
    joint = weights @ np.stack(section)
    result.append(np.log(joint[:-1] / joint[1:]))
    weights = weights * np.array([row[-1] for row in section])
  return result


def slices(song):
  return [slice(a, b) for a, b in itertools.pairwise(song.bounds)]


def exact_vocal(world, song, paths_of_section):
  """Nats of (vocal, end) when section s follows paths_of_section(s, singer)."""
  cfg = world.cfg
  sung = chained(
    [
      [
        enumerated(
          paths_of_section(s, singer),
          song.vocal[0, part],
          noise=cfg.vocal_noise,
          size=cfg.vocal_codes,
        )
        for s, part in enumerate(slices(song))
      ]
      for singer in range(cfg.singers)
    ]
  )
  return np.concatenate([x[:-1] for x in sung]), np.array([x[-1] for x in sung])


def exact_backing(world, song, genres):
  cfg = world.cfg
  played = []
  for genre in genres:
    played.append([])
    for label, part in zip(song.labels, slices(song), strict=True):
      frames = part.stop - part.start
      p = enumerated(
        played_paths(world, genre, label, frames),
        song.backing[0, part],
        noise=cfg.backing_noise,
        size=cfg.backing_codes,
      )
      played[-1].append(p[:-1])  # the section's end is not the backing's
  return np.concatenate(chained(played))


# -- floors -----------------------------------------------------------------


@pytest.mark.parametrize(
  "change",
  [
    {},
    {"durations": (2,), "syllables_per_word": 1, "words": 2, "sections": 3},
    {"vocal_noise": 0.0, "backing_noise": 0.0},
    {"singers": 3, "genres": 1, "sections": 1, "beats": 1, "masking": (0.5,)},
  ],
)
def test_floors_are_the_sum_over_all_paths(change):
  world, songs = draw(dataclasses.replace(TINY, **change), songs=4)
  every_genre = range(world.cfg.genres)
  for song, planned, alone in zip(
    songs, floors.cot(world, songs), floors.plain(world, songs), strict=True
  ):
    vocal, end = exact_vocal(world, song, known_words_paths(world, song))
    for document in (planned, alone):
      np.testing.assert_allclose(document.vocal, vocal, atol=1e-10)
      np.testing.assert_allclose(document.end, end, atol=1e-10)
    np.testing.assert_allclose(
      planned.backing, exact_backing(world, song, [song.genre]), atol=1e-10
    )
    np.testing.assert_allclose(
      alone.backing, exact_backing(world, song, every_genre), atol=1e-10
    )


def test_the_baseline_is_the_sum_over_all_words_too():
  cfg = dataclasses.replace(TINY, sections=2, durations=(1, 2))
  world, songs = draw(cfg, songs=3)
  unigram = np.arange(world.cfg.codes, dtype=float)
  blind = baselines.documents(world, songs, backing=unigram)
  for song, document in zip(songs, blind, strict=True):
    vocal, end = exact_vocal(
      world, song, lambda _, singer: any_words_paths(world, singer)
    )
    np.testing.assert_allclose(document.vocal, vocal, atol=1e-10)
    np.testing.assert_allclose(document.end, end, atol=1e-10)
    np.testing.assert_array_equal(document.backing, song.backing[0])


@pytest.mark.parametrize("listen", [sections.sung, sections.sung_unseen])
def test_next_codes_and_the_end_sum_to_one(listen):
  world, songs = draw(TINY, songs=1)
  heard = sections.Sections.of(world, songs)
  codes, frames = world.cfg.vocal_codes, heard.vocal.shape[-1]
  for frame in range(frames):
    # one song for each code that might come next, and one that ends here
    tried = np.repeat(heard.vocal, codes + 1, axis=0)
    tried[:codes, :, frame] = np.arange(codes)[:, None]
    lengths = np.full((codes + 1, world.cfg.sections), frames)
    lengths[codes] = frame
    log_p = listen(
      world,
      dataclasses.replace(
        heard,
        lengths=lengths,
        vocal=tried,
        words=np.repeat(heard.words, codes + 1, axis=0),
      ),
    )[..., frame]
    total = np.exp(log_p).sum(axis=0)  # (singers, sections)
    never_heard = np.exp(log_p).max(axis=0) == 0  # ended for sure before
    np.testing.assert_allclose(total[~never_heard], 1, atol=1e-12)
    assert not never_heard.all() or frame > world.cfg.max_section_frames - 1


def test_next_backing_codes_sum_to_one():
  world, songs = draw(TINY, songs=1)
  heard = sections.Sections.of(world, songs)
  codes = world.cfg.backing_codes
  for frame in range(int(heard.lengths.min())):
    tried = np.repeat(heard.backing, codes, axis=0)
    tried[..., frame] = np.arange(codes)[:, None]
    every = dataclasses.replace(
      heard,
      backing=tried,
      lengths=np.repeat(heard.lengths, codes, axis=0),
      labels=np.repeat(heard.labels, codes, axis=0),
    )
    genres = np.tile(np.arange(world.cfg.genres), (codes, 1))
    log_p = sections.played(world, every, genres)[..., frame]
    np.testing.assert_allclose(np.exp(log_p).sum(axis=0), 1, atol=1e-12)


def test_without_noise_only_durations_and_the_singer_are_open():
  world, songs = draw(WorldConfig(vocal_noise=0.0, durations=(2, 3, 5)), 20)
  cfg = world.cfg
  expected = math.log(cfg.singers) + cfg.sections * cfg.units_per_section * (
    math.log(3)
  )
  for document in floors.cot(world, songs):
    total = document.vocal.sum() + document.end.sum()
    np.testing.assert_allclose(total, expected, rtol=1e-12)
    np.testing.assert_allclose(document.vocal[0], math.log(cfg.singers))


def test_text_is_as_likely_as_any_other():
  world = World(TINY)
  cfg = world.cfg
  words = [
    w
    for w in itertools.product(range(cfg.words), repeat=cfg.words_per_section)
    if all(a != b for a, b in itertools.pairwise(w))
  ]
  texts = (len(cfg.labels) * len(words)) ** cfg.sections
  np.testing.assert_allclose(floors.lyrics_nats(world), math.log(texts))
  np.testing.assert_allclose(floors.tag_nats(world), math.log(cfg.genres))


def test_all_vocals_together_are_certain_and_cost_the_entropy_on_average():
  """Every vocal there is, in a world small enough to list them."""
  cfg = dataclasses.replace(
    TINY, words=2, syllables_per_word=1, sections=1, durations=(1, 2)
  )
  world, songs = draw(cfg, songs=2000)
  drawn = totals_of_vocals(world, songs)
  entropy, lengths = 0.0, (2, 3, 4)
  for words in ([0, 1], [1, 0]):
    every = [
      vocal_only(words, np.array(codes))
      for length in lengths
      for codes in itertools.product(range(cfg.vocal_codes), repeat=length)
    ]
    cost = totals_of_vocals(world, every)
    np.testing.assert_allclose(np.exp(-cost).sum(), 1)
    entropy += np.sum(np.exp(-cost) * cost) / 2
  error = drawn.std() / math.sqrt(len(drawn))
  assert abs(drawn.mean() - entropy) < 4 * error < 0.25


def totals_of_vocals(world, songs) -> np.ndarray:
  documents = floors.cot(world, songs)
  return np.array([d.vocal.sum() + d.end.sum() for d in documents])


def vocal_only(words, codes) -> WorldSong:
  """A song of one section; its backing is there, and nothing more."""
  backing = np.full((1, len(codes)), TINY.vocal_codes)
  return WorldSong(
    genre=0,
    labels=np.array([0]),
    words=np.array([words]),
    bounds=np.array([0, len(codes)]),
    vocal=codes[None],
    backing=backing,
    mixture=backing,
  )


@pytest.mark.parametrize(
  ("change", "stream"),
  [
    ({"durations": (2, 3, 4)}, "vocal"),
    ({"vocal_noise": 0.2}, "vocal"),
    ({"chord_durations": (4, 5, 6, 7)}, "backing"),
    ({"backing_noise": 0.2}, "backing"),
  ],
)
def test_any_other_process_is_a_worse_model(change, stream):
  world, songs = draw(WorldConfig(), songs=100)
  other = World(dataclasses.replace(world.cfg, **change))
  true, wrong = floors.cot(world, songs), floors.cot(other, songs)
  worse = {
    name: sum(getattr(d, name).sum() for d in wrong)
    - sum(getattr(d, name).sum() for d in true)
    for name in ("vocal", "backing")
  }
  for name, difference in worse.items():
    assert difference > 5 if name == stream else abs(difference) < 1e-6


def test_lyrics_are_worth_what_the_world_promises():
  world, songs = draw(WorldConfig(), songs=60)
  unigram = baselines.unigram(
    np.concatenate([song.backing[0] for song in songs]), size=world.cfg.codes
  )
  floor = floors.cot(world, songs)
  blind = baselines.documents(world, songs, backing=unigram)
  frames = sum(song.frames for song in songs)
  for name, least in (("vocal", 0.3), ("backing", 1.0)):
    gap = sum(
      getattr(b, name).sum() - getattr(f, name).sum()
      for b, f in zip(blind, floor, strict=True)
    )
    assert gap / frames > least


def test_impossible_songs_are_refused():
  world, songs = draw(WorldConfig(vocal_noise=0.0), songs=2)
  other = World(dataclasses.replace(world.cfg, seed=1))
  with pytest.raises(ValueError, match="cannot happen in this world"):
    floors.cot(other, songs)
  fewer = World(dataclasses.replace(world.cfg, singers=1, vocal_noise=0.1))
  with pytest.raises(ValueError, match="not a song of this world"):
    floors.cot(fewer, songs)


# -- in context -------------------------------------------------------------


@pytest.mark.parametrize("mode", ["dual", "vocal", "mixture", "backing"])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_icl_weighs_singers_by_the_clip(mode, noise):
  """Each token given the ones before and whose codes the clip holds."""
  cfg = dataclasses.replace(TINY, vocal_noise=noise)
  world, songs = draw(cfg, songs=5)
  references = [Reference(mode, i, song.frames // 2) for i, song in
                enumerate(songs)]  # fmt: skip
  result = floors.icl(world, songs, references=references)
  for song, reference, document in zip(songs, references, result, strict=True):
    clip = range(reference.start, reference.start + reference.length)
    code = {"dual": song.vocal, "vocal": song.vocal}.get(mode, song.mixture)
    shown = [
      f for f in clip if mode != "backing" and code[0, f] < cfg.vocal_codes
    ]
    by_singer = floor_by_singer(world, song)
    for frame in range(song.frames):
      p_before = p_after = 0.0
      for singer, (log_p, place) in enumerate(by_singer):
        clue = np.ones(song.frames + 1)
        for f in shown:
          own = code[0, f] // cfg.singer_codes == singer
          clue[f] = noise / cfg.singers + (1 - noise) * own
        heard = place[frame]
        p_before += np.exp(log_p[:heard].sum()) * clue[frame:].prod()
        p_after += np.exp(log_p[: heard + 1].sum()) * clue[frame + 1 :].prod()
      np.testing.assert_allclose(
        document.vocal[frame], np.log(p_before / p_after), atol=1e-9
      )


def floor_by_singer(world, song):
  """Log p of all vocal tokens and ends in order, and where frames stand."""
  log_p = sections.sung(world, sections.Sections.of(world, [song]))[0]
  lengths = np.diff(song.bounds)
  tokens = np.arange(log_p.shape[-1]) <= lengths[:, None]
  place = np.arange(song.frames) + np.repeat(np.arange(len(lengths)), lengths)
  return [(row[tokens], place) for row in log_p]


def test_icl_counts_what_lies_outside_the_clip():
  world, songs = draw(WorldConfig(), songs=3)
  song = songs[0]
  border = int(song.bounds[1])
  cases = {
    (0, border - 3): [True, True],
    (0, border): [False, True],
    (border - 4, 8): [False, True],
    (border, 4): [False, True],
    (border + 1, song.frames - border - 1): [True, False],
  }
  for (start, length), ends in cases.items():
    reference = Reference("dual", start, length)
    (document,) = floors.icl(world, [song], references=[reference])
    assert document.counted_ends.tolist() == ends
    left_out = np.flatnonzero(~document.counted_frames)
    np.testing.assert_array_equal(left_out, np.arange(start, start + length))
  with pytest.raises(ValueError, match="expected a part of the song"):
    floors.icl(world, [song], references=[Reference("dual", 0, 10_000)])


def test_the_clip_tells_the_singer():
  world, songs = draw(WorldConfig(vocal_noise=0.0), songs=40)
  references = [Reference("vocal", song.frames - 20, 20) for song in songs]
  hinted = floors.icl(world, songs, references=references)
  for with_clip, without in zip(hinted, floors.cot(world, songs), strict=True):
    saved = without.vocal - with_clip.vocal
    np.testing.assert_allclose(saved[0], math.log(world.cfg.singers))
    np.testing.assert_allclose(saved[1:], 0, atol=1e-9)


# -- windows, sums ----------------------------------------------------------


def test_windows_cost_their_noise():
  world, songs = draw(TINY, songs=300)
  cfg = world.cfg
  codes = np.concatenate([song.mixture for song in songs], axis=1)
  result = floors.windows(world, codes)
  assert (result[0] == 0).all()
  hit = cfg.residual_noise / cfg.codes + 1 - cfg.residual_noise
  miss = cfg.residual_noise / cfg.codes
  entropy = -hit * math.log(hit) - (cfg.codes - 1) * miss * math.log(miss)
  np.testing.assert_allclose(result[1:].mean(axis=1), entropy, rtol=0.05)

  frame = np.zeros((cfg.codes, cfg.codebooks, 1), int)
  frame[:, 2, 0] = np.arange(cfg.codes)
  np.testing.assert_allclose(
    np.exp(-floors.windows(world, frame)[:, 2]).sum(), 1
  )

  unigrams = baselines.unigram(codes, size=cfg.codes)
  baseline = baselines.windows(codes, unigrams=unigrams)
  assert (baseline.mean(axis=1) > result.mean(axis=1) + 0.5).all()
  quiet = World(dataclasses.replace(cfg, residual_noise=0.0))
  with pytest.raises(ValueError, match="cannot happen"):
    floors.windows(quiet, codes)


def test_unigram():
  two = baselines.unigram(np.array([[0, 0, 0, 1], [1, 1, 1, 1]]), size=2)
  np.testing.assert_allclose(two[0], [math.log(4 / 3), math.log(4)], atol=0.01)
  np.testing.assert_allclose(np.exp(-two).sum(axis=1), 1)
  assert two[1, 0] < 10  # what was never heard is not impossible
  with pytest.raises(ValueError, match="code 2, expected codes below 2"):
    baselines.unigram(np.array([2]), size=2)


def test_sums_are_divided_once():
  document = nats.DocumentNats(
    text=6.0,
    vocal=np.array([1.0, 2.0]),
    backing=np.array([0.5, 0.5]),
    end=np.array([3.0]),
    counted_frames=np.array([True, False]),
    counted_ends=np.array([True]),
  )
  streams = [Stream.TEXT] * 4 + [Stream.MARK, Stream.RESTATED]
  streams += [Stream.VOCAL, Stream.BACKING]
  streams += [Stream.VOCAL, Stream.BACKING, Stream.MARK]
  totals = document.totals(np.array(streams, np.uint8))
  assert totals == {
    "text": (6.0, 3),
    "restated": (0.0, 1),
    "mark": (3.0, 2),
    "vocal": (1.0, 1),
    "backing": (0.5, 1),
  }
  windows = nats.window_totals(np.array([[[0.0, 0.0], [1.0, 4.0]]]))
  both = nats.per_token(nats.add([totals, totals, windows]))
  assert both == {
    "text": 2.0,
    "restated": 0.0,
    "mark": 1.5,
    "vocal": 1.0,
    "backing": 0.5,
    "codebook_0": 0.0,
    "codebook_1": 2.5,
  }
  assert math.isnan(nats.per_token({"vocal": (0.0, 0)})["vocal"])
  with pytest.raises(ValueError, match="is it another song's"):
    document.totals(np.array(streams[:-3], np.uint8))
