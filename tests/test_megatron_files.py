"""Megatron's files come back as written, and every damage is named."""

import itertools
import pathlib
import struct

import numpy as np
import pytest

from yue_jax.data.megatron import files as megatron_files
from yue_jax.data.megatron.files import HEADER, MegatronDocuments
from yue_jax.data.megatron.writer import released_dtype, write_megatron
from yue_jax.vocab import RELEASED, Vocab

DOCUMENTS = [[[1, 2], [3]], [], [[4]], [[5, 6, 7], [], [65_000]]]
SEQUENCES = 6
SIZES = HEADER.size  # where they begin in PREFIX.idx
POINTERS = SIZES + 4 * SEQUENCES
STARTS = POINTERS + 8 * SEQUENCES


@pytest.fixture
def prefix(tmp_path):
  write_megatron(tmp_path / "songs.v1", DOCUMENTS)
  return tmp_path / "songs.v1"


def overwrite(path: pathlib.Path, at: int, content: bytes) -> None:
  whole = bytearray(path.read_bytes())
  whole[at : at + len(content)] = content
  path.write_bytes(whole)


def test_layout_of_the_files(tmp_path):
  write_megatron(tmp_path / "a", [[[1, 2], [3]], [[4]]])
  assert (tmp_path / "a.bin").read_bytes() == struct.pack("<4i", 1, 2, 3, 4)
  assert (tmp_path / "a.idx").read_bytes() == b"".join(
    [
      b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 4, 3, 3),
      struct.pack("<3i", 2, 1, 1),
      struct.pack("<3q", 0, 8, 12),
      struct.pack("<3q", 0, 2, 3),
    ]
  )
  assert {path.name for path in tmp_path.iterdir()} == {"a.bin", "a.idx"}


@pytest.mark.parametrize("chunk", [1, 2, 1 << 20])
@pytest.mark.parametrize("dtype", [np.int32, np.uint16])
def test_documents_come_back(tmp_path, dtype, chunk, monkeypatch):
  monkeypatch.setattr(megatron_files, "_CHUNK", chunk)
  monkeypatch.setattr("yue_jax.data.megatron.writer._CHUNK", chunk)
  write_megatron(tmp_path / "songs", iter(DOCUMENTS), dtype=dtype)
  found = MegatronDocuments(tmp_path / "songs")
  assert found.dtype == dtype
  assert [d.tolist() for d in found] == [
    [*itertools.chain(*d)] for d in DOCUMENTS
  ]
  assert found.lengths.tolist() == [3, 0, 1, 4]
  assert found.tokens == 8
  for number, document in enumerate(DOCUMENTS):
    sizes = [len(sequence) for sequence in document]
    assert found.sequence_lengths(number).tolist() == sizes
  for number in (-1, 4):
    with pytest.raises(IndexError, match=rf"document {number} of .*: 0\.\.3"):
      found[number]


def test_no_documents(tmp_path):
  write_megatron(tmp_path / "none", [])
  assert len(MegatronDocuments(tmp_path / "none")) == 0


@pytest.mark.parametrize("code, dtype", [(1, "u1"), (3, "<i2"), (5, "<i8")])
def test_other_integers(prefix, code, dtype):
  ids = np.arange(8).astype(dtype)
  pathlib.Path(f"{prefix}.bin").write_bytes(ids.tobytes())
  idx = pathlib.Path(f"{prefix}.idx")
  overwrite(idx, 17, bytes([code]))
  pointers = np.array([0, 2, 3, 4, 7, 7]) * ids.itemsize
  overwrite(idx, POINTERS, pointers.astype("<i8").tobytes())
  assert MegatronDocuments(prefix)[3].tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(
  "at, content, message",
  [
    (0, b"TNTIDX", r"begins with b'TNTIDXX.*', expected b'MMIDIDX"),
    (9, b"\2", "has version 2, expected 1"),
    (17, b"\7", r"dtype code 7, expected one of \[1, 2, 3, 4, 5, 8\]"),
    (17, b"\10", "sequence 1 begins at byte 8, expected 4"),
    (18, b"\7", r"has 146 bytes, expected 158 for 7 sequences and 5"),
    (18, b"\4", r"has 146 bytes, expected 122 for 4 sequences and 5"),
    (SIZES, b"\3", "sequence 1 begins at byte 8, expected 12"),
    (SIZES + 8, b"\377" * 4, "sequence 2 has -1 ids"),
    (SIZES + 20, b"\2", r"songs.v1.bin has 32 bytes; .*idx expects 36, 9 ids"),
    (POINTERS + 16, b"\15", "sequence 2 begins at byte 13, expected 12"),
    (STARTS, b"\1", "index goes from 1 to 6, expected from 0 to 6"),
    (STARTS + 32, b"\5", "index goes from 0 to 5, expected from 0 to 6"),
    (STARTS + 8, b"\4", "document 1 begins with sequence 4, the next one with"),
  ],
)
def test_damaged_index(prefix, at, content, message):
  path = pathlib.Path(f"{prefix}.idx")
  assert path.stat().st_size == 146
  overwrite(path, at, content)
  with pytest.raises(ValueError, match=message) as error:
    MegatronDocuments(prefix)
  assert str(path) in str(error.value)


@pytest.mark.parametrize("size", [0, 8, 33, 34, 145])
def test_truncated_index(prefix, size):
  path = pathlib.Path(f"{prefix}.idx")
  path.write_bytes(path.read_bytes()[:size])
  with pytest.raises(ValueError, match=r"songs.v1.idx .*, expected"):
    MegatronDocuments(prefix)


def test_modes_of_multimodal_data(prefix):
  with open(f"{prefix}.idx", "ab") as file:
    file.write(bytes(SEQUENCES))
  with pytest.raises(ValueError, match="a mode per sequence, not read here"):
    MegatronDocuments(prefix)


@pytest.mark.parametrize("change", [-1, 4])
def test_data_of_another_size(prefix, change):
  path = pathlib.Path(f"{prefix}.bin")
  path.write_bytes((path.read_bytes() + bytes(4))[: 32 + change])
  with pytest.raises(ValueError, match=rf"{path} has {32 + change} bytes"):
    MegatronDocuments(prefix)


@pytest.mark.parametrize("ending", [".bin", ".idx"])
def test_missing_file(prefix, ending):
  path = pathlib.Path(f"{prefix}{ending}")
  path.unlink()
  with pytest.raises(FileNotFoundError, match=f"{path} does not exist"):
    MegatronDocuments(prefix)


def test_fingerprint(prefix, tmp_path):
  before = MegatronDocuments(prefix).fingerprint
  assert len(before) == 16
  write_megatron(tmp_path / "same", DOCUMENTS)
  assert MegatronDocuments(tmp_path / "same").fingerprint == before
  overwrite(pathlib.Path(f"{prefix}.bin"), 20, b"\1")
  assert MegatronDocuments(prefix).fingerprint != before
  # The same ids, divided otherwise.
  write_megatron(tmp_path / "other", [DOCUMENTS[0], *DOCUMENTS[2:], []])
  assert MegatronDocuments(tmp_path / "other").fingerprint != before


def test_nothing_is_overwritten(prefix, tmp_path):
  for ending in (".bin", ".idx"):
    with pytest.raises(FileExistsError, match=r"songs\.v1\..* exists already"):
      write_megatron(prefix, [])
    pathlib.Path(f"{prefix}{ending}").unlink()
  write_megatron(prefix, [])


@pytest.mark.parametrize(
  "documents, dtype, message",
  [
    ([[[1]], [[2, 70_000]]], np.uint16, "document 1 has ids 2..70000, uint16"),
    ([[[-1]]], np.uint16, "document 0 has ids -1..-1"),
    ([[[2**31]]], np.int32, "document 0 has ids"),
    ([], np.float32, r"dtype=float32, expected one of \['int32', 'uint16'\]"),
  ],
)
def test_ids_that_do_not_fit(tmp_path, documents, dtype, message):
  with pytest.raises(ValueError, match=message):
    write_megatron(tmp_path / "a", documents, dtype=dtype)
  assert not list(tmp_path.iterdir())


def test_an_interrupted_writer_leaves_nothing(tmp_path):
  def documents():
    yield [[1]]
    assert list(tmp_path.iterdir())
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    write_megatron(tmp_path / "a", documents())
  assert not list(tmp_path.iterdir())


def test_released_dtype():
  assert released_dtype(RELEASED) == np.int32
  assert released_dtype(Vocab.small(100)) == np.uint16


def test_released_files(reference):
  found = MegatronDocuments(
    reference / "songs" / "golden" / "megatron_stage1_cot"
  )
  with np.load(reference / "songs" / "golden" / "stage1_cot.npz") as golden:
    kept = [f"{song}" for song in range(8) if len(golden[f"ids_{song}"])]
    assert len(found) == len(kept) == 6
    for number, song in enumerate(kept):
      np.testing.assert_array_equal(found[number], golden[f"ids_{song}"])
      np.testing.assert_array_equal(
        found.sequence_lengths(number), golden[f"segment_lengths_{song}"]
      )
