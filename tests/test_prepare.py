"""What is prepared is every good row, whoever did it; the others are listed."""

import json
import subprocess
import sys

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
from yue_jax.data.layout import NO_RECORD, hash_bytes
from yue_jax.data.preparing import prepare as prepare_module
from yue_jax.data.preparing import row_writer
from yue_jax.data.preparing.prepare import prepare
from yue_jax.data.preparing.recipe import Recipe
from yue_jax.data.records import decode_song_record, decode_windows_record
from yue_jax.data.sources.kinds import KINDS
from yue_jax.data.sources.make import make_source
from yue_jax.encoding import encode_song
from yue_jax.manifest import read_manifest
from yue_jax.songs import Rules, song_from_row
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import RELEASED, Vocab


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  return small_tokenizer(tmp_path_factory.mktemp("t") / "tokenizer.model")


def contents(directory) -> dict[str, bytes]:
  """Bytes of every file, by name."""
  files = (path for path in directory.rglob("*") if path.is_file())
  return {str(p.relative_to(directory)): p.read_bytes() for p in files}


def bad_rows(root) -> dict[str, object]:
  """A row for every reason, by what is wrong with it."""
  rows = {
    "json": "{not json",
    "list": "[1, 2]",
    "no_id": write_song(root, "no_id", seed=1, id=None),
    "missing": write_song(root, "missing", seed=2, codec="nowhere.npy"),
    "lyrics": write_song(root, "lyrics", seed=3, splitted_lyrics={}),
    "rate": write_song(root, "rate", seed=4, audio_length_in_sec=0.1),
  }
  for name in ("truncated", "dtype", "range", "beyond"):
    rows[name] = write_song(root, name, seed=5)
  path = root / "truncated.voc.npy"
  path.write_bytes(path.read_bytes()[:-9])
  np.save(root / "dtype.voc.npy", np.zeros((8, 30)))
  codes = np.load(root / "range.voc.npy")
  codes[0, 3] = 16
  np.save(root / "range.voc.npy", codes)
  for section in rows["beyond"]["splitted_lyrics"]["segmented_lyrics"]:
    section["codec_frame_end"] += 1000
  return rows


def test_rows_are_written_or_listed(tmp_path, tokenizer):
  bad = bad_rows(tmp_path)
  good = [write_song(tmp_path, f"g{i}", seed=i) for i in range(len(bad))]
  pairs = zip(bad.values(), good, strict=True)
  rows = [row for pair in pairs for row in pair]
  manifest = write_manifest(tmp_path, [*rows, "  "])
  info = prepare(
    manifest,
    tmp_path / "out",
    recipe=small_recipe(tokenizer),
    songs_per_shard=3,
  )
  lines = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
  rejected = [json.loads(line) for line in lines]
  assert info["rows"] == len(rows) == info["songs"] + len(rejected)
  assert [r["line"] for r in rejected] == list(range(1, len(rows), 2))
  assert [r["id"] for r in rejected[:4]] == [None, None, None, "missing"]
  reasons = {name: r["reason"] for name, r in zip(bad, rejected, strict=True)}
  assert reasons["json"] == reasons["list"] == "bad_json"
  assert reasons["missing"] == "missing_file"
  assert reasons["truncated"] == "bad_file"
  assert reasons["dtype"] == reasons["range"] == "bad_codes"
  assert reasons["beyond"] == "no_sections"
  assert sum(info["rejected"].values()) == len(rejected)
  dataset = open_dataset(tmp_path / "out")
  assert len(dataset.songs) == info["songs"] == len(bad)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, tokenizer):
  """Folder of a manifest and of `out`, prepared from it in this process."""
  root = tmp_path_factory.mktemp("prepared")
  recipe = small_recipe(tokenizer)
  info = prepare(
    write_songs(root, 11), root / "out", recipe=recipe, songs_per_shard=4
  )
  return root, recipe, info


def ids_of(dataset) -> list[str]:
  records = dataset.index["record"]
  return [decode_song_record(dataset.songs[int(n)]).id for n in records]


def songs_of(root, recipe):
  for _, row in read_manifest(root / "songs.jsonl"):
    yield song_from_row(row, root, vocab=recipe.vocab, rules=recipe.rules)


def test_workers_change_nothing(prepared):
  root, recipe, _ = prepared
  for workers in (1, 2):
    prepare(
      root / "songs.jsonl",
      root / f"by-{workers}",
      recipe=recipe,
      workers=workers,
      songs_per_shard=1,
    )
  assert contents(root / "by-2") == contents(root / "by-1")


def test_records_hold_the_songs(prepared):
  root, recipe, info = prepared
  dataset = open_dataset(root / "out")
  assert len(info["shards"]["songs"]) == 3
  for number, song in enumerate(songs_of(root, recipe)):
    record = decode_song_record(dataset.songs[number])
    expected = encode_song(song, recipe.tokenizer, vocab=recipe.vocab)
    assert record.id == song.id
    assert dataset.index["record"][number] == number
    assert dataset.index["id_hash"][number] == hash_bytes(song.id.encode())
    np.testing.assert_array_equal(record.head, expected.head)
    for track, codes in expected.tracks.items():
      np.testing.assert_array_equal(record.tracks[track], codes)
    assert len(record.sections) == len(song.sections)


def test_windows_cover_every_track(prepared):
  root, recipe, info = prepared
  dataset = open_dataset(root / "out")
  run = 0
  for number, song in enumerate(songs_of(root, recipe)):
    for track, codes in enumerate((song.vocal, song.backing, song.mixture)):
      whole = codes.shape[1] // recipe.window
      windows = []
      while len(windows) < whole:
        assert dataset.index["run_song"][run] == number
        assert dataset.index["run_track"][run] == track
        read = decode_windows_record(dataset.windows[run])
        assert len(read) == dataset.index["run_windows"][run] <= 2
        windows += list(read)
        run += 1
      expected = codes[:, : whole * recipe.window]
      np.testing.assert_array_equal(np.concatenate(windows, axis=1), expected)
  assert run == len(dataset.windows)
  assert sum(info["windows"].values()) == dataset.index["run_windows"].sum()


def test_counts_are_of_what_was_written(prepared):
  root, recipe, info = prepared
  dataset = open_dataset(root / "out")
  frames = sum(song.vocal.shape[1] for song in songs_of(root, recipe))
  assert info["hours"] == pytest.approx(frames / 50 / 3600)
  assert set(info["tokens"]) == set(KINDS)
  for kind, tokens in info["tokens"].items():
    source = make_source(dataset, kind, seed=0)
    assert tokens == sum(source.lengths(0))


def test_windows_of_little_variety_are_counted(tmp_path, tokenizer):
  row = write_song(tmp_path, "flat", seed=0)
  codes = np.load(tmp_path / "flat.voc.npy")
  codes[0] = 3
  np.save(tmp_path / "flat.voc.npy", codes)
  recipe = small_recipe(tokenizer, window=13)
  info = prepare(
    write_manifest(tmp_path, [row]), tmp_path / "out", recipe=recipe
  )
  whole = codes.shape[1] // 13
  assert info["left_out"] == {"windows_of_little_variety": whole}
  assert info["windows"] == {"vocal": 0, "backing": whole, "mixture": whole}


def test_one_codebook_is_enough_for_songs(tmp_path, tokenizer):
  row = write_song(tmp_path, "one", seed=0)
  for track in ("mix", "voc", "ins"):
    path = tmp_path / f"one.{track}.npy"
    np.save(path, np.load(path)[:1])
  info = prepare(
    write_manifest(tmp_path, [row]),
    tmp_path / "out",
    recipe=small_recipe(tokenizer),
  )
  assert info["songs"] == 1
  assert info["shards"]["windows"] == []
  assert info["left_out"] == {"tracks_without_all_codebooks": 3}
  assert not list((tmp_path / "out").glob("windows*"))


def test_nothing_usable_is_an_error(tmp_path, tokenizer):
  recipe = small_recipe(tokenizer)
  manifest = write_manifest(tmp_path, ["{", "{"])
  with pytest.raises(ValueError, match=r"none of the 2 rows .* line 1: not a"):
    prepare(manifest, tmp_path / "out", recipe=recipe)
  with pytest.raises(ValueError, match="there are no rows"):
    prepare(write_manifest(tmp_path, []), tmp_path / "out", recipe=recipe)
  with pytest.raises(FileNotFoundError, match="no manifest"):
    prepare(tmp_path / "x.jsonl", tmp_path / "out", recipe=recipe)
  assert [path.name for path in tmp_path.iterdir()] == ["songs.jsonl"]


def test_existing_output_is_kept(tmp_path, tokenizer):
  (tmp_path / "out").mkdir()
  with pytest.raises(FileExistsError, match="exists already; remove it, or"):
    prepare(
      write_songs(tmp_path, 1), tmp_path / "out", recipe=small_recipe(tokenizer)
    )
  assert contents(tmp_path / "out") == {}


def test_a_defect_names_the_line_it_met(tmp_path, tokenizer, monkeypatch):
  def broken(row, *_, **__):
    raise RuntimeError("a defect, not bad data")

  monkeypatch.setattr(row_writer, "song_from_tracks", broken)
  with pytest.raises(RuntimeError, match="a defect") as caught:
    prepare(
      write_songs(tmp_path, 2), tmp_path / "out", recipe=small_recipe(tokenizer)
    )
  [note] = caught.value.__notes__
  assert note == f"while preparing {tmp_path / 'songs.jsonl'}:1"


def test_the_name_appears_last(tmp_path, tokenizer, monkeypatch):
  """However late a run is killed, `out` is whole or it is not there."""
  out, rename = tmp_path / "out", prepare_module.pathlib.Path.rename
  seen = []

  def watched(self, target):
    seen.append((target.name, out.exists()))
    if target == out:
      assert (self / "dataset.json").exists()
    return rename(self, target)

  monkeypatch.setattr(prepare_module.pathlib.Path, "rename", watched)
  prepare(write_songs(tmp_path, 3), out, recipe=small_recipe(tokenizer))
  assert seen[-1] == ("out", False)
  assert not any(existed for _, existed in seen)


def test_workers_start_without_jax():
  code = (
    "import sys, yue_jax.data.preparing.parts; sys.exit('jax' in sys.modules)"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


def test_tokenizer_and_vocabulary_must_fit(tokenizer):
  with pytest.raises(ValueError, match="the tokenizer has 276 pieces"):
    Recipe(tokenizer=tokenizer, vocab=Vocab.small(299), rules=Rules())


@pytest.mark.parametrize("name", ["window", "windows_per_record"])
def test_recipe_names_what_is_wrong(tokenizer, name):
  with pytest.raises(ValueError, match=f"^{name}=0, expected 1 or more"):
    small_recipe(tokenizer, **{name: 0})


def test_tracks_of_rejected_rows_give_windows(tmp_path, tokenizer):
  rows = [write_song(tmp_path, f"s{i}", seed=i, longer=2) for i in range(4)]
  rows[0]["vocals_codec"] = "nowhere.npy"  # but two tracks are there
  rows[1]["splitted_lyrics"] = {}
  path = tmp_path / "s2.voc.npy"  # a song, trimmed to its shortest track
  np.save(path, np.pad(np.load(path), ((0, 0), (0, 10)), mode="wrap"))
  recipe = small_recipe(tokenizer)
  out = tmp_path / "out"
  info = prepare(
    write_manifest(tmp_path, rows), out, recipe=recipe, songs_per_shard=2
  )
  assert info["rows"] == 4
  assert info["songs"] == sum(info["rejected"].values()) == 2
  frames = [np.load(tmp_path / f"s{i}.mix.npy").shape[1] for i in range(4)]
  whole = [n // recipe.window for n in frames]
  lines = (out / "rejected.jsonl").read_text().splitlines()
  assert [json.loads(line)["windows"] for line in lines] == [
    {"backing": whole[0], "mixture": whole[0]},
    {"vocal": whole[1], "backing": whole[1], "mixture": whole[1]},
  ]
  total = sum(whole)
  assert info["windows"] == {
    "vocal": total - whole[0] + 1,
    "backing": total,
    "mixture": total,
  }
  index = open_dataset(out).index
  by_song = np.bincount(index["run_song"], index["run_windows"])
  assert by_song.tolist() == [
    2 * whole[0], 3 * whole[1], 3 * whole[2] + 1, 3 * whole[3]
  ]  # fmt: skip
  assert index["record"].tolist() == [NO_RECORD, NO_RECORD, 0, 1]
  assert index["frames"].tolist() == [0, 0, *frames[2:]]
  assert index["tracks"].tolist() == [0, 0, 7, 7]


def test_songs_of_one_id_are_one_song(tmp_path, tokenizer):
  """Also when different processes prepare them."""
  rows = [write_song(tmp_path, f"s{i}", seed=i) for i in range(5)]
  rows[3]["id"] = rows[4]["id"] = "s0"
  manifest = write_manifest(tmp_path, rows)
  out, recipe = tmp_path / "out", small_recipe(tokenizer)
  info = prepare(manifest, out, recipe=recipe, songs_per_shard=2)
  assert info["rows"] == 5
  assert info["rejected"] == {"duplicate_id": 2}
  dataset = open_dataset(out)
  assert ids_of(dataset) == ["s0", "s1", "s2"]
  assert set(dataset.index["run_song"]) == {0, 1, 2}
  assert len(dataset.songs) == 5  # two of them in no index
  assert info["left_out"]["song_records_of_duplicates"] == 2
  unused = len(dataset.windows) - len(dataset.index["run_song"])
  assert info["left_out"]["window_records_of_duplicates"] == unused > 0
  lines = (out / "rejected.jsonl").read_text().splitlines()
  assert [json.loads(line)["line"] for line in lines] == [4, 5]
  message = "the id 's0' is that of line 1 already"
  assert {json.loads(line)["message"] for line in lines} == {message}


def test_windows_without_a_song_are_a_data_set(tmp_path, tokenizer):
  row = write_song(tmp_path, "s", seed=1, splitted_lyrics={})
  prepare(
    write_manifest(tmp_path, [row]),
    tmp_path / "out",
    recipe=small_recipe(tokenizer),
  )
  dataset = open_dataset(tmp_path / "out")
  assert len(dataset.songs) == 0
  tokens = dataset.info["tokens"]
  assert {kind for kind in KINDS if tokens[kind]} == {"window"}
  assert dataset.index["record"].tolist() == [NO_RECORD]
  assert set(dataset.index["run_song"]) == {0}


@pytest.fixture(scope="module", params=["q1", "q8"])
def released(request, reference, tmp_path_factory):
  """The reference songs, prepared with the released tokenizer."""
  return prepare_released(reference, request.param, tmp_path_factory)


def prepare_released(reference, codebooks, tmp_path_factory):
  out = tmp_path_factory.mktemp("released") / "out"
  recipe = Recipe(
    tokenizer=Tokenizer(reference / "tokenizer.model"),
    vocab=RELEASED,
    rules=Rules(),
  )
  manifest = reference / "songs" / f"songs.{codebooks}.jsonl"
  prepare(manifest, out, recipe=recipe)
  return open_dataset(out)


@pytest.mark.parametrize("kind", ["plain", "cot"])
def test_documents_are_as_released(released, reference, kind):
  source = make_source(released, kind, seed=0)
  path = reference / "songs" / "golden" / f"stage1_{kind}.npz"
  with np.load(path, allow_pickle=False) as golden:
    used = [name for name in golden if name[:4] == "ids_" and golden[name].size]
    names = [f"ids_{decode_song_record(r).id}" for r in released.songs]
    assert sorted(names) == sorted(used)
    for number, name in enumerate(names):
      length = int(source.lengths(0)[number])
      [part] = source.read(0, number, start=0, length=length)
      np.testing.assert_array_equal(part.ids, golden[name])


def test_windows_are_as_released(reference, tmp_path_factory):
  """Of all mixtures, songs that are no lyrics-to-song documents included."""
  dataset = prepare_released(reference, "q8", tmp_path_factory)
  source = make_source(dataset, "window", seed=0)
  mixture = np.flatnonzero(dataset.index["run_track"] == 2)
  lengths = source.lengths(0)
  ids = [
    part.ids
    for run in mixture
    for part in source.read(0, run, start=0, length=lengths[run])
  ]
  path = reference / "songs" / "golden" / "stage2_teacher_forcing.npz"
  with np.load(path, allow_pickle=False) as golden:
    songs = [golden[f"ids_{number}"] for number in range(8)]
  first = 0
  for number, song in enumerate(songs):
    last = first + len(song) // len(ids[0])
    joined = np.concatenate([*ids[first:last], [RELEASED.eod]])
    np.testing.assert_array_equal(joined, song, err_msg=str(number))
    first = last
  assert first == len(ids)
