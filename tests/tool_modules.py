"""Tools as modules, to be called in the process of a test."""

import importlib.util
import pathlib
import types

TOOLS = pathlib.Path(__file__).parent.parent / "tools"


def load_tool(name: str) -> types.ModuleType:
  """The module of tools/NAME.py."""
  spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module
