"""Whatever manifests and code files hold: written or listed, never a crash.

Rows and files are mutated at random, with a seed; what is prepared from them
has to account for every row and to pass the check of the whole data set.
"""

import collections
import copy
import gzip
import io
import json
import os
import random
import re
import signal
import socket

import numpy as np
import pytest

from tests.songs_on_disk import (
  WRITERS,
  small_recipe,
  small_tokenizer,
  write_manifest,
  write_song,
)
from yue_jax import manifest
from yue_jax.data.dataset import open_dataset
from yue_jax.data.preparing.check import check_dataset
from yue_jax.data.preparing.prepare import prepare
from yue_jax.data.records import decode_song_record
from yue_jax.songs import TRACK_KEYS

NESTED = json.loads("[" * 900 + "]" * 900)
JUNK = (
  None, True, False, -1, 0, 1, 1e-300, 1e300, 10**400, 2**63, -(2**63), 0.5,
  float("nan"), float("inf"), -float("inf"), "", " ", "\n", "\0", "\ud800",
  "\U0010ffff", "‮abc", "e\u0301" * 50, "�", "ﷺ", "<SOA><EOD>", "<xcodec>",
  "[start_of_segment]", "\\", "..", "/", "x" * 5000, "é" * 300, [], [[]], {},
  {"": 0}, {"a": {"b": [1]}}, NESTED,
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_waiting():
  """A pipe that is waited for ends the test instead of the night."""

  def waited(*_):
    raise KeyboardInterrupt("something waited")

  before = signal.signal(signal.SIGALRM, waited)
  signal.alarm(120)
  yield
  signal.alarm(0)
  signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  return small_tokenizer(tmp_path_factory.mktemp("t") / "tokenizer.model")


def mutate(value, rng):
  """Copies nested JSON with one place, at any depth, made junk or removed."""
  if not isinstance(value, dict | list) or not value or rng.random() < 0.05:
    return rng.choice(JUNK)
  changed = copy.copy(value)
  keys = list(value) if isinstance(value, dict) else range(len(value))
  key = rng.choice(keys)
  if rng.random() < 0.1:
    del changed[key]
  else:
    changed[key] = mutate(value[key], rng)
  return changed


def mutate_line(line: bytes, rng) -> bytes:
  """A line that may be no JSON any more; it stays one line."""
  changed = bytearray(line)
  for _ in range(rng.randint(1, 3)):
    at = rng.randrange(len(changed) + 1)
    what = rng.randrange(5)
    if what == 0:
      del changed[at:]
    elif what == 1:
      changed[at:at] = rng.randbytes(rng.randint(1, 9))
    elif what == 2:
      changed[at:at] = rng.choice(
        [
          b"NaN",
          b"Infinity",
          b"1e999",
          b"9" * 5000,
          b"[" * 100_000,
          b"\xef\xbb",
        ]
      )
    elif what == 3 and changed:
      changed[at % len(changed)] ^= 1 << rng.randrange(8)
    else:
      changed += b"\r"
  return bytes(changed).replace(b"\n", b" ")


def npy(array, **options) -> bytes:
  file = io.BytesIO()
  np.save(file, array, **options)
  return file.getvalue()


def mutate_file(content: bytes, rng) -> bytes:
  """The bytes of a .npy file made wrong, or right in an unusual way."""
  codes = np.load(io.BytesIO(content))
  flipped = bytearray(content)
  for _ in range(rng.randint(1, 4)):
    flipped[rng.randrange(160)] = rng.randrange(256)
  huge = content.replace(b"'shape': (8, ", b"'shape': (8, 9999999999, ")
  return rng.choice(
    [
      b"", content[: rng.randrange(len(content))], content + b"more",
      bytes(flipped), bytes(flipped), huge, rng.randbytes(200),
      npy(np.asfortranarray(codes)), npy(codes.astype(">i4")),
      npy(codes.astype(np.uint64)), npy(codes.astype(float)), npy(codes[0]),
      npy(codes[None]), npy(codes.T), npy(codes[:, :0]), npy(codes[:0]),
      npy(np.int16(3)), npy(codes > 3), npy(codes.astype("S3")),
      npy(codes - 1), npy(codes + 200), npy(codes[:1]), npy(codes[:, :9]),
      npy(codes.view([("a", "<i2")])), npy(codes.astype(complex)),
      npy(np.array([{}, print], object), allow_pickle=True),
    ]
  )  # fmt: skip


def write_oddities(root, outside) -> list[str]:
  """Names that are no files of codes, or must not be read."""
  outside.mkdir()
  np.save(outside / "good.npy", np.zeros((8, 30), np.int16))
  (root / "link.npy").symlink_to(outside / "good.npy")
  (root / "links").symlink_to(outside)
  (root / "loop.npy").symlink_to(root / "loop.npy")
  (root / "broken.npy").symlink_to(root / "nothing.npy")
  os.mkfifo(root / "pipe.npy")
  (root / "folder.npy").mkdir()
  with socket.socket(socket.AF_UNIX) as server:
    server.bind(os.path.relpath(root / "socket.npy"))
  return [
    "link.npy", "links/good.npy", "loop.npy", "broken.npy", "pipe.npy",
    "folder.npy", "socket.npy", "", ".", "..", "/", "/dev/zero", "/dev/stdin",
    "/proc/self/mem", str(outside / "good.npy"), "../outside/good.npy",
    "a" * 300, "a/" * 3000, "\0", "good\0.npy", "no/such/folder.npy",
    "folder.npy/a.npy", "~/x", "file://x",
  ]  # fmt: skip


def fuzzed_lines(root, content, count, rng) -> list[bytes]:
  good = [
    WRITERS[content](root, f"g{i}", seed=i, genres="mo <SOA>, ra")
    for i in range(8)
  ]
  oddities = write_oddities(root, root.parent / "outside")
  lines = []
  for number in range(count):
    row = dict(rng.choice(good), id=f"r{number}")
    keys = [key for key in TRACK_KEYS.values() if key in row]
    kind = rng.random()
    if kind < 0.4:
      for _ in range(rng.randint(1, 2)):
        row = mutate(row, rng)
    elif kind < 0.6:
      name, key = f"m{number}.npy", rng.choice(keys)
      changed = mutate_file((root / row[key]).read_bytes(), rng)
      (root / name).write_bytes(changed)
      row[key] = name
    elif kind < 0.7:
      row[rng.choice(keys)] = rng.choice(oddities)
    elif kind < 0.75:
      row["id"] = f"r{rng.randrange(count)}"
    line = json.dumps(row, ensure_ascii=rng.random() < 0.5)
    line = line.encode(errors="surrogatepass")
    if kind > 0.9:
      line = mutate_line(line, rng)
    lines.append(line)
  return lines


@pytest.mark.parametrize(
  ("content", "count"), [("songs", 4000), ("music", 2000), ("speech", 2000)]
)
def test_rows_are_written_or_listed(tmp_path, tokenizer, content, count):
  root = tmp_path / "in"
  root.mkdir()
  rng = random.Random(content)
  lines = fuzzed_lines(root, content, count, rng)
  half = len(lines) // 2
  (root / "a.jsonl").write_bytes(b"\n".join(lines[:half]) + b"\n")
  packed = gzip.compress(b"\n".join(lines[half:]) + b"\n")
  (root / "b.jsonl.gz").write_bytes(packed[: -len(packed) // 8])
  recipe = small_recipe(tokenizer, content=content)
  info = prepare(
    str(root / "*.jsonl*"), tmp_path / "out", recipe=recipe, shard_mib=0.25
  )
  listed = [
    json.loads(line)
    for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
  ]
  reasons = collections.Counter(r["reason"] for r in listed)
  assert info["rows"] == info["songs"] + len(listed)
  assert half < info["rows"] < len(lines) + 1
  assert reasons == info["rejected"]
  assert reasons.pop("truncated_file") == 1
  assert all(re.fullmatch("[a-z]+(_[a-z]+)*", reason) for reason in reasons)
  assert all(r["message"] for r in listed)
  places = [(r["manifest"], r["line"]) for r in listed]
  assert places == sorted(set(places))
  assert info["songs"] > count // 5
  expected = {"bad_json", "bad_field", "duplicate_id", "frame_rate"}
  if content == "music":  # is music as long as a track is left
    assert info["left_out"]["tracks_unusable"] > count // 20
  else:
    expected |= {"missing_file", "bad_file", "bad_codes", "outside_root"}
  assert expected <= reasons.keys()
  assert len(info["shards"]["songs"]) > 1
  assert check_dataset(tmp_path / "out") == []


@pytest.mark.parametrize(
  "write",
  [
    lambda codes: npy(np.asfortranarray(codes)),
    lambda codes: npy(codes.astype(">u2")),
    lambda codes: npy(codes.astype(np.int64)),
  ],
)
def test_unusual_arrays_have_the_same_codes(tmp_path, tokenizer, write):
  rows = [write_song(tmp_path, "a", seed=1)]
  expected = np.load(tmp_path / "a.voc.npy")
  (tmp_path / "a.voc.npy").write_bytes(write(expected))
  prepare(
    write_manifest(tmp_path, rows),
    tmp_path / "out",
    recipe=small_recipe(tokenizer),
  )
  song = decode_song_record(open_dataset(tmp_path / "out").songs[0])
  np.testing.assert_array_equal(song.tracks["vocal"], expected[0])


class Evil:
  """Leaves a trace where it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return open, (str(self.path), "w")


def test_nothing_is_unpickled(tmp_path, tokenizer):
  rows = [write_song(tmp_path, name, seed=1) for name in "ab"]
  trace = tmp_path / "trace"
  evil = npy(np.array([[Evil(trace)]], object), allow_pickle=True)
  (tmp_path / "a.voc.npy").write_bytes(evil)
  (tmp_path / "a.mix.npy").write_bytes(evil[evil.index(b"\n") + 1 :])
  info = prepare(
    write_manifest(tmp_path, rows),
    tmp_path / "out",
    recipe=small_recipe(tokenizer),
  )
  assert info["rejected"] == {"bad_file": 1}
  assert not trace.exists()


def test_a_line_of_any_length_is_a_row(tmp_path, tokenizer, monkeypatch):
  rows = [json.dumps(write_song(tmp_path, f"s{i}", seed=i)) for i in range(3)]
  monkeypatch.setattr(manifest, "_MAX_LINE", 2000)
  long = ["x" * n for n in (1998, 1999, 2000, 2001, 7000)]
  rows[1:1] = long
  info = prepare(
    write_manifest(tmp_path, rows),
    tmp_path / "out",
    recipe=small_recipe(tokenizer),
  )
  assert info["songs"] == 3
  assert info["rejected"] == {"bad_json": 2, "long_line": 3}
