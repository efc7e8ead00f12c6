"""Measures a process that reads a million songs: first batch, and memory.

  ours   opens columns and plan, finds the samples of a step, reads them
  grain  FirstFit and ConcatThenSplit over ready ids in records, as in
         benchmarks/loader.py; at a later step its state is restored

Every figure is that of a process of its own, in which nothing else happens:
seconds from the first line after imports to the first batch; and memory after
a hundred more batches: what is its own (beyond imports as well), the total
with pages of mapped files, which all processes of a host share, and the
highest total. Ours runs twice: the first time it makes the plan of that epoch
(of icl, whose lengths are drawn, it also counts the samples of all epochs
before), then it finds them on disk.

The million songs are copies of a few hundred real ones: the columns of all are
on disk and mapped, and every record is read, but there are few of them. The
index that ArrayRecord keeps of a shard's records is missing from both.

Prints JSON, and a table to stderr. No accelerator is used.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import grain
import numpy as np

from benchmarks.loader import BATCH, BINS, ready_documents, write_documents
from benchmarks.report import report
from benchmarks.rows import small_tokenizer, write_songs
from yue_jax.data.dataset import Dataset, open_dataset
from yue_jax.data.pipeline import read_rows
from yue_jax.data.preparing.prepare import prepare
from yue_jax.data.preparing.recipe import Recipe
from yue_jax.data.samples import PlannedSamples
from yue_jax.data.sources.make import make_source
from yue_jax.songs import Rules
from yue_jax.vocab import Vocab

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONTEXT, SAMPLES_PER_STEP = 8_192, 1_024  # of which this process reads BATCH
STEPS = (0, 10**6)
COLUMNS = ("record", "tracks", "section_count", "head", "text", "sung", "span")
MORE_BATCHES = 100


def main() -> None:
  args = _parser().parse_args()
  if args.case:
    print(json.dumps(CASES[args.case](args.folder, args.step)))
    return
  with tempfile.TemporaryDirectory(dir=args.folder) as name:
    folder = pathlib.Path(name)
    write_million(folder, args.songs)
    rows = [
      {"reader": label, "step": step} | run(case, folder, step)
      for step, (label, case) in itertools.product(
        STEPS,
        (
          ("ours cot, plans", "ours_cot"),
          ("ours cot, planned", "ours_cot"),
          ("ours icl, plans", "ours_icl"),
          ("ours icl, planned", "ours_icl"),
          ("grain first_fit", "first_fit"),
          ("grain concat_split", "concat_split"),
        ),
      )
    ]
  report(
    {"songs": args.songs * copies(args.songs), "readers": rows},
    rows,
    packages=("grain", "array-record", "numpy"),
  )


def copies(songs: int) -> int:
  """Of each song, to make a million."""
  return 1_000_000 // songs


def run(case: str, folder: pathlib.Path, step: int) -> dict[str, float]:
  command = [sys.executable, "-m", "benchmarks.reader", f"--folder={folder}"]
  done = subprocess.run(
    [*command, f"--case={case}", f"--step={step}"],
    cwd=ROOT,
    check=True,
    stdout=subprocess.PIPE,
  )
  return json.loads(done.stdout)


def write_million(folder: pathlib.Path, songs: int) -> None:
  """A data set, columns of its songs many times over, and ready ids."""
  raw, tokenizer = folder / "raw", small_tokenizer(folder / "tokenizer.model")
  raw.mkdir()
  recipe = Recipe(
    tokenizer=tokenizer, vocab=Vocab.small(tokenizer.size), rules=Rules()
  )
  prepare(write_songs(raw, songs), folder / "songs", recipe=recipe)
  dataset = open_dataset(folder / "songs")
  (folder / "columns").mkdir()
  for name in COLUMNS:
    column = np.tile(dataset.index[name], copies(songs))
    np.save(folder / "columns" / f"{name}.npy", column)
  source = make_source(dataset, "cot", seed=0)
  for longest in (CONTEXT, 2**31):
    write_documents(source, folder / f"{longest}.array_record", longest)


def open_million(folder: pathlib.Path) -> Dataset:
  columns = {
    name: np.asarray(np.load(folder / "columns" / f"{name}.npy", mmap_mode="r"))
    for name in COLUMNS
  }
  return dataclasses.replace(open_dataset(folder / "songs"), index=columns)


def ours(folder: pathlib.Path, step: int, kind: str) -> dict[str, float]:
  with Watch() as watch:
    source = make_source(open_million(folder), kind, seed=0)
    samples = PlannedSamples(
      source, context=CONTEXT, seed=0, cache=folder / "plans"
    )
    batches = read_rows(
      samples.sample,
      range(step, step + MORE_BATCHES + 1),
      rows=range(BATCH),
      rows_per_step=SAMPLES_PER_STEP,
      threads=0,
    )
    next(batches)
    watch.first_batch()
    for _ in batches:
      pass
  return watch.figures


def first_fit(folder: pathlib.Path, step: int) -> dict[str, float]:
  with Watch() as watch:
    packed = grain.experimental.FirstFitPackIterDataset(
      ready_documents(folder / f"{CONTEXT}.array_record"),
      length_struct={"tokens": CONTEXT},
      num_packing_bins=BINS,
    )
    _read(iter(packed.batch(BATCH)), step, watch)
  return watch.figures


def concat_split(folder: pathlib.Path, step: int) -> dict[str, float]:
  with Watch() as watch:
    packed = grain.experimental.ConcatThenSplitIterDataset(
      ready_documents(folder / f"{2**31}.array_record"),
      length_struct={"tokens": CONTEXT},
    )
    _read(iter(packed.batch(BATCH)), step, watch)
  return watch.figures


def _read(batches, step: int, watch: "Watch") -> None:
  state = batches.get_state()
  parent = state.get("parent") or state["parent_state"]
  parent["next_index"] = step * SAMPLES_PER_STEP  # documents, about
  batches.set_state(state)
  next(batches)
  watch.first_batch()
  for _ in range(MORE_BATCHES):
    next(batches)


CASES = {
  "ours_cot": lambda folder, step: ours(folder, step, "cot"),
  "ours_icl": lambda folder, step: ours(folder, step, "icl"),
  "first_fit": first_fit,
  "concat_split": concat_split,
}


class Watch:
  """Seconds and memory of what happens inside."""

  def __enter__(self):
    self._imported, self._began = memory_mib(), time.perf_counter()
    return self

  def first_batch(self) -> None:
    self._seconds = time.perf_counter() - self._began

  def __exit__(self, *_) -> None:
    memory = memory_mib()
    self.figures = {
      "seconds_to_first_batch": round(self._seconds, 3),
      "own_mib": round(memory["RssAnon"]),
      "own_mib_beyond_imports": round(
        memory["RssAnon"] - self._imported["RssAnon"]
      ),
      "total_mib": round(memory["VmRSS"]),
      "peak_mib": round(memory["VmHWM"]),
    }


def memory_mib() -> dict[str, float]:
  """Of this process, by Linux's names."""
  lines = pathlib.Path("/proc/self/status").read_text().splitlines()
  fields = dict(line.split(":", 1) for line in lines)
  names = ("RssAnon", "VmRSS", "VmHWM")
  return {name: int(fields[name].split()[0]) / 1024 for name in names}


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--songs", type=int, default=500, help="that are copied [500]")
  add("--folder", type=pathlib.Path, help="for 300 MB [temporary files]")
  add("--case", choices=CASES, help="measure one in this process: internal")
  add("--step", type=int, default=0, help="of that case")
  return parser


if __name__ == "__main__":
  main()
