"""Measures loading on one core, beside Grain's own streaming packers.

  ours     documents built from records of songs (clips of icl and wordings of
           speech drawn anew), packed by plan, batched: inputs, targets,
           streams, segments and positions of every token
  grain    the same documents, in which nothing is drawn any more, as ready
           ids in records of their own (int32), shuffled and packed by Grain
           as they stream, batched: tokens, segments and positions
  built    documents built from records of songs as ours are, packed and
           batched by Grain: tokens, streams, segments and positions

The last two lines are of ours alone: cot, unconditional music of the mix and
of both tracks, and speech, in the shares of the paper's first phase.

Grain's packers: FirstFit and BestFit of 64 bins, whose documents are cut to
the context beforehand since they refuse longer ones, and ConcatThenSplit. (8
to 1,024 bins, ids as uint16 and a thread that reads ahead were tried: nothing
is more than 5 % faster.)
Everything runs in one process on one core, without prefetching, in turns, and
medians are taken. A figure is millions of tokens (padding is none) per second
of processor time; cold ones are by the clock, after the kernel was asked to
drop the shards from its page cache (posix_fadvise, DONTNEED) and with them
the megabytes that then came from storage.

Prints JSON, and a table to stderr. No accelerator is used.
"""

import argparse
from collections.abc import Iterator
import dataclasses
import functools
import itertools
import os
import pathlib
import statistics
import tempfile
import time

import grain
import numpy as np

from benchmarks.report import report
from benchmarks.rows import small_tokenizer, write_songs, write_speech
from yue_jax.data.dataset import Dataset, open_dataset
from yue_jax.data.mixture import Line, Mixture
from yue_jax.data.pipeline import Samples, read_rows
from yue_jax.data.preparing.prepare import prepare
from yue_jax.data.preparing.recipe import Recipe
from yue_jax.data.records import ShardWriter
from yue_jax.data.samples import PlannedSamples
from yue_jax.data.sources.make import make_source
from yue_jax.data.sources.source import Source
from yue_jax.songs import Rules
from yue_jax.vocab import Vocab

KINDS = ("cot", "icl", "speech", "window")
CONTEXTS = (8_192, 16_384)
# Thousandths of the samples; conditional to not 3 : 1, music to speech 10 : 1.
FIRST_PHASE = {"cot": 659, "mixture": 139, "dual": 111, "speech": 91}
BATCH, BINS = 8, 64
FOREVER = 2**31

# Grain's packers that pack as ours do.
ALIKE = {"best_fit": ("first_fit", "best_fit"), "split": ("concat_split",)}

Batches = Iterator[dict[str, np.ndarray]]


@dataclasses.dataclass
class Contender:
  """Batches without end, and the shards that they are read from."""

  name: str
  batches: Batches
  segments: str  # name of the array that is 0 in padding
  shards: list[pathlib.Path]


def main() -> None:
  args = _parser().parse_args()
  # Before threads are started, which inherit it.
  os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  rows = []
  with tempfile.TemporaryDirectory(dir=args.folder) as name:
    datasets = prepare_noise(pathlib.Path(name), args.songs)
    for kind, context in itertools.product(KINDS, CONTEXTS):
      dataset = datasets["songs" if kind in ("cot", "icl") else kind]
      folder = pathlib.Path(name) / f"{kind}-{context}"
      folder.mkdir()
      found = contenders(dataset, kind, context, folder)
      rows += measure(found, kind, context, args)
    for context in CONTEXTS:
      found = [of_first_phase(datasets, context)]
      rows += measure(found, "phase", context, args)
  figures = {
    "songs": args.songs,
    "rounds": args.rounds,
    "batch": BATCH,
    "bins": BINS,
    "loaders": rows,
    "ratios": ratios(rows),
  }
  report(figures, rows, packages=("grain", "array-record", "numpy"))


def prepare_noise(folder: pathlib.Path, songs: int) -> dict[str, Dataset]:
  """Data sets of songs, of their windows (of a tenth), and of speech."""
  tokenizer = small_tokenizer(folder / "tokenizer.model")
  vocab = Vocab.small(tokenizer.size)
  found = {}
  for name, content, write in (
    ("songs", "songs", functools.partial(write_songs, count=songs)),
    (
      "window",
      "songs",
      functools.partial(write_songs, count=songs // 10, codebooks=8),
    ),
    ("speech", "speech", functools.partial(write_speech, count=10 * songs)),
  ):
    raw = folder / f"raw-{name}"
    raw.mkdir()
    recipe = Recipe(
      tokenizer=tokenizer, vocab=vocab, rules=Rules(), content=content
    )
    prepare(write(raw), folder / name, recipe=recipe)
    found[name] = open_dataset(folder / name)
  return found


def contenders(
  dataset: Dataset, kind: str, context: int, folder: pathlib.Path
) -> list[Contender]:
  """All that read the documents of a kind."""
  source = make_source(dataset, kind, seed=0)
  songs = sorted(dataset.directory.glob("*.array_record"))
  split = kind in ("cot", "icl")
  found = [
    Contender(f"ours {p}", ours(source, context, p), "segments", songs)
    for p in (("best_fit", "split") if split else ("best_fit",))
  ]
  for name, pack, longest in (
    ("first_fit", grain.experimental.FirstFitPackIterDataset, context),
    ("best_fit", grain.experimental.BestFitPackIterDataset, context),
    ("concat_split", grain.experimental.ConcatThenSplitIterDataset, FOREVER),
  ):
    bins = {} if longest == FOREVER else {"num_packing_bins": BINS}
    shard = folder / f"{longest}.array_record"
    if not shard.exists():
      write_documents(source, shard, longest)
    for of, documents, fields in (
      ("grain", ready_documents(shard), ["tokens"]),
      ("built", built_documents(source, longest), ["tokens", "streams"]),
    ):
      packed = pack(
        documents, length_struct=dict.fromkeys(fields, context), **bins
      )
      found.append(
        Contender(
          f"{of} {name}",
          iter(packed.batch(BATCH)),
          "tokens_segment_ids",
          [shard] if of == "grain" else songs,
        )
      )
  return found


def ours(source: Source, context: int, packing: str) -> Batches:
  return _batches(
    PlannedSamples(source, context=context, seed=0, packing=packing)
  )


def of_first_phase(datasets: dict[str, Dataset], context: int) -> Contender:
  """Mixed documents, in the shares of experiments/yue_four_phases.py."""
  lines = []
  for kind, thousandths in FIRST_PHASE.items():
    dataset = datasets["speech" if kind == "speech" else "songs"]
    samples = PlannedSamples(
      make_source(dataset, kind, seed=0),
      context=context,
      seed=0,
      packing="split",
    )
    lines.append(Line(kind, samples, 0, 1000 * thousandths))
  mixture = Mixture(lines, context=context)
  shards = [
    shard
    for name in ("songs", "speech")
    for shard in sorted(datasets[name].directory.glob("*.array_record"))
  ]
  return Contender("ours split", _batches(mixture), "segments", shards)


def _batches(samples: Samples) -> Batches:
  return read_rows(
    samples.sample,
    range(FOREVER),
    rows=range(BATCH),
    rows_per_step=BATCH,
    threads=0,
  )


def ready_documents(shard: pathlib.Path) -> grain.IterDataset:
  """Records of int32 ids, in an order that is drawn for every epoch."""
  records = grain.sources.ArrayRecordDataSource(str(shard))
  chain = grain.MapDataset.source(records).shuffle(seed=0).repeat()
  chain = chain.map(lambda record: {"tokens": np.frombuffer(record, np.int32)})
  return chain.to_iter_dataset(grain.ReadOptions(0, 0))


def built_documents(source: Source, longest: int) -> grain.IterDataset:
  """Documents of records of songs, likewise, in pieces of so many tokens."""
  lengths = source.lengths(0).tolist()

  def build(number: int) -> list[dict[str, np.ndarray]]:
    return pieces(source, number, lengths[number], longest)

  chain = grain.MapDataset.range(len(source)).shuffle(seed=0).repeat()
  chain = chain.map(build).to_iter_dataset(grain.ReadOptions(0, 0))
  return grain.experimental.FlatMapIterDataset(chain, Each())


class Each(grain.experimental.FlatMapTransform):
  """The elements of a list, one by one."""

  max_fan_out = 16

  def flat_map(self, element):
    return element


def write_documents(source: Source, path: pathlib.Path, longest: int) -> None:
  """Writes every document as records of its ids, in pieces of so many."""
  with ShardWriter(path) as writer:
    for number, length in enumerate(source.lengths(0).tolist()):
      for piece in pieces(source, number, length, longest):
        writer.write(piece["tokens"].tobytes())
    writer.close()


def pieces(
  source: Source, number: int, length: int, longest: int
) -> list[dict[str, np.ndarray]]:
  """A document of epoch 0; each window of a run is one of its own."""
  return [
    {
      "tokens": part.ids[at : at + longest],
      "streams": part.streams[at : at + longest],
    }
    for part in source.read(0, number, start=0, length=length)
    for at in range(0, len(part.ids), longest)
  ]


def measure(
  found: list[Contender], kind: str, context: int, args: argparse.Namespace
) -> list[dict]:
  """A line of figures for every contender."""
  batches = args.tokens // (BATCH * context)
  for each in found:
    take(each, batches)  # plans are made
    for shard in each.shards:
      shard.read_bytes()  # into the page cache
  warm = {each.name: [] for each in found}
  cold = {each.name: [] for each in found}
  for _, each in itertools.product(range(args.rounds), found):
    warm[each.name].append(take(each, batches))
  for _, each in itertools.product(range(args.rounds), found):
    drop_from_page_cache(each.shards)
    cold[each.name].append(take(each, batches))
  return [
    {
      "loader": each.name,
      "kind": kind,
      "context": context,
      "fill": round(median(warm[each.name], "fill"), 3),
      "warm_mtokens_per_cpu_second": median(warm[each.name], "per_cpu_second"),
      "cold_mtokens_per_second": median(cold[each.name], "per_second"),
      "cold_mb_read": median(cold[each.name], "mb_read"),
    }
    for each in found
  ]


def take(contender: Contender, batches: int) -> dict[str, float]:
  """Takes so many batches, and says what it cost."""
  taken, stored = [], bytes_from_storage()
  cpu, began = time.process_time(), time.perf_counter()
  for _ in range(batches):
    taken.append(next(contender.batches)[contender.segments])
  seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
  tokens = sum(map(np.count_nonzero, taken))
  return {
    "fill": tokens / sum(segments.size for segments in taken),
    "per_second": tokens / seconds / 1e6,
    "per_cpu_second": tokens / cpu / 1e6,
    "mb_read": (bytes_from_storage() - stored) / 1e6,
  }


def drop_from_page_cache(paths: list[pathlib.Path]) -> None:
  for path in paths:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)  # pages that are still to be written are not dropped
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def bytes_from_storage() -> int:
  """That this process made the kernel read so far."""
  lines = pathlib.Path("/proc/self/io").read_text().splitlines()
  return int(dict(line.split(": ") for line in lines)["read_bytes"])


def median(taken: list[dict[str, float]], what: str) -> float:
  return round(statistics.median(each[what] for each in taken), 3)


def ratios(rows: list[dict]) -> dict[str, dict[str, float]]:
  """Ours over the fastest of Grain's that pack likewise."""
  by = {(row["kind"], row["context"], row["loader"]): row for row in rows}
  found = {}
  for (kind, context, loader), row in by.items():
    of, packing = loader.split()
    if of != "ours" or kind == "phase":
      continue
    found[f"{kind} {context} {packing}"] = {
      f"{state} over {other}": round(
        row[what]
        / max(by[kind, context, f"{other} {p}"][what] for p in ALIKE[packing]),
        2,
      )
      for state, what in (
        ("warm", "warm_mtokens_per_cpu_second"),
        ("cold", "cold_mtokens_per_second"),
      )
      for other in ("grain", "built")
    }
  return found


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--songs", type=int, default=600, help="[600]")
  add("--rounds", type=int, default=3, help="[3]")
  add("--tokens", type=int, default=2**21, help="of a round [2^21]")
  add("--folder", type=pathlib.Path, help="for 1 GB [temporary files]")
  return parser


if __name__ == "__main__":
  main()
