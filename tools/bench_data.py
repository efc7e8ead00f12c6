"""Measures reading and planning, without a model: tokens and songs a second.

  assemble   samples of every kind from songs as long as real ones, by second
             of one core, once their records are in memory
  plan       an epoch of ten million songs, each case in a process of its own
             whose peak of memory is its own
  select     which of twice ten million songs are held out: a tenth of the
             second data set are copies of songs of the first
  start      a run on a million songs that goes on at step 10^6 of 1,024
             samples: opening the columns, finding the sample and its plan

  python tools/bench_data.py [assemble] [plan] [select] [start]

Prints JSON. Songs are noise; their lengths are those of four minutes in 14
sections of lyrics. No accelerator is used.
"""

import argparse
import itertools
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from yue_jax.data import selection
from yue_jax.data.dataset import Dataset
from yue_jax.data.planning.packing import PACKINGS
from yue_jax.data.preparing.row_writer import song_columns
from yue_jax.data.records import (
  TRACKS,
  Records,
  ShardWriter,
  encode_song_record,
  encode_windows_record,
)
from yue_jax.data.samples import PlannedSamples
from yue_jax.data.sources.kinds import KINDS
from yue_jax.data.sources.make import make_source
from yue_jax.encoding import RELEASED_PHRASES, EncodedSection, EncodedSong
from yue_jax.vocab import RELEASED

CONTEXTS = (8_192, 16_384)
SECTIONS, SECTION_FRAMES = 14, 1_000
WINDOW, WINDOWS_PER_RECORD = 300, 3
MILLION, TEN_MILLION = 1_000_000, 10_000_000


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "parts", nargs="*", metavar="assemble|plan|select|start|CASE"
  )
  parts = parser.parse_args().parts or ["assemble", "plan", "select", "start"]
  known = {
    "assemble": assemble,
    "plan": lambda: _apart(plan_cases()),
    "select": lambda: _apart(["select-10M"]),
    "select-10M": select_case,
    "start": start_far,
    **{case: lambda case=case: plan_case(case) for case in plan_cases()},
  }
  unknown = set(parts) - set(known)
  if unknown:
    sys.exit(f"bench_data: no part {sorted(unknown)}; there are {list(known)}")
  print(json.dumps({part: known[part]() for part in parts}, indent=2))


def assemble() -> dict[str, float]:
  """Millions of tokens a second by kind and context; medians of samples."""
  found = {}
  with tempfile.TemporaryDirectory() as folder:
    songs = write_dataset(pathlib.Path(folder), "songs", 60)
    speech = write_dataset(pathlib.Path(folder), "speech", 600)
    for context, kind in itertools.product(CONTEXTS, KINDS):
      dataset = speech if kind == "speech" else songs
      source = make_source(dataset, kind, seed=0)
      for packing in PACKINGS if kind in ("cot", "icl") else ["best_fit"]:
        samples = PlannedSamples(
          source, context=context, seed=0, packing=packing
        )
        name = f"{kind} {packing} {context}"
        found[name] = round(context / _seconds_per_sample(samples) / 1e6, 1)
  return found


def _apart(cases: list[str]) -> dict[str, dict]:
  """Each case in a process of its own, whose peak of memory is its own."""
  found = {}
  for case in cases:
    command = [sys.executable, __file__, case]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found |= json.loads(done.stdout)
  return found


def plan_cases() -> list[str]:
  return [
    f"{kind}-{packing}-{context}"
    for kind, packing, context in itertools.product(
      ("cot", "icl"), PACKINGS, CONTEXTS
    )
  ]


def plan_case(case: str) -> dict[str, float]:
  """Plans an epoch of ten million songs in this process."""
  kind, packing, context = case.split("-")
  dataset = imagined_dataset(TEN_MILLION)
  began = time.perf_counter()
  source = make_source(dataset, kind, seed=0)
  samples = PlannedSamples(
    source, context=int(context), seed=0, packing=packing
  )
  count = len(samples)
  counted = time.perf_counter()
  plan = samples.plan(0)
  planned = time.perf_counter()
  if len(plan) != count:
    raise AssertionError(f"{count} samples counted, {len(plan)} planned")
  return {
    "seconds": round(planned - began, 1),
    "seconds_to_count": round(counted - began, 1),
    "peak_gib": round(_peak_bytes() / 2**30, 2),
    "samples": count,
    "fill": round(samples.fill(0), 5),
  }


def select_case() -> dict[str, float]:
  """Sides of the songs of two data sets with three tracks each."""
  rng = np.random.default_rng(0)
  one, two = (_hashes_of_songs(rng, TEN_MILLION) for _ in range(2))
  two.codes[0][::10] = one.codes[0][::10]
  held = _peak_bytes()
  began = time.perf_counter()
  found = selection.sides([one, two], heldout=0.01)
  seconds = time.perf_counter() - began
  np.testing.assert_array_equal(found[1][::10], found[0][::10])
  return {
    "seconds": round(seconds, 1),
    "peak_gib": round(_peak_bytes() / 2**30, 2),
    "of_columns_gib": round(held / 2**30, 2),
  }


def _hashes_of_songs(
  rng: np.random.Generator, count: int
) -> selection.SongHashes:
  ids, *codes = rng.integers(1, 2**64, (4, count), dtype=np.uint64)
  return selection.SongHashes(ids, ids, tuple(codes))


def start_far() -> dict[str, dict]:
  """Seconds to the pieces of a far sample: planned for the first time, then
  in a run that finds the plan on disk."""
  found = {}
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    for name, column in imagined_dataset(MILLION).index.items():
      np.save(root / f"{name}.npy", column)
    for kind, packing in itertools.product(("cot", "icl"), PACKINGS):
      found[f"{kind}-{packing}"] = {
        name: round(_seconds_to_start(root, kind, packing), 2)
        for name in ("new", "again")
      }
  return found


def _seconds_to_start(root: pathlib.Path, kind: str, packing: str) -> float:
  began = time.perf_counter()
  index = {
    path.stem: np.asarray(np.load(path, mmap_mode="r"))
    for path in root.glob("*.npy")
  }
  source = make_source(_dataset(root, "songs", index, [], []), kind, seed=0)
  samples = PlannedSamples(
    source, context=8_192, seed=0, packing=packing, cache=root / "plans"
  )
  epoch, place = samples.locate(10**6 * 1024)
  samples.plan(epoch).pieces(place)
  return time.perf_counter() - began


def imagined_dataset(count: int) -> Dataset:
  """The columns of songs that have no records; lengths are log-normal."""
  rng = np.random.default_rng(0)

  def numbers(median: float, sigma: float) -> np.ndarray:
    drawn = rng.standard_normal(count, np.float32)
    np.multiply(drawn, sigma, out=drawn)
    np.exp(drawn, out=drawn)
    return (drawn * median + 1).astype(np.uint32)

  sung = numbers(SECTIONS * SECTION_FRAMES * 0.9, 0.4)
  index = {
    "record": np.arange(count),
    "tracks": np.full(count, 7, np.uint8),
    "section_count": numbers(SECTIONS, 0.2),
    "head": numbers(600, 0.5),
    "text": numbers(550, 0.5),
    "sung": sung,
    "span": sung + np.uint32(500),
  }
  return _dataset(pathlib.Path(), "songs", index, [], [])


def write_dataset(folder: pathlib.Path, content: str, count: int) -> Dataset:
  """Songs of noise, in records; windows of the mixture of the first ones."""
  rng = np.random.default_rng(0)
  make = _song if content == "songs" else _speech
  rows, sections = [], []
  with ShardWriter(folder / f"{content}.array_record") as writer:
    for number in range(count):
      song = make(rng, number)
      rows.append(song_columns(song) | {"record": number})
      sections += [
        {
          "section_text": len(s.text),
          "section_plain_text": len(s.plain_text),
          "section_start": s.start,
          "section_end": s.end,
        }
        for s in song.sections
      ]
      writer.write(encode_song_record(song))
    songs = writer.close()
  runs = []
  with ShardWriter(folder / f"{content}-windows.array_record") as writer:
    for number in range(10 * count if content == "songs" else 0):
      windows = min(WINDOWS_PER_RECORD, 1 + number % 10)
      shape = (windows, 8, WINDOW)
      writer.write(encode_windows_record(rng.integers(0, 1024, shape)))
      runs.append(
        {
          "run_record": number,
          "run_song": number % count,
          "run_track": TRACKS.index("mixture"),
          "run_windows": windows,
        }
      )
    windows = writer.close()
  return _dataset(
    folder,
    content,
    _columns(rows) | _columns(sections) | _columns(runs),
    [songs],
    [windows],
  )


def _song(rng: np.random.Generator, number: int) -> EncodedSong:
  starts = range(0, SECTIONS * SECTION_FRAMES, SECTION_FRAMES)
  return EncodedSong(
    id=f"song {number}",
    head=_text(rng, 600),
    tags=tuple(_text(rng, 2) for _ in range(6)),
    sections=tuple(
      EncodedSection(
        _text(rng, 40), _text(rng, 55), start, start + SECTION_FRAMES, False
      )
      for start in starts
    ),
    tracks={track: _codes(rng, SECTIONS * SECTION_FRAMES) for track in TRACKS},
  )


def _speech(rng: np.random.Generator, number: int) -> EncodedSong:
  frames = int(rng.integers(100, 1_000))  # 2 to 20 s
  said = EncodedSection(_text(rng, 40), _text(rng, 44), 0, frames, False)
  return EncodedSong(
    id=f"speech {number}",
    head=_text(rng, 0),
    tags=(),
    sections=(said,),
    tracks={"mixture": _codes(rng, frames)},
  )


def _text(rng: np.random.Generator, size: int) -> np.ndarray:
  return rng.integers(0, RELEASED.text_size, size).astype(np.int32)


def _codes(rng: np.random.Generator, frames: int) -> np.ndarray:
  return rng.integers(0, RELEASED.codes(), frames).astype(np.uint16)


def _columns(rows: list[dict[str, int]]) -> dict[str, np.ndarray]:
  names = rows[0] if rows else ()
  return {name: np.array([row[name] for row in rows]) for name in names}


def _dataset(folder, content, index, songs, windows) -> Dataset:
  return Dataset(
    directory=folder,
    info={"content": content, "fingerprint": "noise"},
    index=index,
    vocab=RELEASED,
    phrases=RELEASED_PHRASES,
    window=WINDOW,
    codebooks=8,
    languages=("",),
    songs=Records(folder, songs),
    windows=Records(folder, windows),
  )


def _seconds_per_sample(samples: PlannedSamples) -> float:
  """Of processor time, the second time that each is read."""
  count = min(len(samples), 200)
  for number in range(count):
    samples.sample(number)
  return statistics.median(_seconds(samples, count) for _ in range(5)) / count


def _seconds(samples: PlannedSamples, count: int) -> float:
  began = time.process_time()  # what else runs does not count
  for number in range(count):
    samples.sample(number)
  return time.process_time() - began


def _peak_bytes() -> int:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
  main()
