"""Measures preparation in songs a second, beside the released algorithm.

  prepare_songs   tools/prepare_songs.py, as it is: every track validated and
                  hashed, records from which any kind of document is made
  row_by_row      benchmarks/row_by_row.py, the released preprocessing restated:
                  the CoT documents alone, as ids

Both are run as commands on the same rows, with one process and with as many
as there are cores, in turns; figures are medians over the rounds, with start
and imports. A core's figure is songs per second of processor time, of all
processes of a command together. Before anything is timed, the CoT documents
of both are compared, id by id.

Songs are those of benchmarks/rows.py, codebook 0 of three tracks. Without
--tokenizer, a small one is trained on their words; with YuE's own, ids are
those of the released vocabulary.

Prints JSON, and a table to stderr. No accelerator is used.
"""

import argparse
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
from yue_jax.data.sources import make_source

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = {
  "prepare_songs": ["tools/prepare_songs.py"],
  "row_by_row": ["-m", "benchmarks.row_by_row"],
}


class Spent(NamedTuple):
  seconds: float
  cpu_seconds: float


def main() -> None:
  args = _parser().parse_args()
  with tempfile.TemporaryDirectory(dir=args.folder) as name:
    folder = pathlib.Path(name)
    manifest = write_songs(folder, args.songs)
    flags = [f"--tokenizer={args.tokenizer}"]
    if args.tokenizer is None:
      tokenizer = small_tokenizer(folder / "tokenizer.model")
      flags = [f"--tokenizer={tokenizer.path}", "--small-vocab"]
    commands = contenders(manifest, folder, args.songs, flags)
    spent = {name: [] for name in commands}
    for number in range(args.rounds + 1):
      for name, command in commands.items():
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
        spent[name].append(run(command))
      if not number:  # its time does not count
        tokens = compare(*(folder / name / "out" for name in [*commands][:2]))
        spent = {name: [] for name in commands}
  rows = summarise(spent, args.songs)
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
) -> dict[str, list[str]]:
  """Commands by name, ours before the other; each writes to its own folder."""
  found = {}
  for workers in sorted({1, os.cpu_count()}):
    # By default a part has 8,192 songs, and a process is given whole parts.
    parts = [f"--songs-per-shard={-(-songs // (4 * workers))}"]
    for tool, own in (("prepare_songs", parts), ("row_by_row", [])):
      name = f"{tool} {workers}"
      found[name] = [
        sys.executable,
        *TOOLS[tool],
        str(manifest),
        f"--out={folder / name / 'out'}",
        f"--workers={workers}",
        *flags,
        *own,
      ]
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


def compare(ours: pathlib.Path, theirs: pathlib.Path) -> int:
  """Tokens of all documents, which must be the same in both."""
  source = make_source(open_dataset(ours), "cot", seed=0)
  lengths = np.load(theirs.with_suffix(".npy"), allow_pickle=False)
  np.testing.assert_array_equal(source.lengths(0), lengths)
  ids = np.fromfile(theirs.with_suffix(".bin"), np.int32)
  ends = np.cumsum(lengths).tolist()
  for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
    [part] = source.read(0, number, start=0, length=end - start)
    np.testing.assert_array_equal(part.ids, ids[start:end])
  return ends[-1]


def summarise(spent: dict[str, list[Spent]], songs: int) -> list[dict]:
  """Songs a second by contender: on the clock, and of a core's time."""
  rows = []
  for name, runs in spent.items():
    tool, processes = name.split()
    seconds, cpu_seconds = (
      statistics.median(s) for s in zip(*runs, strict=True)
    )
    rows.append(
      {
        "tool": tool,
        "processes": int(processes),
        "per_second": round(songs / seconds, 1),
        "per_core_second": round(songs / cpu_seconds, 1),
      }
    )
  return rows


def ratios(rows: list[dict]) -> dict[str, dict[str, float]]:
  """Ours over the other, by number of processes."""
  by_tool = {(row["tool"], row["processes"]): row for row in rows}
  return {
    f"{processes} processes": {
      what: round(
        by_tool["prepare_songs", processes][what]
        / by_tool["row_by_row", processes][what],
        2,
      )
      for what in ("per_second", "per_core_second")
    }
    for processes in sorted({row["processes"] for row in rows})
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
