"""Measures preparation in songs a second, beside the released algorithm.

  prepare_songs   tools/prepare_songs.py, as it is: every track validated and
                  hashed, records from which any kind of document is made
  row_by_row      the released preprocessing restated (benchmarks.row_by_row):
                  the CoT documents alone, as ids
  as_released     the same with the lists that make the released code slow; on
                  a tenth of the rows

All are run as commands on the same rows, with one process and with as many as
there are cores, in turns; figures are medians over the rounds, with start and
imports. A core's figure is songs per second of processor time, of all
processes of a command together. Before anything is timed, the CoT documents
are compared, id by id.

Songs are those of benchmarks/rows.py, codebook 0 of three tracks. Without
--tokenizer, a small one is trained on their words; with YuE's own, ids are
those of the released vocabulary.

Prints JSON, and a table to stderr. No accelerator is used.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import itertools
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np

from benchmarks.report import report
from benchmarks.rows import small_tokenizer, write_songs
from yue_jax.data.dataset import open_dataset
from yue_jax.data.sources.make import make_source

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = "prepare_songs"
TOOLS = {
  OURS: ["tools/prepare_songs.py"],
  "row_by_row": ["-m", "benchmarks.row_by_row"],
  "as_released": ["-m", "benchmarks.row_by_row", "--as-released"],
}


class Spent(NamedTuple):
  seconds: float
  cpu_seconds: float


@dataclasses.dataclass(frozen=True)
class Contender:
  """A command on so many songs; it writes to a folder of its own."""

  tool: str
  processes: int
  songs: int
  folder: pathlib.Path
  command: list[str]

  def run(self) -> Spent:
    shutil.rmtree(self.folder, ignore_errors=True)
    self.folder.mkdir()
    return run(self.command)


def main() -> None:
  args = _parser().parse_args()
  with tempfile.TemporaryDirectory(dir=args.folder) as name:
    folder = pathlib.Path(name)
    manifest = write_songs(folder, args.songs)
    flags = [f"--tokenizer={args.tokenizer}"]
    if args.tokenizer is None:
      tokenizer = small_tokenizer(folder / "tokenizer.model")
      flags = [f"--tokenizer={tokenizer.path}", "--small-vocab"]
    found = contenders(manifest, folder, args.songs, flags)
    for contender in found:
      contender.run()
    ours, *others = found[: len(TOOLS)]
    tokens = max(compare(ours, other) for other in others)
    spent = [[each.run() for each in found] for _ in range(args.rounds)]
  runs = zip(*spent, strict=True)
  rows = [summarise(c, own) for c, own in zip(found, runs, strict=True)]
  figures = {
    "songs": args.songs,
    "tokens_per_song": round(tokens / args.songs),
    "tokenizer": "YuE's own" if args.tokenizer else "of 1,000 pieces",
    "rounds": args.rounds,
    "songs_per_second": rows,
    "ratios": ratios(rows),
  }
  report(figures, rows, packages=("numpy", "sentencepiece", "array-record"))


def contenders(
  manifest: pathlib.Path, folder: pathlib.Path, songs: int, flags: list[str]
) -> list[Contender]:
  """By number of processes, and ours first."""
  with open(manifest) as lines:
    few = "".join(itertools.islice(lines, songs // 10))
  (folder / "few.jsonl").write_text(few)
  found = []
  for processes, tool in itertools.product(sorted({1, os.cpu_count()}), TOOLS):
    own = folder / f"{tool}-{processes}"
    command = [*TOOLS[tool], f"--out={own / 'out'}", f"--workers={processes}"]
    if tool == OURS:
      # By default a part has 8,192 songs, and a process is given whole parts.
      command.append(f"--songs-per-shard={-(-songs // (4 * processes))}")
    rows = folder / "few.jsonl" if tool == "as_released" else manifest
    found.append(
      Contender(
        tool,
        processes,
        songs // 10 if tool == "as_released" else songs,
        own,
        [sys.executable, *command, *flags, str(rows)],
      )
    )
  return found


def run(command: list[str]) -> Spent:
  """Runs a command to its end; the time of its processes is counted too."""
  began = time.perf_counter()
  process = subprocess.Popen(
    command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
  )
  _, status, usage = os.wait4(process.pid, 0)
  process.returncode = os.waitstatus_to_exitcode(status)
  if process.returncode:
    raise subprocess.CalledProcessError(process.returncode, command)
  seconds = time.perf_counter() - began
  return Spent(seconds, usage.ru_utime + usage.ru_stime)


def compare(ours: Contender, other: Contender) -> int:
  """Tokens of all documents of the other, which must be those of ours."""
  source = make_source(open_dataset(ours.folder / "out"), "cot", seed=0)
  lengths = np.load(other.folder / "out.npy", allow_pickle=False)
  np.testing.assert_array_equal(source.lengths(0)[: other.songs], lengths)
  ids = np.fromfile(other.folder / "out.bin", np.int32)
  ends = np.cumsum(lengths).tolist()
  for number, (start, end) in enumerate(
    zip([0, *ends[:-1]], ends, strict=True)
  ):
    [part] = source.read(0, number, start=0, length=end - start)
    np.testing.assert_array_equal(part.ids, ids[start:end])
  return ends[-1]


def summarise(contender: Contender, runs: Sequence[Spent]) -> dict[str, object]:
  """Songs a second: on the clock, and of a core's time."""
  seconds, cpu_seconds = (statistics.median(s) for s in zip(*runs, strict=True))
  return {
    "tool": contender.tool,
    "processes": contender.processes,
    "per_second": round(contender.songs / seconds, 1),
    "per_core_second": round(contender.songs / cpu_seconds, 1),
  }


def ratios(rows: list[dict]) -> dict[str, dict[str, float]]:
  """Ours over the others, by number of processes."""
  by = {(row["tool"], row["processes"]): row for row in rows}
  return {
    f"over {tool}, {processes} processes": {
      what: round(by[OURS, processes][what] / row[what], 2)
      for what in ("per_second", "per_core_second")
    }
    for (tool, processes), row in by.items()
    if tool != OURS
  }


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--songs", type=int, default=1_500, help="[1500]")
  add("--rounds", type=int, default=3, help="that are timed [3]")
  add("--tokenizer", type=pathlib.Path, help="YuE's tokenizer.model")
  add("--folder", type=pathlib.Path, help="for 200 MB [temporary files]")
  return parser


if __name__ == "__main__":
  main()
