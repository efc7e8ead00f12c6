"""Measures of the paper in miniature, on models that are known beforehand."""

import dataclasses
import itertools

from flax import nnx
import jax
import numpy as np
import pytest

from yue_jax import documents
from yue_jax.data.sources.kinds import KIND_TRACKS
from yue_jax.model import Decoder
from yue_jax.paper import cases, corpora, losses, singing, training
from yue_jax.paper.trained import Trained, world_songs
from yue_jax.sampling.decode import Decoded
from yue_jax.vocab import Stream
from yue_jax.world.config import WorldConfig

SECTIONS, SONGS = 2, 6
CORPUS = cases.Corpus(
  world=WorldConfig(
    words=8,
    syllables=8,
    codebooks=1,
    vocal_noise=0.0,
    masking=(0.7,) * 4,
    words_per_section=3,
  ),
  sections=(SECTIONS,),
  train=3,
  heldout=SONGS,
)
RUN = cases.Run(
  corpus=CORPUS,
  shape=cases.Shape(width=16, layers=1, heads=2),
  phases=(cases.Phase(steps=1, context=160, samples=1, kinds=(("cot", 1.0),)),),
  seed=0,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
  folder = tmp_path_factory.mktemp("corpora") / CORPUS.name
  corpora.make(CORPUS, folder)
  made = Trained(RUN, folder / "none", folder)
  # No test of this file reads a checkpoint.
  vars(made).update(decoder=None, singer=None)
  return made


@pytest.fixture(scope="module")
def songs(trained):
  given = trained.songs(SECTIONS, SONGS)
  world = trained.world(SECTIONS)
  return world, given, trained.encoded(given), world_songs(world, given)


# -- losses -----------------------------------------------------------------


def measured(monkeypatch, trained, measure, pays) -> dict:
  """What a measure says of a model that pays `pays(number, document)`."""

  def token_nats(decoder, made):
    return (pays(n, document) for n, document in enumerate(made))

  monkeypatch.setattr(losses, "token_nats", token_nats)
  return measure(trained)


def exact(vocab, floor, document) -> np.ndarray:
  """The floor, token by token, and much for what does not count."""
  streams, ids = document.streams[1:], document.ids[1:]
  paid = np.full(len(ids), 7.0)
  for track, stream in documents.TRACK_STREAMS.items():
    if hasattr(floor, track):
      paid[streams == stream] = getattr(floor, track)
  ends = np.flatnonzero(ids == vocab.eoa)[-len(floor.end) :]
  paid[ends] = floor.end
  return paid


@pytest.mark.parametrize(
  ("kind", "outside"),
  [
    ("cot", ""),
    ("cot", "dual"),
    ("cot_mixture", ""),
    ("icl_dual", ""),
    ("icl_inst", ""),
  ],
)
def test_a_perfect_model_has_no_gap(monkeypatch, trained, songs, kind, outside):
  world, _, encoded, drawn = songs
  measure = losses.Losses(
    kind=kind, sections=SECTIONS, songs=SONGS, outside=outside
  )
  floors = measure._floors(world, drawn, measure._clips(encoded))

  def pays(number, document):
    return exact(trained.vocab, floors[number], document)

  values = measured(monkeypatch, trained, measure, pays)
  assert abs(values["gap"]) < 1e-9
  for name in (*KIND_TRACKS[kind], "end"):
    assert values[name] == pytest.approx(values[f"{name}_floor"])

  def pays_more(number, document):
    """A nat more for each token of the first track."""
    first = documents.TRACK_STREAMS[KIND_TRACKS[kind][0]]
    return pays(number, document) + (document.streams[1:] == first)

  more = measured(monkeypatch, trained, measure, pays_more)
  assert more["gap"] == pytest.approx(50.0)  # a nat a frame


def test_frames_of_a_clip_do_not_count(monkeypatch, trained, songs):
  world, _, encoded, drawn = songs
  measure = losses.Losses(kind="icl_vocal", sections=SECTIONS, songs=SONGS)
  clips = measure._clips(encoded)
  floors = measure._floors(world, drawn, clips)

  def pays(number, document):
    paid = exact(trained.vocab, floors[number], document)
    sung = np.flatnonzero(document.streams[1:] == Stream.VOCAL)
    clip = clips[number]
    paid[sung[clip.start : clip.start + clip.length]] += 5
    return paid

  assert abs(measured(monkeypatch, trained, measure, pays)["gap"]) < 1e-9


def test_clips_are_the_same_frames_in_every_mode(songs):
  for number, song in enumerate(songs[2]):
    clips = [
      losses.clip_of(song, number, mode)
      for mode in ("dual", "vocal", "mixture")
    ]
    assert len({(clip.start, clip.length) for clip in clips}) == 1
    assert [clip.mode for clip in clips] == ["dual", "vocal", "mixture"]


def test_nats_of_tokens_are_those_of_the_model(trained, songs):
  made = [
    documents.cot(song, trained.vocab, phrases=trained.phrases)
    for song in songs[2][:3]
  ]
  cfg = training.model_config(RUN.shape, trained.vocab)
  with jax.set_mesh(trained.mesh):
    decoder = jax.jit(lambda: Decoder(cfg, rngs=nnx.Rngs(0)))()
    found = list(losses.token_nats(decoder, made))
    for document, paid in zip(made, found, strict=True):
      ids = document.ids[None, :-1]
      ones, at = np.ones_like(ids), np.arange(ids.shape[1])[None]
      logits = np.asarray(decoder(ids, ones, at), np.float64)[0]
      normaliser = np.log(np.exp(logits).sum(axis=1))
      chosen = logits[np.arange(len(logits)), document.ids[1:]]
      np.testing.assert_allclose(paid, normaliser - chosen, atol=1e-4)


# -- singing ----------------------------------------------------------------


def sings(vocab, drawn, track_sections):
  """A decoder loop that sings the songs themselves, section by section."""

  def decode(decoder, rows, rules, *, sampling, seeds):
    del decoder, sampling, seeds
    first = vocab.codebook(0).start
    results = []
    for song, row in zip(drawn, rows, strict=True):
      tokens, entries = [], []
      parts = iter(track_sections(song))
      for entry, token in enumerate(row.tokens):
        new = [token]
        if row.is_sampled[entry]:
          new = [*(next(parts).T.ravel() + first), vocab.eoa]
          assert len(new) <= rules[0].longest
        tokens += new
        entries += [entry] * len(new)
      assert next(parts, None) is None
      results.append(Decoded(np.array(tokens), np.array(entries)))
    return results

  return decode


def by_section(kind):
  """Codes (tracks, frames) of each part that a kind is sung in."""

  def parts(song):
    tracks = np.stack([getattr(song, t)[0] for t in KIND_TRACKS[kind]])
    bounds = song.bounds if kind != "prefix" else (0, song.frames)
    return [tracks[:, a:b] for a, b in itertools.pairwise(bounds)]

  return parts


@pytest.mark.parametrize("kind", ["cot", "prefix", "cot_mixture", "icl_dual"])
def test_who_sings_the_songs_themselves_makes_no_errors(
  monkeypatch, trained, songs, kind
):
  decode = sings(trained.vocab, songs[3], by_section(kind))
  monkeypatch.setattr(singing, "decode", decode)
  measure = singing.Singing(kind=kind, sections=SECTIONS, songs=SONGS)
  values = measure(trained)
  assert values["error"] == values["unreadable"]
  if kind != "cot_mixture":  # masked words cannot be read
    assert values["error"] == 0 and values["good"] == 1
    assert values["by_section"] == [0, 0]
  else:
    assert 0 < values["error"] < 1


def test_errors_are_told_by_section_and_song(songs):
  world, _, _, drawn = songs
  vocals = [song.vocal[0].astype(np.int64) for song in drawn]
  cut = [v[: song.bounds[1]] for v, song in zip(vocals, drawn, strict=True)]
  values = singing.scores(world, drawn, [*cut[:3], *vocals[3:]], good=0.4)
  assert values == {"error": 0.25, "by_section": [0.0, 0.5], "good": 0.5}


def test_a_clip_is_of_the_next_song_and_is_compared_with(
  monkeypatch, trained, songs
):
  _, heldout, _, drawn = songs
  others = [*drawn[1:], drawn[0]]
  measure = singing.Singing(kind="icl_dual", sections=SECTIONS, songs=SONGS)
  clips = measure._clips(trained, heldout, drawn)
  assert [clip.song for clip in clips] == others
  decode = sings(trained.vocab, others, by_section("icl_dual"))
  monkeypatch.setattr(singing, "decode", decode)
  values = measure(trained)
  frames = sum(song.frames for song in drawn)
  assert values["singer"] == 1 and values["error"] > 0.5
  assert values["copied"] == pytest.approx(
    sum(clip.where.length for clip in clips) / frames, abs=0.1
  )
  unheard = dataclasses.replace(measure, kind="cot", unheard="dual")
  assert unheard(trained)["copied"] == values["copied"]


def test_copies_are_stretches_found_in_the_clip():
  vocal, clip = np.array([1, 2, 3, 4]), np.array([9, 2, 3, 9])
  found = singing.copied_frames(vocal, clip, least=2)
  assert found.tolist() == [False, True, True, False]
  assert not singing.copied_frames(vocal, clip, least=3).any()
  assert not singing.copied_frames(vocal[:1], clip, least=2).any()


def test_an_all_of_measures_keeps_their_names_apart():
  class Fixed:
    def __call__(self, trained):
      return {"error": trained}

  both = cases.All((("", Fixed()), ("clip_", Fixed())))
  assert both(3) == {"error": 3, "clip_error": 3}
  with pytest.raises(ValueError, match="use prefixes"):
    cases.All((("", Fixed()), ("", Fixed())))(3)
