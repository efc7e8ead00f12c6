"""A directory appears whole, or nothing of it remains."""

import pytest

from yue_jax.whole_directory import resumable_directory, whole_directory


def test_the_name_comes_last(tmp_path):
  out = tmp_path / "new" / "out"
  with whole_directory(out) as partial:
    (partial / "file").write_text("a")
    assert not out.exists()
    assert partial.name.startswith(".out.partial-")
  assert (out / "file").read_text() == "a"
  assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_remains_of_a_failure(tmp_path, error):
  with pytest.raises(error), whole_directory(tmp_path / "out") as partial:
    (partial / "file").write_text("a")
    raise error
  assert not list(tmp_path.iterdir())


def test_what_exists_is_kept(tmp_path):
  (tmp_path / "out").write_text("a")
  with (
    pytest.raises(FileExistsError, match="out exists already; remove it, or"),
    whole_directory(tmp_path / "out"),
  ):
    raise AssertionError("the block must not begin")
  assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_was_interrupted_goes_on_with_the_same_fingerprint(
  tmp_path, error
):
  out = tmp_path / "out"
  with pytest.raises(error), resumable_directory(out, "a1") as partial:
    (partial / "first").write_text("a")
    raise error
  assert not out.exists()
  with resumable_directory(out, "b2") as partial:
    assert not any(partial.iterdir())
  out.rename(tmp_path / "other")
  with resumable_directory(out, "a1") as partial:
    assert (partial / "first").read_text() == "a"
    (partial / "second").write_text("b")
  assert sorted(path.name for path in out.iterdir()) == ["first", "second"]
  assert {path.name for path in tmp_path.iterdir()} == {"out", "other"}


def test_nothing_remains_of_wrong_input_or_of_nothing(tmp_path):
  out = tmp_path / "out"
  with pytest.raises(ValueError), resumable_directory(out, "a1") as partial:
    (partial / "file").write_text("a")
    raise ValueError
  with pytest.raises(OSError), resumable_directory(out, "a1"):
    raise OSError
  assert not list(tmp_path.iterdir())


def test_one_block_at_a_time(tmp_path):
  out = tmp_path / "out"
  with (
    resumable_directory(out, "a1"),
    pytest.raises(FileExistsError, match="another process is writing"),
    resumable_directory(out, "a1"),
  ):
    raise AssertionError("the block must not begin")
  assert out.is_dir()
