"""However preparing is interrupted or divided, the result is the same."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.songs_on_disk import (
  small_recipe,
  small_tokenizer,
  write_manifest,
  write_song,
  write_songs,
)
from yue_jax.data.dataset import open_dataset
from yue_jax.data.preparing import parts
from yue_jax.data.preparing import prepare as prepare_module
from yue_jax.data.preparing.prepare import open_run, prepare, prepare_shard


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """A folder with a manifest of 14 rows, three of them no songs."""
  root = tmp_path_factory.mktemp("source")
  tokenizer = small_tokenizer(root / "tokenizer.model")
  rows = [write_song(root, f"s{i}", seed=i, codes=64) for i in range(12)]
  rows[8]["splitted_lyrics"] = {}  # gives windows only
  rows.insert(5, rows[1])
  rows.insert(9, "{")
  write_manifest(root, rows)
  return root, small_recipe(tokenizer, codes=64)


@pytest.fixture(scope="module")
def whole(source):
  """The contents of what is written without any interruption."""
  run(source, source[0] / "whole")
  return contents(source[0] / "whole")


def run(source, out, function=prepare, **changes):
  root, recipe = source
  options = {"recipe": recipe, "songs_per_shard": 3} | changes
  return function(root / "songs.jsonl", out, **options)


def contents(directory) -> dict[str, bytes]:
  files = (path for path in directory.rglob("*") if path.is_file())
  return {str(p.relative_to(directory)): p.read_bytes() for p in files}


@pytest.mark.parametrize("written", range(6))
def test_an_interrupted_run_is_continued(
  source, whole, tmp_path, monkeypatch, written
):
  out, work = tmp_path / "out", tmp_path / "out.parts"
  count = []

  def interrupted(task: parts.PartTask) -> parts.Part:
    if len(count) == written:
      raise KeyboardInterrupt
    count.append(task.chunk.number)
    return parts.write_part(task)

  with monkeypatch.context() as patch:
    patch.setattr(prepare_module, "write_part", interrupted)
    if written < 5:
      with pytest.raises(KeyboardInterrupt):
        run(source, out)
      assert not out.exists()
      assert len(list(work.glob("part-*"))) == written
  seen = []

  def watched(task: parts.PartTask) -> parts.Part:
    seen.append(task.chunk.number)
    return parts.write_part(task)

  monkeypatch.setattr(prepare_module, "write_part", watched)
  run(source, out)
  assert seen == list(range(written if written < 5 else 0, 5))
  assert contents(out) == whole
  assert [path.name for path in tmp_path.iterdir()] == ["out"]


SCRIPT = """
import pathlib, sys
from tests.songs_on_disk import Tokenizer, small_recipe
from yue_jax.data.preparing.prepare import prepare
root = pathlib.Path(sys.argv[1])
recipe = small_recipe(Tokenizer(root / "tokenizer.model"), codes=64)
print("ready", flush=True)
prepare(root / "songs.jsonl", sys.argv[2], recipe=recipe, songs_per_shard=3)
"""


def test_kill_9_at_any_moment(source, whole, tmp_path):
  """Killed again and again, a little later each time, until it is done."""
  out, kills = tmp_path / "out", 0
  command = [sys.executable, "-c", SCRIPT, str(source[0]), str(out)]
  for attempt in range(40):
    with subprocess.Popen(
      command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
      assert process.stdout.readline() == b"ready\n"
      time.sleep(0.002 * attempt)
      process.send_signal(signal.SIGKILL)
      kills += process.wait() == -signal.SIGKILL
    if out.exists():
      break
    if attempt == 12:
      run(source, out)
      break
  assert kills
  assert contents(out) == whole


@pytest.mark.parametrize(
  "name", ["write_rejected", "write_index", "describe", "checksum"]
)
def test_a_killed_join_is_begun_again(
  source, whole, tmp_path, monkeypatch, name
):
  from yue_jax.data.preparing import join

  def killed(*_, **__):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(join, name, killed)
    with pytest.raises(KeyboardInterrupt):
      run(source, tmp_path / "out")
  assert not (tmp_path / "out").exists()
  run(source, tmp_path / "out")
  assert contents(tmp_path / "out") == whole


def test_machines_divide_the_work(source, whole, tmp_path):
  out = tmp_path / "out"
  seen = [run(source, out, prepare_shard, shard=(i, 3)) for i in (2, 0, 2, 1)]
  assert seen == [(1, 5), (3, 5), (3, 5), (5, 5)]
  assert not out.exists()
  run(source, out)
  assert contents(out) == whole


def test_what_others_have_not_done_is_done_at_the_join(source, whole, tmp_path):
  run(source, tmp_path / "out", prepare_shard, shard=(1, 2))
  run(source, tmp_path / "out")
  assert contents(tmp_path / "out") == whole


def test_two_may_write_one_part(source, tmp_path):
  root, recipe = source
  at_work = open_run(
    root / "songs.jsonl", tmp_path / "out", recipe=recipe, songs_per_shard=3
  )
  task = at_work.tasks(at_work.chunks)[0]
  first = parts.write_part(task)
  assert parts.write_part(task) == first


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_a_shard_is_one_of_them(source, tmp_path, shard):
  with pytest.raises(ValueError, match="expected"):
    run(source, tmp_path / "out", prepare_shard, shard=shard)


@pytest.fixture
def begun(source, tmp_path):
  """An `out` of which every other part has been written."""
  run(source, tmp_path / "out", prepare_shard, shard=(0, 2))
  return tmp_path / "out"


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"songs_per_shard": 4}, "songs_per_shard was 3, is 4"),
    ({"shard_mib": 1}, "shard_mib was 256, is 1"),
    ({"window": 9}, "recipe.window was 10, is 9"),
    ({"content": "music"}, "recipe.content was songs, is music"),
  ],
)
def test_other_settings_are_named(source, begun, changes, message):
  names = {"window", "content"} & set(changes)
  recipe = {n: changes.pop(n) for n in names}
  if recipe:
    changes["recipe"] = small_recipe(source[1].tokenizer, codes=64, **recipe)
  with pytest.raises(ValueError, match=f"other settings: {message}; start wi"):
    run(source, begun, **changes)


def test_another_manifest_is_named(source, begun, tmp_path):
  write_songs(tmp_path, 2)
  with pytest.raises(ValueError, match="other settings: manifests was"):
    run((tmp_path, source[1]), begun)


def test_a_changed_manifest_is_named(tmp_path, source):
  rows = [write_song(tmp_path, f"s{i}", seed=i) for i in range(6)]
  manifest = write_manifest(tmp_path, rows)
  own = tmp_path, source[1]
  run(own, tmp_path / "out", prepare_shard, shard=(1, 2))
  text = manifest.read_text()
  manifest.write_text(text.replace('"s4"', '"t4"'))
  with pytest.raises(ValueError, match="from line 4 on has changed since"):
    run(own, tmp_path / "out")
  manifest.write_text(text.replace('"s0"', '"t0"'))
  run(own, tmp_path / "out")
  assert open_dataset(tmp_path / "out").info["songs"] == 6


def test_a_manifest_that_changes_while_it_is_read(tmp_path, source):
  manifest = write_songs(tmp_path, 3)
  at_work = open_run(manifest, tmp_path / "out", recipe=source[1])
  manifest.write_text(manifest.read_text().replace('"s0"', '"t0"'))
  with pytest.raises(ValueError, match="has changed since it was first read"):
    parts.write_part(at_work.tasks(at_work.chunks)[0])
  assert not list((tmp_path / "out.parts").glob("*part-*"))


@pytest.mark.parametrize(
  "name",
  ["part.json", "columns.npz", "rejected.jsonl", "songs.array_record"],
)
def test_a_damaged_part_is_named(source, begun, name):
  path = begun.with_name("out.parts") / "part-00000002" / name
  path.write_bytes(path.read_bytes()[:-1] + b"")
  with path.open("ab") as file:
    file.write(b"xy")
  with pytest.raises(ValueError, match=r"part-00000002 is damaged .*remove it"):
    run(source, begun)


def test_parts_of_other_settings_are_never_joined(source, begun):
  """Though the settings themselves were lost."""
  settings = begun.with_name("out.parts") / "settings.json"
  settings.unlink()
  other = small_recipe(source[1].tokenizer, codes=64, window=9)
  with pytest.raises(ValueError, match="was written with other settings"):
    run(source, begun, recipe=other)


def test_several_manifests_are_as_one(tmp_path, source):
  rows = [write_song(tmp_path, f"s{i}", seed=i) for i in range(8)]
  rows[6]["id"] = "s1"
  rows[7]["codec"] = "no.npy"
  lines = [json.dumps(row) + "\n" for row in rows]
  (tmp_path / "a.jsonl").write_text("".join(lines[:3]))
  with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
    file.write("\n" + "".join(lines[3:5]))
  (tmp_path / "c.jsonl").write_text("".join(lines[5:]))
  write_manifest(tmp_path, rows)
  names = [tmp_path / "a.jsonl", str(tmp_path / "[bc].jsonl*")]
  options = {"recipe": source[1], "songs_per_shard": 4}
  prepare(names, tmp_path / "several", **options)
  prepare(tmp_path / "songs.jsonl", tmp_path / "one", **options)
  several, one = contents(tmp_path / "several"), contents(tmp_path / "one")
  for name in one.keys() - {"rejected.jsonl", "dataset.json"}:
    assert several[name] == one[name]
  listed = [json.loads(line) for line in several["rejected.jsonl"].splitlines()]
  c = str(tmp_path / "c.jsonl")
  assert [(r["manifest"], r["line"]) for r in listed] == [(c, 2), (c, 3)]
  assert listed[0]["reason"] == "duplicate_id"
  assert listed[0]["message"].endswith(
    f"that of {tmp_path / 'a.jsonl'}:2 already"
  )


def test_a_file_is_named_once(tmp_path, source):
  manifest = write_songs(tmp_path, 1)
  with pytest.raises(ValueError, match="is named 2 times"):
    prepare(
      [manifest, str(tmp_path / "*.jsonl")], tmp_path / "out", recipe=source[1]
    )


@pytest.mark.parametrize("kept", [0, 5, 0.5, -9, -1])
def test_what_a_truncated_file_lacks_is_listed(tmp_path, source, kept):
  rows = [write_song(tmp_path, f"s{i}", seed=i) for i in range(6)]
  text = "".join(
    json.dumps(row | {"x": "é" * i}) + "\n" for i, row in enumerate(rows)
  )
  content = gzip.compress(text.encode())
  kept = int(len(content) * kept) if isinstance(kept, float) else kept
  (tmp_path / "a.jsonl.gz").write_bytes(content[:kept])
  write_manifest(tmp_path, [write_song(tmp_path, "other", seed=9)])
  names = [tmp_path / "a.jsonl.gz", tmp_path / "songs.jsonl"]
  for size in (1, 99):
    out = tmp_path / f"out-{size}"
    info = prepare(names, out, recipe=source[1], songs_per_shard=size)
    [listed] = (out / "rejected.jsonl").read_text().splitlines()
    assert json.loads(listed)["reason"] == "truncated_file"
    assert json.loads(listed)["manifest"] == str(names[0])
    assert info["rows"] == info["songs"] + 1
    assert json.loads(listed)["line"] == info["songs"]


def test_a_damaged_file_is_listed(tmp_path, source):
  rows = [write_song(tmp_path, f"s{i}", seed=i) for i in range(3)]
  text = "".join(json.dumps(row) + "\n" for row in rows)
  content = bytearray(gzip.compress(text.encode()))
  content[-7] ^= 1  # of its checksum
  (tmp_path / "a.jsonl.gz").write_bytes(content)
  info = prepare(tmp_path / "a.jsonl.gz", tmp_path / "out", recipe=source[1])
  assert info["songs"] == 3
  assert info["rejected"] == {"damaged_file": 1}


def test_shards_come_out_by_size(tmp_path, source):
  """A frame is a code in the song and eight in its window, of three tracks."""
  rows = [write_song(tmp_path, f"s{i}", seed=i, longer=40) for i in range(24)]
  info = prepare(
    write_manifest(tmp_path, rows),
    tmp_path / "out",
    recipe=source[1],
    shard_mib=0.5,
  )
  sizes = [
    sum(shard["bytes"] for shard in pair)
    for pair in zip(*info["shards"].values(), strict=True)
  ]
  assert 3 < len(sizes) < 24
  assert all(0.3 < size / 2**19 < 2 for size in sizes[:-1])


def test_rows_without_a_duration_have_no_size(tmp_path, source):
  rows = [
    write_song(tmp_path, f"s{i}", seed=i, audio_length_in_sec=seconds)
    for i, seconds in enumerate([1e300, float("nan"), -1, "9", None, 10**400])
  ]
  rows.append(write_song(tmp_path, "good", seed=1))
  info = prepare(
    write_manifest(tmp_path, rows),
    tmp_path / "out",
    recipe=source[1],
    shard_mib=0.01,
  )
  assert info["rejected"] == {"bad_field": 6}


def test_codes_lie_inside_the_root(tmp_path, source):
  inside, outside = tmp_path / "in", tmp_path / "out_of_it"
  inside.mkdir()
  outside.mkdir()
  write_song(outside, "o", seed=1)
  rows = [write_song(inside, f"s{i}", seed=i) for i in range(5)]
  rows[1]["codec"] = "../out_of_it/o.mix.npy"
  rows[2]["codec"] = str(outside / "o.mix.npy")
  (inside / "link.npy").symlink_to(outside / "o.mix.npy")
  rows[3]["codec"] = "link.npy"
  rows[4]["codec"] = str(inside / rows[4]["codec"])  # may be absolute
  manifest = write_manifest(inside, rows)
  info = prepare(manifest, tmp_path / "data", recipe=source[1])
  assert info["rejected"] == {"outside_root": 3}
  listed = (tmp_path / "data" / "rejected.jsonl").read_text()
  assert listed.count("give --root a folder that holds them") == 3
  moved = write_manifest(tmp_path, rows[:1])
  info = prepare(moved, tmp_path / "by-root", recipe=source[1], root=inside)
  assert info["songs"] == 1
  with pytest.raises(FileNotFoundError, match=r"no folder .* for --root"):
    prepare(moved, tmp_path / "x", recipe=source[1], root=tmp_path / "nowhere")


def test_columns_have_the_numbers_of_the_whole(source, tmp_path):
  run(source, tmp_path / "many", songs_per_shard=1)
  run(source, tmp_path / "one", songs_per_shard=99)
  many, one = (open_dataset(tmp_path / name).index for name in ("many", "one"))
  for name, column in one.items():
    np.testing.assert_array_equal(column, many[name], err_msg=name)
  assert len(os.listdir(tmp_path / "many")) > len(os.listdir(tmp_path / "one"))
