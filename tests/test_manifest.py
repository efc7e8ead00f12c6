"""Lines of a manifest are rows or say why they are none."""

import json

import pytest

from yue_jax.manifest import read_manifest


def test_manifest_lines_are_numbered_and_bad_ones_marked(tmp_path):
  lines = [
    b'{"id": "a"}', b"", b"{", b"[1]", b"\xff", b"[" * 100_000,
    b'{"id": "b"}',
  ]  # fmt: skip
  path = tmp_path / "songs.jsonl"
  path.write_bytes(b"\n".join(lines))
  found = dict(read_manifest(path))
  assert list(found) == [1, 3, 4, 5, 6, 7]
  assert found[1] == {"id": "a"}
  assert found[7] == {"id": "b"}
  for number in (3, 4, 5, 6):
    assert found[number].reason == "bad_json"


def test_ids_are_not_remembered(tmp_path):
  path = tmp_path / "songs.jsonl"
  path.write_text(json.dumps({"id": 5}) + "\n" + json.dumps({"id": "5"}))
  assert [row for _, row in read_manifest(path)] == [{"id": 5}, {"id": "5"}]


def test_a_missing_manifest_is_an_error(tmp_path):
  with pytest.raises(FileNotFoundError):
    list(read_manifest(tmp_path / "missing.jsonl"))
