"""Documents hold what their pictures say; lengths are known beforehand."""

import numpy as np
import pytest

from yue_jax import documents, lengths
from yue_jax.encoding import EncodedSection, EncodedSong, Phrases
from yue_jax.references import MODE_TRACKS, Reference
from yue_jax.vocab import RELEASED, Stream, Vocab

SMALL = Vocab.small(10, codes=4, codebooks=2)
PHRASES = Phrases((5,), (6,), (7,), (8,), (9,), (9, 9))
T, S, M, R, V, B, X = (
  Stream.TEXT,
  Stream.RESTATED,
  Stream.MARK,
  Stream.REFERENCE,
  Stream.VOCAL,
  Stream.BACKING,
  Stream.MIXTURE,
)


def ids(*values):
  return np.array(values, np.int32)


def codes(*values):
  return np.array(values, np.uint16)


EXAMPLE = EncodedSong(
  id="example",
  head=ids(1, 2),
  tags=(ids(1), ids(2, 4)),
  sections=(EncodedSection(ids(3), ids(4, 3), 0, 2, False),),
  tracks={
    "vocal": codes(0, 1),
    "backing": codes(3, 2),
    "mixture": codes(2, 2),
  },
)


EXAMPLE_SECTION = [5, 3, 11, 26, 32, 35, 33, 34, 12, 6]
EXAMPLE_STREAMS = [M, S, M, M, V, B, V, B, M, M]


def random_song(rng, number=0):
  sections, start = [], 0
  for _ in range(rng.integers(1, 5)):
    start += int(rng.integers(0, 5))
    end = start + int(rng.integers(1, 60))
    text, plain = (rng.integers(0, 9, rng.integers(0, 20)) for _ in "tp")
    sections.append(
      EncodedSection(
        text.astype(np.int32), plain.astype(np.int32), start, end, False
      )
    )
    start = end
  tracks = {
    name: rng.integers(0, 4, start).astype(np.uint16)
    for name in ("vocal", "backing", "mixture")
  }
  head = rng.integers(0, 9, rng.integers(1, 20)).astype(np.int32)
  tags = tuple(
    rng.integers(0, 9, rng.integers(1, 4)).astype(np.int32) for _ in range(3)
  )
  return EncodedSong(str(number), head, tags, tuple(sections), tracks)


@pytest.fixture(scope="module")
def songs():
  rng = np.random.default_rng(0)
  return [random_song(rng, number) for number in range(50)]


def dual_documents(song):
  """With sound of the vocal and the backing track besides clips."""
  yield documents.plain(song, SMALL)
  yield documents.prefix(song, SMALL)
  yield documents.unconditional(song, SMALL, tracks=documents.DUAL)
  yield documents.tagged(
    song, SMALL, phrase=(9, 9), order=[2, 0, 1], tracks=documents.DUAL
  )
  yield documents.cot(song, SMALL, phrases=PHRASES)
  for mode in MODE_TRACKS:
    reference = Reference(mode, song.sections[0].start, 1)
    yield documents.icl(song, SMALL, phrases=PHRASES, reference=reference)


def check(document, expected_ids, expected_streams):
  np.testing.assert_array_equal(document.ids, expected_ids)
  np.testing.assert_array_equal(document.streams, expected_streams)
  assert document.ids.dtype == np.int32
  assert document.streams.dtype == np.uint8


def test_plain_example():
  check(
    documents.plain(EXAMPLE, SMALL),
    [4, 3, 11, 26, 32, 35, 33, 34, 12, 10],
    [T, T, M, M, V, B, V, B, M, M],
  )


def test_cot_example():
  check(
    documents.cot(EXAMPLE, SMALL, phrases=PHRASES),
    [1, 2, *EXAMPLE_SECTION, 10],
    [T, T, *EXAMPLE_STREAMS, M],
  )


def test_cot_mixture_example():
  check(
    documents.cot(EXAMPLE, SMALL, phrases=PHRASES, tracks=["mixture"]),
    [1, 2, 5, 3, 11, 26, 34, 34, 12, 6, 10],
    [T, T, M, S, M, M, X, X, M, M, M],
  )


def test_prefix_example():
  check(
    documents.prefix(EXAMPLE, SMALL),
    [1, 2, 11, 26, 32, 35, 33, 34, 12, 10],
    [T, T, M, M, V, B, V, B, M, M],
  )


def test_prefix_has_the_sound_between_sections(songs):
  for song in songs:
    document = documents.prefix(song, SMALL)
    start, end = song.sections[0].start, song.sections[-1].end
    expected = song.tracks["vocal"][start:end] + SMALL.codebook(0).start
    np.testing.assert_array_equal(document.ids[document.streams == V], expected)


@pytest.mark.parametrize(
  ("tracks", "sound", "streams"),
  [
    (documents.DUAL, [32, 35, 33, 34], [V, B, V, B]),
    (("mixture",), [34, 34], [X, X]),
    (("vocal",), [32, 33], [V, V]),
    (("backing",), [35, 34], [B, B]),
  ],
)
def test_examples_without_lyrics(tracks, sound, streams):
  check(
    documents.unconditional(EXAMPLE, SMALL, tracks=tracks),
    [11, 26, *sound, 12, 10],
    [M, M, *streams, M, M],
  )
  check(
    documents.tagged(EXAMPLE, SMALL, phrase=(9,), order=[1, 0], tracks=tracks),
    [9, 2, 4, 1, 11, 26, *sound, 12, 10],
    [T, T, T, T, M, M, *streams, M, M],
  )


@pytest.mark.parametrize(("instructed", "text"), [(True, [4, 3]), (False, [3])])
def test_speech_examples(instructed, text):
  check(
    documents.speech(EXAMPLE, SMALL, instructed=instructed),
    [*text, 11, 26, 34, 34, 12],
    [*[T for _ in text], M, M, X, X, M],
  )


def test_sections_of_a_song_make_up_the_whole(songs):
  """Each part restates the head and the clip; EOD is in the last alone."""
  reference = Reference("vocal", 0, 1)
  builders = [
    (documents.plain, {}),
    (documents.cot, {"phrases": PHRASES}),
    (documents.cot, {"phrases": PHRASES, "tracks": ("mixture",)}),
    (documents.icl, {"phrases": PHRASES, "reference": reference}),
  ]
  for song in songs:
    count = len(song.sections)
    middle = count // 2
    for build, options in builders:
      head = len(build(song, SMALL, **options, sections=(0, 0)))
      first = build(song, SMALL, **options, sections=(0, middle)).ids
      rest = build(song, SMALL, **options, sections=(middle, count)).ids
      whole = build(song, SMALL, **options).ids
      np.testing.assert_array_equal(first[:head], rest[:head])
      np.testing.assert_array_equal(whole, np.append(first, rest[head:]))
      assert SMALL.eod not in first


def test_special_tokens_in_the_head_are_marks():
  song = EXAMPLE._replace(head=ids(1, SMALL.soa, 2))
  check(
    documents.cot(song, SMALL, phrases=PHRASES),
    [1, 11, 2, *EXAMPLE_SECTION, 10],
    [T, M, T, *EXAMPLE_STREAMS, M],
  )


@pytest.mark.parametrize(
  ("mode", "start", "length", "clip"),
  [
    ("vocal", 1, 1, [33]),
    ("backing", 0, 2, [35, 34]),
    ("mixture", 0, 1, [34]),
    ("dual", 0, 2, [32, 35, 33, 34]),
  ],
)
def test_icl_examples(mode, start, length, clip):
  reference = Reference(mode, start, length)
  check(
    documents.icl(EXAMPLE, SMALL, phrases=PHRASES, reference=reference),
    [1, 2, 7, 11, 26, *clip, 12, 8, *EXAMPLE_SECTION, 10],
    [T, T, M, M, M, *[R for _ in clip], M, M, *EXAMPLE_STREAMS, M],
  )


def test_window_examples():
  track = codes([0, 1], [2, 3])
  c0, c1, m = Stream.CODEBOOK_0, Stream.CODEBOOK_1, Stream.MIXTURE
  one_ids = [11, 23, 32, 33, 27, 32, 38, 33, 39, 12]
  one_streams = [M, M, m, m, M, c0, c1, c0, c1, M]
  one = documents.window_document(track, SMALL, stream=m)
  check(one, one_ids, one_streams)
  twice = np.concatenate([track, track, track[:, :1]], axis=1)
  check(
    documents.windows_teacher_forcing(twice, SMALL, stream=m, window=2),
    [*one_ids, *one_ids, 10],
    [*one_streams, *one_streams, M],
  )
  check(
    documents.windows(track, SMALL, stream=V, window=2),
    [11, 23, 32, 33, 27, 38, 39, 12, 10],
    [M, M, V, V, M, c1, c1, M, M],
  )


@pytest.mark.parametrize("distinct", [24, 25])
def test_monotonous_windows_are_skipped(distinct):
  rng = np.random.default_rng(0)
  track = rng.integers(0, 1024, (8, 900))
  track[0, 300:600] = np.arange(300) % distinct
  kept = [0, 300, 600] if distinct == 25 else [0, 600]
  assert documents.varied_windows(track, 300).tolist() == kept
  document = documents.windows_teacher_forcing(
    track, RELEASED, stream=Stream.MIXTURE
  )
  assert len(document) == len(kept) * lengths.window(300) + 1


def test_no_window_no_document():
  for track in (np.arange(3)[None], np.zeros((2, 50), int)):
    document = documents.windows(
      track, Vocab.small(9), stream=Stream.VOCAL, window=25
    )
    assert len(document) == 0
    assert document.ids.dtype == np.int32
    assert document.streams.dtype == np.uint8
  with pytest.raises(ValueError, match="window=0"):
    documents.varied_windows(np.zeros((2, 50), int), 0)


def test_streams_partition_the_ids(songs):
  """A token's stream says in which range of the vocabulary its id lies."""
  marks = [*SMALL.specials, 5, 6, 7, 8]  # special tokens and phrases
  for song in songs:
    for document in dual_documents(song):
      streams = document.streams
      for text in (T, S):
        assert set(document.ids[streams == text]) <= set(SMALL.text)
      assert set(document.ids[streams == M]) <= set(marks)
      for sound in (R, V, B):
        assert set(document.ids[streams == sound]) <= set(SMALL.codebook(0))
      assert set(streams) <= {T, S, M, R, V, B}
      assert (streams == V).sum() == (streams == B).sum() > 0
      assert document.ids[-1] == SMALL.eod
      assert (document.ids == SMALL.eod).sum() == 1


def test_streams_of_windows_name_codebook_and_track():
  track = np.random.default_rng(0).integers(0, 1024, (8, 700))
  document = documents.windows_teacher_forcing(
    track, RELEASED, stream=Stream.VOCAL
  )
  for k in range(8):
    chosen = document.ids[document.streams == Stream.CODEBOOK_0 + k]
    np.testing.assert_array_equal(
      chosen, track[k, :600] + RELEASED.codebook(k).start
    )
  prefix = document.ids[document.streams == Stream.VOCAL]
  np.testing.assert_array_equal(
    prefix, track[0, :600] + RELEASED.codebook(0).start
  )


def test_frames_outside_the_song_are_refused():
  for start, length in ((0, 3), (2, 1), (-1, 1), (0, 0)):
    reference = Reference("vocal", start, length)
    with pytest.raises(ValueError, match="song example: frames"):
      documents.icl(EXAMPLE, SMALL, phrases=PHRASES, reference=reference)
