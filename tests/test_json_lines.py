"""Records outlive kills on disks, and are there at checkpoints in buckets."""

import pytest

from yue_jax import json_lines
from yue_jax.json_lines import JsonLines, in_bucket, read_lines


@pytest.mark.parametrize(
  ("path", "expected"),
  [("gs://b/x", True), ("/gs/x", False), ("runs/x", False), ("", False)],
)
def test_what_is_a_bucket(path, expected):
  assert in_bucket(path) is expected


@pytest.fixture(params=["disk", "bucket"])
def place(request, monkeypatch) -> str:
  """A bucket is any place where files cannot be appended to."""
  if request.param == "bucket":
    monkeypatch.setattr(json_lines, "in_bucket", lambda _: True)
  return request.param


def test_records_are_kept_dropped_and_added(tmp_path, place):
  path = tmp_path / "x.jsonl"
  for first in (0, 2):
    file = JsonLines(path, keep=lambda r: r["n"] < 2)
    for n in range(first, first + 3):
      file.write({"n": n})
    file.close()
  assert [r["n"] for r in read_lines(path)] == [0, 1, 2, 3, 4]


def test_when_records_are_there(tmp_path, place):
  file = JsonLines(tmp_path / "x.jsonl", keep=bool)
  file.write({"n": 1})
  assert len(read_lines(tmp_path / "x.jsonl")) == (place == "disk")
  file.flush()
  assert len(read_lines(tmp_path / "x.jsonl")) == 1


def test_a_line_that_was_cut_off_is_no_record(tmp_path):
  (tmp_path / "x.jsonl").write_text('{"n": 1}\n{"n": 2')
  assert read_lines(tmp_path / "x.jsonl") == [{"n": 1}]


@pytest.mark.parametrize("line", ['{"n": 2{"n": 3}', "[1]"])
def test_a_line_that_is_no_record_is_named(tmp_path, line):
  (tmp_path / "x.jsonl").write_text(f'{{"n": 1}}\n{line}\n{{"n": 4}}\n')
  with pytest.raises(ValueError, match=r"x\.jsonl, line 2"):
    read_lines(tmp_path / "x.jsonl")
