"""Exported documents are those of the sources, in Megatron's files."""

import importlib.util
import pathlib

import numpy as np
import pytest

from tests.songs_on_disk import prepared
from yue_jax import documents, lengths
from yue_jax.data.dataset import open_dataset
from yue_jax.data.megatron.files import MegatronDocuments
from yue_jax.data.megatron.meaning import read_meaning
from yue_jax.data.preparing.prepare import prepare
from yue_jax.data.preparing.recipe import CONTENTS, Recipe
from yue_jax.data.records import decode_song_record, decode_windows_record
from yue_jax.data.sources.kinds import KINDS, REFERENCE_MODES, eligible
from yue_jax.data.sources.make import make_source
from yue_jax.songs import Rules
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import RELEASED

TOOL = pathlib.Path(__file__).parent.parent / "tools" / "export_megatron.py"


@pytest.fixture(scope="module")
def tool():
  spec = importlib.util.spec_from_file_location("export_megatron", TOOL)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
  return prepared(tmp_path_factory.mktemp("songs"), 7)


def export(tool, dataset, out, kind, *flags) -> MegatronDocuments:
  tool.main([str(dataset), f"--kind={kind}", f"--out={out}", *flags])
  return MegatronDocuments(out)


@pytest.mark.parametrize("kind", ["plain", "cot", "icl", "icl_dual"])
def test_documents_of_songs(tool, dataset, tmp_path, kind, capsys):
  found = export(tool, dataset, tmp_path / "a", kind, "--epoch=3", "--seed=5")
  source = make_source(open_dataset(dataset), kind, seed=5)
  tokens = source.lengths(3)
  assert found.lengths.tolist() == tokens.tolist()
  for number, ids in enumerate(found):
    [part] = source.read(3, number, start=0, length=int(tokens[number]))
    np.testing.assert_array_equal(ids, part.ids)
  out, err = capsys.readouterr()
  assert f"7 documents of kind {kind}, {tokens.sum()} tokens" in out
  assert "exporting: 7/7 documents" in err
  names = {path.name for path in tmp_path.iterdir()}
  assert names == {"a.bin", "a.idx", "a.json"}


@pytest.mark.parametrize("kind", ["plain", "cot", "icl_mixture"])
def test_sequences_are_the_head_and_the_sections(tool, dataset, tmp_path, kind):
  found = export(tool, dataset, tmp_path / "a", kind)
  opened = open_dataset(dataset)
  start = opened.phrases.segment_start
  for number, ids in enumerate(found):
    song = decode_song_record(opened.songs[number])
    sizes = found.sequence_lengths(number)
    first, *others = np.split(ids, np.cumsum(sizes)[:-1])
    if kind == "plain":
      sections, begin = [first, *others], [s.plain_text for s in song.sections]
    else:
      np.testing.assert_array_equal(first[: len(song.head)], song.head)
      assert (len(first) > len(song.head)) == (kind != "cot")
      sections, begin = others, [[*start, *s.text] for s in song.sections]
    assert len(sections) == len(song.sections)
    for section, text in zip(sections, begin, strict=True):
      np.testing.assert_array_equal(section[: len(text)], text)
    assert ids[-1] == opened.vocab.eod


@pytest.mark.parametrize("content", CONTENTS)
def test_other_kinds_are_one_sequence_per_document(tool, tmp_path, content):
  """Of all kinds that there are, in data sets of all contents."""
  dataset = prepared(tmp_path, 4, content=content)
  opened = open_dataset(dataset)
  kinds = {k for k in KINDS if eligible(opened, k).any()}
  kinds -= {"plain", "cot", *REFERENCE_MODES, "window"}
  assert len(kinds) == {"songs": 8, "music": 6, "speech": 2}[content]
  for kind in sorted(kinds):
    found = export(tool, dataset, tmp_path / kind, kind, "--epoch=1")
    source = make_source(opened, kind, seed=0)
    assert found.lengths.tolist() == source.lengths(1).tolist()
    for number, ids in enumerate(found):
      assert found.sequence_lengths(number).tolist() == [len(ids)]
      [part] = source.read(1, number, start=0, length=len(ids))
      np.testing.assert_array_equal(ids, part.ids)


def test_epochs_have_clips_of_their_own(tool, dataset, tmp_path):
  first, second, again = (
    export(tool, dataset, tmp_path / name, "icl_dual", f"--epoch={epoch}")
    for name, epoch in (("a", 0), ("b", 1), ("c", 0))
  )
  assert first.fingerprint == again.fingerprint != second.fingerprint


def test_windows_of_a_track_are_one_document(tool, dataset, tmp_path):
  found = export(tool, dataset, tmp_path / "a", "window")
  opened = open_dataset(dataset)
  index, vocab = opened.index, opened.vocab
  runs = list(zip(index["run_song"], index["run_track"], strict=True))
  tracks = sorted(set(runs))
  assert len(found) == len(tracks) < len(runs)
  length = lengths.window(10, codebooks=8)
  for number, track in enumerate(tracks):
    expected = []
    for run in [r for r, of in enumerate(runs) if of == track]:
      record = opened.windows[int(index["run_record"][run])]
      expected += [
        documents.window_document(codes, vocab, stream=0).ids
        for codes in decode_windows_record(record)
      ]
    np.testing.assert_array_equal(
      found[number], np.concatenate([*expected, [vocab.eod]])
    )
    sizes = [length] * len(expected)
    sizes[-1] += 1
    assert found.sequence_lengths(number).tolist() == sizes


def test_the_meaning_of_ids_is_written_down(tool, dataset, tmp_path):
  export(tool, dataset, tmp_path / "a", "cot")
  opened = open_dataset(dataset)
  assert read_meaning(tmp_path / "a") == (opened.vocab, opened.phrases)
  (tmp_path / "a.json").write_text('{"vocab": {}}')
  with pytest.raises(ValueError, match=r"a\.json is damaged"):
    read_meaning(tmp_path / "a")
  assert read_meaning(tmp_path / "b")[0] == RELEASED


def test_errors_leave_nothing_and_overwrite_nothing(tool, dataset, tmp_path):
  with pytest.raises(SystemExit, match="no folder"):
    export(tool, dataset, tmp_path / "no" / "a", "cot")
  export(tool, dataset, tmp_path / "a", "cot")
  (tmp_path / "a.json").unlink()
  before = MegatronDocuments(tmp_path / "a").fingerprint
  with pytest.raises(SystemExit, match=r"a\.bin exists already"):
    export(tool, dataset, tmp_path / "a", "plain")
  assert MegatronDocuments(tmp_path / "a").fingerprint == before
  assert {p.name for p in tmp_path.iterdir()} == {"a.bin", "a.idx"}
  with pytest.raises(SystemExit, match=r"export_megatron: .*dataset\.json"):
    export(tool, tmp_path, tmp_path / "b", "cot")


def test_equal_to_the_released_files(tool, reference, tmp_path):
  """From the same manifest, byte for byte."""
  prepare(
    reference / "songs" / "songs.q1.jsonl",
    tmp_path / "songs",
    recipe=Recipe(
      tokenizer=Tokenizer(reference / "tokenizer.model"),
      vocab=RELEASED,
      rules=Rules(),
    ),
  )
  export(tool, tmp_path / "songs", tmp_path / "cot", "cot")
  for ending in ("bin", "idx"):
    ours = (tmp_path / f"cot.{ending}").read_bytes()
    golden = reference / "songs" / "golden" / f"megatron_stage1_cot.{ending}"
    assert ours == golden.read_bytes()
  found = MegatronDocuments(export_plain(tool, tmp_path))
  with np.load(reference / "songs" / "golden" / "stage1_plain.npz") as golden:
    released = [golden[f"segment_lengths_{song}"] for song in range(6)]
  for number, sizes in enumerate(released):
    np.testing.assert_array_equal(found.sequence_lengths(number), sizes)


def export_plain(tool, root) -> pathlib.Path:
  export(tool, root / "songs", root / "plain", "plain")
  return root / "plain"
