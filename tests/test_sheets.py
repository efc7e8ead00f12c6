"""Lyrics and structure: from files to the sections of a manifest row."""

import json

import numpy as np
import pytest

from yue_jax.errors import SongError
from yue_jax.sheets import align, labels, read
from yue_jax.sheets.documents import parts_of_json, segments_of_json
from yue_jax.sheets.labelled import parts_of_text
from yue_jax.sheets.lrc import parts_of_lrc
from yue_jax.sheets.sheet import Line, Part, Segment
from yue_jax.songs import Rules, song_from_tracks

TEXT = "[Intro]\n\n[Verse 1: Ana]\nbatoki meda\n suno\n\n[Refrain] lali\n"
STRUCTURE = (
  Segment("start", 0.0, 0.5),
  Segment("intro", 0.5, 4.0),
  Segment("verse", 4.0, 10.0),
  Segment("inst", 10.0, 12.0),
  Segment("chorus", 12.0, 19.0),
  Segment("end", 19.0, 20.1),  # of 20 s: all-in-one rounds
)
LRC = """[ti:A song]
[offset:+500]
[verse 1]
[00:04.50]batoki meda
[00:07.00]su<00:07.50>no <00:09.50>
[chorus]
[00:12.50][00:16.50]lali
[00:14.50] [00:18.50]lalo
"""


def spans(sections):
  return [(s.label, s.lines, s.start, s.end) for s in sections]


EXPECTED = [
  ("intro", (), 0.5, 4.0),
  ("verse", ("batoki meda", "suno"), 4.0, 10.0),
  ("inst", (), 10.0, 12.0),
  ("chorus", ("lali",), 12.0, 19.0),
]


@pytest.mark.parametrize(
  ("written", "expected"),
  [
    ("Verse 2", "verse"),
    ("VERSE II", "verse"),
    ("verse A", "verse"),
    ("verse2", "verse"),
    ("Verse #3", "verse"),
    ("Chorus: Ana & Bo", "chorus"),
    ("Refrain (x2)", "chorus"),
    ("chorus x2", "chorus"),
    ("Pre Chorus 1", "pre-chorus"),
    ("middle 8", "bridge"),
    ("Instrumental Break", "inst"),
    ("rap", "rap"),
    ("2", "2"),
  ],
)
def test_spellings_of_a_label_are_one(written, expected):
  assert labels.canonical(written) == expected


def test_text_goes_to_segments_in_order():
  found = align.sections(parts_of_text(TEXT), STRUCTURE, 20.0)
  assert spans(found) == EXPECTED


def test_stanzas_without_labels_get_those_of_the_segments():
  parts = parts_of_text("batoki meda\nsuno\n \nlali\n")
  assert spans(align.sections(parts, STRUCTURE, 20.0)) == EXPECTED


def test_parts_that_only_play_need_no_segment():
  text = (
    "[solo]\n[verse]\nbatoki meda\nsuno\n[interlude]\n[chorus]\nlali\n[end]"
  )
  found = align.sections(parts_of_text(text), STRUCTURE, 20.0)
  assert spans(found) == EXPECTED


def test_intro_may_be_sung():
  text = "[intro]\nhey\n[verse]\nbatoki\n[chorus]\nlali"
  found = align.sections(parts_of_text(text), STRUCTURE, 20.0)
  assert found[0].text == "[intro]\nhey\n\n"


def test_lrc_says_when_and_how_often():
  """Times are half a second earlier; the chorus is sung twice."""
  assert parts_of_lrc(LRC) == (
    Part("verse", (Line("batoki meda", 4.0, 6.5), Line("suno", 6.5, 9.0)), 4.0),
    Part("chorus", (Line("lali", 12.0, 14.0), Line("lalo", 14.0)), 12.0),
    Part("chorus", (Line("lali", 16.0, 18.0), Line("lalo", 18.0)), 16.0),
  )
  assert spans(align.sections(parts_of_lrc(LRC), None, 20.0)) == [
    ("verse", ("batoki meda", "suno"), 4.0, 12.0),
    ("chorus", ("lali", "lalo"), 12.0, 16.0),
    ("chorus", ("lali", "lalo"), 16.0, 20.0),
  ]


def test_lrc_with_a_structure_goes_by_time():
  found = align.sections(parts_of_lrc(LRC), STRUCTURE, 20.0)
  assert spans(found)[3][1] == ("lali", "lalo", "lali", "lalo")
  assert [s.label for s in found] == ["intro", "verse", "inst", "chorus"]


def test_a_line_belongs_where_most_of_it_is():
  """It begins 0.2 s before its verse does, in the intro."""
  lrc = "[00:03.80]batoki\n[00:06.00]\n[00:13]lali\n"
  found = align.sections(parts_of_lrc(lrc), STRUCTURE, 20.0)
  assert [s.lines for s in found] == [(), ("batoki",), (), ("lali",)]


def test_a_line_that_is_repeated_inside_a_part_does_not_divide_it():
  lrc = "[verse]\n[00:10][00:20]la\n[00:15]so\n[00:25]ti\n[00:30]\n"
  (part,) = parts_of_lrc(lrc)
  assert [line.text for line in part.lines] == ["la", "so", "la", "ti"]
  assert (part.start, part.end) == (10, 30)


def test_label_with_a_time_begins_there():
  (part,) = parts_of_lrc("[00:09.00][verse 1]\n[00:10.00]la\n")
  assert (part.label, part.start) == ("verse", 9.0)


def test_lyrics_in_json():
  lyrics = {
    "sections": [
      {"label": "Verse 1", "lines": ["la", " ", "so"]},
      {
        "label": "chorus",
        "start": 3,
        "end": 9.5,
        "lines": [{"text": "ti", "start": 4.0}],
      },
    ]
  }
  assert parts_of_json(json.dumps(lyrics)) == (
    Part("verse", (Line("la"), Line("so"))),
    Part("chorus", (Line("ti", 4.0),), 3.0, 9.5),
  )
  heard = {
    "language": "en",
    "segments": [{"id": 0, "start": 4.5, "end": 6.0, "text": " la  so\n"}],
  }
  assert parts_of_json(json.dumps(heard)) == (
    Part("", (Line("la so", 4.5, 6.0),)),
  )


def test_files_are_read_by_their_names(tmp_path):
  (tmp_path / "a.txt").write_text("\ufeff" + TEXT)
  (tmp_path / "b.LRC").write_text(LRC)
  segments = [vars(segment) for segment in STRUCTURE]
  structure = {"bpm": 120, "beats": [0.5], "segments": segments}
  (tmp_path / "c.json").write_text(json.dumps(structure))
  assert read.read_lyrics(tmp_path / "a.txt") == parts_of_text(TEXT)
  assert read.read_lyrics(tmp_path / "b.LRC") == parts_of_lrc(LRC)
  assert read.read_structure(tmp_path / "c.json") == STRUCTURE


def test_sections_make_a_song():
  """The entries are a manifest's: the pipeline reads them back whole."""
  found = align.sections(parts_of_text(TEXT), STRUCTURE, 20.0)
  row = {
    "id": "a",
    "genres": "pop",
    "audio_length_in_sec": 20.0,
    "splitted_lyrics": {"segmented_lyrics": align.segmented_lyrics(found, 998)},
  }
  codes = np.zeros((8, 998), np.uint16)
  tracks = dict.fromkeys(("vocal", "backing", "mixture"), codes)
  song = song_from_tracks(row, tracks, rules=Rules())
  assert not song.dropped
  assert [(s.start, s.end) for s in song.sections] == [
    (25, 200), (200, 500), (500, 600), (600, 950)
  ]  # fmt: skip
  assert song.sections[0].text == "[intro]\n\n"
  assert song.sections[1].text == "[verse]\nbatoki meda\nsuno\n\n"


def test_frames_end_with_the_codes():
  (section,) = align.sections(
    parts_of_lrc("[verse]\n[00:00]la"), None, seconds=20.0
  )
  (entry,) = align.segmented_lyrics([section], 998)
  assert entry["codec_frame_end"] == 998
  assert entry["duration"] == 998 / 50


@pytest.mark.parametrize(
  ("lyrics", "structure", "reason", "message"),
  [
    ("[verse]\nla\n[verse]\nso\n[chorus]\nti", STRUCTURE, "label_mismatch",
     r"\[verse\] of the lyrics falls to \[chorus\] 12.00..19.00"),
    ("[verse]\nla", STRUCTURE, "section_count", "1 sections with words"),
    ("[verse]\nla\n[chorus]\nti\n[chorus]\nti", STRUCTURE, "section_count",
     "have 3 .* structure 2"),
    ("[verse]\nla\n[solo]\nso\n[chorus]\nti", STRUCTURE, "label_mismatch",
     "solo"),
    ("[verse]\nla\n[chorus]\nti\n[end]\nbye", STRUCTURE, "label_mismatch",
     r"'bye' stands under \[end\]"),
    ("[verse]\nla", None, "no_times", "do not say when"),
    ("[verse]\nla", [Segment("verse", 0, 21)], "outside", "of 20.00 s"),
    ("[verse]\nla", [Segment("verse", 5, 5)], "outside", r"\[verse\] 5.00"),
    ("[verse]\nla", [Segment("verse", 0, 9), Segment("inst", 8, 12)],
     "overlap", "ends, at 9.00"),
    ("[verse]\nla", [Segment("verse", 9, 12), Segment("inst", 0, 9)],
     "overlap", "ends, at 12.00"),
  ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(lyrics, structure, reason, message):
  with pytest.raises(SongError, match=message) as caught:
    align.sections(parts_of_text(lyrics), structure, 20.0)
  assert caught.value.reason == reason


@pytest.mark.parametrize(
  ("lrc", "structure", "reason", "message"),
  [
    ("[chorus]\n[00:05]la\n[00:09]", STRUCTURE, "label_mismatch",
     r"'la' at 5.00 s of \[chorus\] falls to \[verse\]"),
    ("[00:10.10]la\n[00:11.90]", STRUCTURE, "label_mismatch", "inst"),
    ("[00:25]la", STRUCTURE, "outside", "25.00 s of a recording of 20.00"),
    ("[00:15]la", [Segment("verse", 0, 9)], "outside", "in no segment"),
    ("[00:05]la", None, "no_times", "without a label"),
    ("[verse]\n[00:05]la\n[chorus]\n[00:30]so", None, "outside", "30.00"),
  ],
)  # fmt: skip
def test_times_that_do_not_fit_are_refused(lrc, structure, reason, message):
  with pytest.raises(SongError, match=message) as caught:
    align.sections(parts_of_lrc(lrc), structure, 20.0)
  assert caught.value.reason == reason


@pytest.mark.parametrize(
  ("lrc", "message"),
  [
    ("la\n", "line 1: 'la' has no time"),
    ("[00:61.00]la\n", "'la' has no time|no time; expected"),
    ("[00:01:50]la\n", r"\[00:01:50\] is no time"),
    ("[-1:00.0]la\n", "is no time"),
    ("[00:01]la\n[00:01]lb\n", "both at 1.00 s"),
    ("[offset:soon]\n[00:01]la\n", "expected milliseconds"),
    ("[ti:x]\n[verse]\n[00:01]\n", "no line with a time"),
    ("[00:01][]la", "label without a name"),
  ],
)
def test_bad_lrc_is_refused(lrc, message):
  with pytest.raises(SongError, match=message):
    parts_of_lrc(lrc)


@pytest.mark.parametrize(
  ("parse", "text", "message"),
  [
    (parts_of_text, " \n", "lyrics are empty"),
    (parts_of_text, "[00:12.00]la", "call the file .lrc"),
    (parts_of_json, "[]", "no JSON object"),
    (parts_of_json, '{"sections": []}', "at least one object"),
    (parts_of_json, '{"sections": [{"lines": []}]}', "label: expected"),
    (parts_of_json, '{"sections": [{"label": "a", "Lines": []}]}', "unknown"),
    (parts_of_json, "{", "not JSON"),
    (segments_of_json, '{"segments": 3}', "at least one object, got 3"),
    (segments_of_json,
     '{"segments": [{"label": "verse", "start": NaN, "end": 1}]}', "got nan"),
    (segments_of_json,
     '{"segments": [{"label": "verse", "start": -1, "end": 1}]}', "got -1"),
    (segments_of_json,
     '{"segments": [{"label": "verse", "start": true, "end": 1}]}', "got True"),
  ],
)  # fmt: skip
def test_bad_files_are_refused(parse, text, message):
  with pytest.raises(SongError, match=message):
    parse(text)


def test_unreadable_files_are_refused(tmp_path):
  (tmp_path / "a.txt").write_bytes(b"[verse]\nl\xe4")
  (tmp_path / "a.doc").write_text("la")
  for name, reason in (
    ("a.txt", "bad_lyrics"),
    ("a.doc", "bad_lyrics"),
    ("b.txt", "missing_file"),
  ):
    with pytest.raises(SongError, match=name) as caught:
      read.read_lyrics(tmp_path / name)
    assert caught.value.reason == reason


def test_some_lines_with_times_are_refused():
  parts = (Part("verse", (Line("la", 1.0), Line("so"))),)
  with pytest.raises(SongError, match="all or none"):
    align.sections(parts, STRUCTURE, 20.0)
