"""Reading nested tables as frozen dataclasses, strictly.

An unknown key, a missing one or one of another type is an error that names
its path, as it would be written on the command line.
"""

import dataclasses
import types
import typing
from typing import Any

from yue_jax.vocab import Vocab


def read(kind: Any, value: Any, path: str) -> Any:
  """Reads `value` as `kind`; `path` names it in errors."""
  if isinstance(kind, types.UnionType):  # kind | None
    kind, _ = typing.get_args(kind)
    return None if value is None else read(kind, value, path)
  if kind is Vocab or typing.get_origin(kind) is dict:
    _expect_table(value, path)
  if kind is Vocab:
    return Vocab.from_json(plain(value))
  if dataclasses.is_dataclass(kind):
    return _read_dataclass(kind, value, path)
  if typing.get_origin(kind) is tuple:
    return _read_tuple(typing.get_args(kind)[0], value, path)
  if typing.get_origin(kind) is dict:
    value_kind = typing.get_args(kind)[1]
    return {
      k: read(value_kind, v, f"{path}.{k}") for k, v in dict(value).items()
    }
  if kind is float and type(value) is int:
    value = float(value)
  if type(value) is not kind:
    raise TypeError(
      f"config.{path} must be {kind.__name__}, got"
      f" {type(value).__name__} {value!r}"
    )
  return value


def _read_dataclass(kind: type, value: Any, path: str) -> Any:
  _expect_table(value, path)
  fields = {f.name: f for f in dataclasses.fields(kind)}
  hints = typing.get_type_hints(kind)
  prefix = f"{path}." if path else ""
  given = dict(value.items())
  unknown = sorted(set(given) - set(fields))
  if unknown:
    raise ValueError(
      f"config has unknown keys {[prefix + k for k in unknown]}; known here:"
      f" {sorted(prefix + k for k in fields)}"
    )
  missing = sorted(
    name for name, f in fields.items() if name not in given and _required(f)
  )
  if missing:
    raise ValueError(f"config lacks {[prefix + k for k in missing]}")
  values = {k: read(hints[k], v, prefix + k) for k, v in given.items()}
  try:
    return kind(**values)
  except ValueError as error:
    if not path:
      raise
    raise ValueError(f"config.{path}: {error}") from error


def _required(field: dataclasses.Field) -> bool:
  missing = dataclasses.MISSING
  return field.default is missing and field.default_factory is missing


def _read_tuple(kind: Any, value: Any, path: str) -> tuple:
  if not isinstance(value, list | tuple):
    raise TypeError(f"config.{path} must be a list, got {value!r}")
  return tuple(read(kind, v, f"{path}[{i}]") for i, v in enumerate(value))


def _expect_table(value: Any, path: str) -> None:
  if not hasattr(value, "items"):  # a ConfigDict is no Mapping
    raise TypeError(f"config.{path} must be a table, got {value!r}")


def plain(value: Any) -> Any:
  """Tables and tuples as dicts and lists, which may be changed."""
  if hasattr(value, "items"):
    return {k: plain(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [plain(v) for v in value]
  return value
