"""Words of five languages, and their error rates against plain loops."""

import json

import numpy as np
import pytest

from yue_jax.evaluation.lyric_errors import (
  Errors,
  character_errors,
  errors_of,
  errors_over_time,
  word_errors,
)
from yue_jax.evaluation.normalise import characters, words
from yue_jax.evaluation.transcripts import (
  Heard,
  LyricSection,
  match,
  read_heard,
)
from yue_jax.world.lyrics import edits  # another implementation


@pytest.mark.parametrize(
  ("language", "text", "expected"),
  [
    ("en", "[verse]\nDon’t stop,\nＡＢＣ!", "dont stop abc"),
    (
      "en",
      "Rock-'n'-roll -- café\u0301 Straße",
      "rock n roll café\u0301 strasse",
    ),
    ("yue", "我愛 rock’n’roll。", "我 愛 rocknroll"),
    ("zh", "[chorus]\n你好，世界！２０２５", "你 好 世 界 2025"),
    ("ja", "あいﾗﾌﾞ！「君を・待つ」ー人々", "あ い ラ ブ 君 を 待 つ ー 人 々"),
    ("ko", "사랑해 너를~", "사 랑 해 너 를"),
    ("ko", "\u1112\u1161\u11ab글", "한 글"),  # jamo, composed
    ("en", "  \n[outro]\n ♪ ", ""),
  ],
)
def test_words(language, text, expected):
  assert words(text, language) == expected.split()
  assert characters(text, language) == list(expected.replace(" ", ""))


def test_an_unknown_language_is_refused():
  with pytest.raises(ValueError, match="'fr' is not one of"):
    words("la la", "fr")


def _song(*pairs, name="0", language="en", times=None):
  sections = [
    LyricSection(label, text, *(times[n] if times else ()))
    for n, (label, text, _) in enumerate(pairs)
  ]
  return Heard(name, language, tuple(sections), tuple(h for *_, h in pairs))


def test_the_example():
  found = errors_of(["we", "all", "sing", "along"], ["we", "too", "sing"])
  assert found == Errors(4, substitutions=1, deletions=1)
  assert errors_of([], ["a", "b"]) == Errors(insertions=2)
  assert errors_of(["a", "b"], []) == Errors(2, deletions=2)


def test_edits_are_those_of_another_implementation():
  rng = np.random.default_rng(0)
  for _ in range(100):
    true, heard = (
      [str(w) for w in rng.integers(4, size=rng.integers(1, 12))]
      for _ in range(2)
    )
    assert errors_of(true, heard).edits == edits(true, heard)


def test_rates_are_edits_by_words():
  songs = [
    _song(("verse", "a b c d", "a b x d"), ("chorus", "e f", "e f"), name="0"),
    _song(("verse", "a b", "a b c"), ("chorus", "g h", ""), name="1"),
  ]
  found = word_errors(songs)
  assert found.all.value == (1 + 0 + 1 + 2) / 10
  assert found.by_label["verse"].value == 2 / 6
  assert found.by_label["chorus"].value == 2 / 4
  assert [e.value for e in found.by_number] == [2 / 6, 2 / 4]
  assert found.songs["1"] == Errors(4, 0, 2, 1)
  spelled = character_errors(
    [_song(("verse", "abc", "abd"), name=n) for n in "01"]
  )
  assert spelled.all.value == pytest.approx(1 / 3)


def test_words_where_none_are_written_count_as_insertions():
  songs = [
    _song(("verse", "a b", "a b"), ("intro", "", "la la"), name=n) for n in "01"
  ]
  found = word_errors(songs)
  assert found.all.value == 1.0
  assert set(found.by_label) == {"verse"}  # an intro has no rate


def test_errors_have_times():
  """Right at first, wrong in the second half of the second section."""
  songs = [
    _song(
      ("verse", "a b c d", "a b c d"),
      ("chorus", "e f g h", "e f x"),
      name=n,
      times=[(0, 20), (20, 40)],
    )
    for n in "01"
  ]
  rates = errors_over_time(songs, [0, 10, 20, 30, 40, 50])
  assert [r and r.value for r in rates] == [0, 0, 0, 1, None]
  whole = errors_over_time(songs, [0, 40])[0]
  assert whole.value == word_errors(songs).all.value


def test_insertions_are_where_the_next_word_is():
  songs = [
    _song(("verse", "a b", "x a b y y"), name=n, times=[(0, 20)]) for n in "01"
  ]
  rates = errors_over_time(songs, [0, 10, 20, 30])
  assert [r and r.value for r in rates] == [1.0, 0.0, None]
  assert errors_over_time(songs, [0, 10, 21])[1].value == 2.0


def test_times_are_needed_for_rates_in_time():
  with pytest.raises(ValueError, match="no times"):
    errors_over_time([_song(("verse", "a", "a"))], [0, 30])
  with pytest.raises(ValueError, match="increasing"):
    errors_over_time([], [0, 0])


def test_songs_without_words_have_no_rate():
  with pytest.raises(ValueError, match="no error rate"):
    word_errors([_song(("intro", "", "a"))])


def _rows(*names, labels=("verse", "chorus")):
  return {
    n: {
      "id": n,
      "language": "en",
      "sections": [
        {"label": label, "text": f"{n} {label}"} for label in labels
      ],
    }
    for n in names
  }


def test_songs_are_matched_by_name(tmp_path):
  for name, order in (("lyrics", "abc"), ("transcripts", "cab")):
    lines = [json.dumps(row) for row in _rows(*order).values()]
    (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
  songs = read_heard(tmp_path / "lyrics.jsonl", tmp_path / "transcripts.jsonl")
  assert [s.id for s in songs] == ["a", "b", "c"]
  assert word_errors(songs).all.value == 0


@pytest.mark.parametrize(
  ("heard", "message"),
  [
    (_rows("a"), r"1 without a partner \['b'\]"),
    (_rows("a", "b", "c"), r"nobody asked for \['c'\]"),
    (_rows("a", "b", labels=("chorus", "verse")), "in the same order"),
    (_rows("a", "b", labels=("verse",)), "in the same order"),
    ({"a": {"id": "a"}, "b": {"id": "b"}}, "no row as expected"),
    (
      {n: {"sections": [{"label": "verse", "text": None}]} for n in "ab"},
      "string",
    ),
  ],
)
def test_transcripts_that_do_not_fit_are_refused(heard, message):
  with pytest.raises(ValueError, match=message):
    match(_rows("a", "b"), heard, of="x")


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "no songs"),
    ('{"text": "who?"}\n', "line 1"),
    ('{"id": "a"}\n{"id": "a"}\n', "twice"),
    ("la la la\n", "line 1"),
  ],
)
def test_files_without_names_are_refused(tmp_path, text, message):
  path = tmp_path / "t.jsonl"
  path.write_text(text)
  with pytest.raises(ValueError, match=message):
    read_heard(path, path)
