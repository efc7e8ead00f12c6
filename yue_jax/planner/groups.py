"""Which devices a collective brings together, from the text of a module."""

import math
import re

import numpy as np

_IOTA = r"\[([\d,]+)\](?:<=\[([\d,]+)\])?(?:T\(([\d,]+)\))?"
_GROUPS = re.compile(
  r"\breplica_groups=(?:"
  r"(?P<listed>\{[\d,{}]*\})"
  rf"|(?P<iota>{_IOTA})"
  rf"|mesh\[(?P<sizes>[^\]]*)\](?:, ?device_ids=\((?P<ids>{_IOTA})\))?"
  r" ?\{(?P<grouped>[^}]*)\})"
)


def replica_groups(attributes: str, devices: int) -> np.ndarray:
  """Groups of devices as rows, from any of XLA's ways to write them.

  {{0,2},{1,3}}                         listed; {} for one group of all
  [2,2]<=[2,2]T(1,0)                    an iota, reshaped and transposed
  mesh['a'=2,'b'=2] {'a'}               a mesh, and the axes within a group;
                                        it may name its devices by an iota:
  mesh['a'=2], device_ids=([2]) {'a'}
  """
  found = _GROUPS.search(attributes)
  if found is None:
    raise ValueError(
      "cannot read the replica_groups of a collective in"
      f" {attributes[:300]!r}; planner.groups knows {{{{0,1}}}},"
      " [1,2]<=[2] and mesh['a'=2] {'a'}"
    )
  if found["listed"]:
    listed = found["listed"]
    if not re.search(r"\d", listed):
      return np.arange(devices)[None]
    return integers(listed, listed[: listed.index("}")].count(",") + 1)
  if found["iota"]:
    return _iota(found["iota"])
  ids = np.arange(devices) if found["ids"] is None else _iota(found["ids"])
  return _mesh_groups(ids, found["sizes"], found["grouped"])


def _iota(text: str) -> np.ndarray:
  shape, base, order = (
    tuple(map(int, part.split(","))) if part else None
    for part in re.fullmatch(_IOTA, text).groups()
  )
  base = base or shape
  ids = np.arange(math.prod(base)).reshape(base)
  ids = ids if order is None else ids.transpose(order)
  return ids.reshape(shape)


def _mesh_groups(ids: np.ndarray, sizes: str, grouped: str) -> np.ndarray:
  """An axis may be cut: 'a':(2)4 is the 4-way part of 'a' after a 2-way one."""
  parts = {
    name: [(int(size), False)]
    for name, size in re.findall(r"'(\w+)'=(\d+)", sizes)
  }
  for name, before, size in re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", grouped):
    whole = parts[name][0][0]
    if not size:
      parts[name] = [(whole, True)]
    else:
      after = whole // (int(before) * int(size))
      parts[name] = [(int(before), False), (int(size), True), (after, False)]
  flat = [part for cuts in parts.values() for part in cuts]
  inside = [n for n, (_, together) in enumerate(flat) if together]
  outside = [n for n, (_, together) in enumerate(flat) if not together]
  cut = ids.reshape([size for size, _ in flat]).transpose(outside + inside)
  return cut.reshape(-1, math.prod(flat[n][0] for n in inside))


def integers(text: str, width: int) -> np.ndarray:
  return np.array(re.findall(r"\d+", text), int).reshape(-1, width)
