"""Jobs: from options or JSON lines to what a song is made of."""

import json
import pathlib

import numpy as np
import pytest

from tests import tiny
from yue_jax.sampling import jobs, song_folder
from yue_jax.sampling.jobs import Job
from yue_jax.sampling.song import SongSection
from yue_jax.tokenizer import train_tokenizer

OUT = pathlib.Path("out")
TEXTS = ("[verse]\nla\n\n", "[chorus]\nli\n\n", "[outro]\nlu\n\n")


def folders(asked):
  return [(str(job.out), job.tags, job.seed) for job in asked]


def test_example_of_combinations():
  a, b = pathlib.Path("x/a.txt"), pathlib.Path("x/b.txt")

  def combine(lyrics, tags, seeds):
    return folders(jobs.combine(lyrics, tags, seeds, OUT, {}))

  assert combine([a], ["pop"], [0]) == [("out", "pop", 0)]
  assert combine([a], ["pop"], [4, 5]) == [
    ("out/4", "pop", 4),
    ("out/5", "pop", 5),
  ]
  assert combine([a, b], ["pop"], [4]) == [
    ("out/a-4", "pop", 4),
    ("out/b-4", "pop", 4),
  ]
  assert combine([a, b], ["pop", "rock"], [4])[1] == ("out/b-4", "rock", 4)
  with pytest.raises(ValueError, match="1 lyrics and 2 tags"):
    combine([a], ["pop", "rock"], [0])
  with pytest.raises(ValueError, match="needs lyrics and tags"):
    combine([], [], [0])
  with pytest.raises(ValueError, match="2 songs would go to out/a-0"):
    jobs.check_folders(
      jobs.combine([a, pathlib.Path("y/a.txt")], ["pop"], [0], OUT, {})
    )


def test_lines_are_jobs(tmp_path):
  (tmp_path / "tags.txt").write_text("slow pop\n")
  rows = [
    {"lyrics": "a.txt", "tags": "tags.txt", "out": "a"},
    {"lyrics": "/b.txt", "tags": "rock", "out": "b", "seed": 9},
  ]
  path = tmp_path / "jobs.jsonl"
  path.write_text("\n\n".join(map(json.dumps, rows)))
  asked = jobs.read_jobs(path, {"out": OUT}, [1, 2])
  tags = str(tmp_path / "tags.txt")
  assert folders(asked) == [
    ("out/a/1", tags, 1),
    ("out/a/2", tags, 2),
    ("out/b", "rock", 9),
  ]
  assert asked[0].lyrics == tmp_path / "a.txt"
  assert asked[2].lyrics == pathlib.Path("/b.txt")


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("{", "line 2: "),
    ("[1]", r"line 2: \[1\] is no JSON object"),
    ('{"lyrics": "a", "tags": "b"}', "needs out"),
    ('{"lyric": "a", "out": "b"}', r"unknown fields \['lyric'\]"),
    ('{"lyrics": 1, "tags": "b", "out": "c"}', "line 2: "),
    ('{"lyrics": "a", "tags": "b", "out": "c", "seed": 1.5}', "seed is 1.5"),
    ('{"lyrics": "a", "tags": "b", "out": "c", "seed": -1}', "seed -1"),
  ],
)
def test_a_line_that_is_no_job_is_named(tmp_path, line, message):
  path = tmp_path / "jobs.jsonl"
  path.write_text(f"\n{line}\n")
  with pytest.raises(ValueError, match=message):
    jobs.read_jobs(path, {"out": OUT}, [0])
  path.write_text("\n")
  with pytest.raises(ValueError, match="no jobs"):
    jobs.read_jobs(path, {"out": OUT}, [0])


@pytest.fixture
def tokenizer(tmp_path):
  return train_tokenizer([*TEXTS, "pop"], tmp_path / "t.model", size=290)


def a_song(folder, sung=3):
  sections = [SongSection(*np.full((2, n + 1), n)) for n in range(sung)]
  description = dict.fromkeys(song_folder._DECIDING)
  description |= {"tags": "pop", "clips": {"start": 0, "frames": None}}
  song_folder.write_sections(folder, description, TEXTS, sections)
  return folder


def lengths(sections):
  return [len(section.vocal) for section in sections]


def test_what_is_kept_of_a_song(tmp_path, tokenizer):
  made_of = {"tokenizer": tokenizer, "vocab": tiny.VOCAB}
  source = a_song(tmp_path / "source")

  def opened(**changes):
    job = Job(out=OUT, continue_from=source, **changes)
    return jobs.open_job(job, **made_of)

  on = opened(section=2)
  assert lengths(on.begun.given) == [1]
  assert lengths(on.later) == []
  assert on.texts == TEXTS
  assert len(on.prompt.sections) == 3
  one = opened(section=2, only=True)
  assert lengths(one.begun.given) == [1]
  assert lengths(one.later) == [3]
  assert len(one.prompt.sections) == 2
  # The lyrics of all sections are in the head, sung or not.
  np.testing.assert_array_equal(one.prompt.head, on.prompt.head)
  assert on.description["given"] != one.description["given"]
  for changes, message in [
    ({"section": 0}, "section 0 cannot"),
    ({"section": 4}, "section 4 cannot"),
    ({"section": 2, "tags": " "}, "tags are empty"),
  ]:
    with pytest.raises(ValueError, match=message):
      opened(**changes)
  (tmp_path / "new.txt").write_text("[verse]\nlo\n[chorus]\nli\n")
  with pytest.raises(ValueError, match=r"section 1 of .* was sung to .*la"):
    opened(section=2, lyrics=tmp_path / "new.txt")
  assert lengths(opened(section=1, lyrics=tmp_path / "new.txt").known) == []
  with pytest.raises(ValueError, match=r"holds no song to continue"):
    jobs.open_job(
      Job(out=OUT, continue_from=tmp_path / "no", section=1), **made_of
    )


def test_one_section_of_an_unfinished_song_cannot_be_the_only_one(
  tmp_path, tokenizer
):
  source = a_song(tmp_path / "source", sung=2)
  job = Job(out=OUT, continue_from=source, section=2, only=True)
  with pytest.raises(ValueError, match="has 2 of 3 sections"):
    jobs.open_job(job, tokenizer=tokenizer, vocab=tiny.VOCAB)
