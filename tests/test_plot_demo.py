"""tools/plot_demo.py says what it is for."""

import pathlib
import runpy

import pytest

TOOL = pathlib.Path(__file__).parent.parent / "tools/plot_demo.py"


def test_help_is_given(capsys, monkeypatch):
  pytest.importorskip("matplotlib", reason="the plot needs matplotlib")
  monkeypatch.setattr("sys.argv", [str(TOOL), "--help"])
  with pytest.raises(SystemExit) as stopped:
    runpy.run_path(str(TOOL), run_name="__main__")
  assert stopped.value.code == 0
  assert "writes demo.png" in capsys.readouterr().out
