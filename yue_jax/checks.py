"""Checks of configuration fields: an error names the field and its value."""

import math
from typing import Any


def positive(cfg: Any, names: str) -> None:
  for name in names.split():
    if not 0 < getattr(cfg, name) < math.inf:
      raise ValueError(f"{name}={getattr(cfg, name)} must be positive")


def not_negative(cfg: Any, names: str) -> None:
  for name in names.split():
    if not 0 <= getattr(cfg, name) < math.inf:
      raise ValueError(f"{name}={getattr(cfg, name)} must not be negative")


def one_of(cfg: Any, name: str, allowed: tuple[str, ...]) -> None:
  if getattr(cfg, name) not in allowed:
    raise ValueError(f"{name}={getattr(cfg, name)!r} is not one of {allowed}")


def divides(cfg: Any, whole: str, parts: str) -> None:
  if getattr(cfg, whole) % getattr(cfg, parts):
    raise ValueError(
      f"{whole}={getattr(cfg, whole)} is not divisible by"
      f" {parts}={getattr(cfg, parts)}"
    )
