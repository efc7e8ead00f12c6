"""A directory appears whole, or nothing of it remains."""

import pytest

from yue_jax.whole_directory import whole_directory


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
