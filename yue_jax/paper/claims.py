"""The claims: files of experiments/paper that define a CLAIM."""

from collections.abc import Sequence
import importlib.util
import pathlib

from yue_jax.paper.cases import Claim

ORDER = ("dual_ntp", "cot", "icl", "guidance", "size", "phases")  # the paper's


def load(folder: pathlib.Path, names: Sequence[str] = ()) -> list[Claim]:
  """The claims of a folder in the order of the paper, or some of them.

  ValueError for a name that no claim has.
  """
  there = [name for name in ORDER if (folder / f"{name}.py").exists()]
  unknown = set(names) - set(there)
  if unknown:
    raise ValueError(f"no claims {sorted(unknown)} in {folder}; it has {there}")
  return [_load(folder, name) for name in there if not names or name in names]


def _load(folder: pathlib.Path, name: str) -> Claim:
  path = folder / f"{name}.py"
  spec = importlib.util.spec_from_file_location(f"paper_{name}", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if module.CLAIM.name != name:
    raise ValueError(
      f"{path} defines the claim {module.CLAIM.name!r}, expected {name!r}"
    )
  return module.CLAIM
