"""Embeddings of pairs: cosines, and what is no embedding."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from yue_jax.evaluation.alignment import alignment
from yue_jax.evaluation.embeddings import from_arrays, read_embeddings


def _of(rows):
  return from_arrays({f"{i:03}": row for i, row in enumerate(rows)}, of="test")


def test_cosines_are_those_of_scikit_learn():
  rng = np.random.default_rng(0)
  songs, texts = rng.normal(size=(12, 5)), rng.normal(size=(12, 5))
  cosines = cosine_similarity(songs, texts)
  found = alignment(_of(songs), _of(texts))
  assert found.own.value == pytest.approx(np.diagonal(cosines).mean())
  others = cosines[~np.eye(12, dtype=bool)].mean()
  assert found.gain.value == pytest.approx(found.own.value - others)


def test_songs_with_their_own_texts_gain_and_strangers_do_not():
  rng = np.random.default_rng(0)
  texts = 5 + rng.normal(size=(60, 16))  # all of them much alike
  near = alignment(_of(texts + rng.normal(size=texts.shape)), _of(texts))
  far = alignment(_of(5 + rng.normal(size=texts.shape)), _of(texts))
  assert near.own.value > 0.9 and far.own.value > 0.9
  assert near.gain.low > 0
  assert far.gain.low < 0 < far.gain.high


def test_windows_count_by_direction():
  windows = np.array([[9.0, 0.0], [0.0, 1.0]])
  diagonal = np.array([1.0, 1.0])
  found = alignment(_of([windows, diagonal]), _of([diagonal, diagonal]))
  assert found.own.value == pytest.approx(1)


def test_pairs_are_found_by_name_and_must_be_complete():
  a = from_arrays({"x": [1.0, 0], "y": [0, 1.0]}, of="a")
  b = from_arrays({"y": [0, 1.0], "x": [1.0, 0]}, of="b")
  assert alignment(a, b).own.value == pytest.approx(1)
  c = from_arrays({"x": [1.0, 0], "z": [0, 1.0]}, of="c")
  with pytest.raises(ValueError, match=r"\['z'\].*\['y'\]"):
    alignment(a, c)


def test_embeddings_come_from_a_folder_or_a_matrix(tmp_path):
  rows = np.random.default_rng(0).normal(size=(3, 4))
  folder = tmp_path / "clap"
  folder.mkdir()
  for name, row in zip("cab", rows, strict=True):
    np.save(folder / f"{name}.npy", row)
  np.save(tmp_path / "clap.npy", rows)
  (tmp_path / "clap.txt").write_text("c\na\nb\n")
  one, other = (
    read_embeddings(folder),
    read_embeddings(tmp_path / "clap.npy"),
  )
  assert one.ids == other.ids == ("a", "b", "c")
  np.testing.assert_array_equal(one.rows, rows[[1, 2, 0]])
  np.testing.assert_array_equal(one.rows, other.rows)


@pytest.mark.parametrize(
  ("arrays", "message"),
  [
    ({}, "no embeddings"),
    ({"a": np.ones(3), "b": np.ones(4)}, "song 'b' has embeddings of width 4"),
    ({"a": np.array([1, np.nan])}, "song 'a'.*not finite"),
    ({"a": np.ones((2, 2, 2))}, "shape"),
    ({"a": np.ones((0, 3))}, "shape"),
    ({"a": np.array(["x"])}, "type"),
  ],
)
def test_what_is_no_embedding_is_refused(arrays, message):
  with pytest.raises(ValueError, match=message):
    from_arrays(arrays, of="test")


def test_files_that_do_not_fit_are_refused(tmp_path):
  np.save(tmp_path / "a.npy", np.ones((3, 2)))
  with pytest.raises(ValueError, match=r"no a\.txt"):
    read_embeddings(tmp_path / "a.npy")
  for ids in ("x y", "x y y"):
    (tmp_path / "a.txt").write_text(ids)
    with pytest.raises(ValueError, match="different"):
      read_embeddings(tmp_path / "a.npy")
  (tmp_path / "b.npy").write_bytes(b"\x93NUMPY")
  with pytest.raises(ValueError, match="no readable"):
    read_embeddings(tmp_path / "b.npy")
  with pytest.raises(ValueError, match="no embeddings"):
    (tmp_path / "empty").mkdir()
    read_embeddings(tmp_path / "empty")
  with pytest.raises(OSError, match="missing"):
    read_embeddings(tmp_path / "missing.npy")
  with pytest.raises(ValueError, match="silent"):
    alignment(_of([[0.0, 0], [1, 0]]), _of([[1.0, 0], [1, 0]]))
