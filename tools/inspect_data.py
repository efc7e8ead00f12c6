"""Shows what a data set, or a run, reads.

  python tools/inspect_data.py data/songs --kind cot --documents 2 \\
    --tokenizer tokenizer.model --html songs.html
  python tools/inspect_data.py runs/stage1 --html run.html

prints documents with the stream of every stretch in colour (text as text,
where a tokenizer is given), and writes a page: for every source the lengths of
its documents, how full samples are, the share of every stream, and, of a run,
how often each document is read in a phase and since the run began; of a data
set, the kind that is asked for and why rows were rejected.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
import dataclasses
import json
import pathlib
import sys

import numpy as np

from yue_jax import config
from yue_jax.data.course import Course
from yue_jax.data.dataset import open_dataset
from yue_jax.data.samples import PlannedSamples
from yue_jax.data.sources.kinds import KINDS
from yue_jax.data.sources.make import open_source
from yue_jax.report import html_page
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import Stream

_COLORS = {  # of streams: ANSI, and the same on the page
  Stream.TEXT: (37, "#555555"),
  Stream.RESTATED: (36, "#1b9e9e"),
  Stream.MARK: (90, "#aaaaaa"),
  Stream.REFERENCE: (35, "#a64ca6"),
  Stream.VOCAL: (31, "#c43c39"),
  Stream.BACKING: (34, "#3b6fb6"),
  Stream.MIXTURE: (33, "#b8860b"),
}
_SAMPLES = 64  # that shares of streams are counted on
_PACKED = 4096  # that fill is counted on
_BARS = 40


@dataclasses.dataclass(frozen=True)
class Shown:
  """Samples to look at.

  Attributes:
    title: of what.
    samples: of one source.
    reading: what a run reads of them; None for a data set.
  """

  title: str
  samples: PlannedSamples
  reading: "Reading | None" = None


@dataclasses.dataclass(frozen=True)
class Reading:
  """What a phase reads of a source.

  Attributes:
    passes: rounds at the end of the phase, since the run began.
    here: how often the phase begins each document, (documents,).
    so_far: likewise, since the run began.
  """

  passes: float
  here: np.ndarray
  so_far: np.ndarray


def main(argv: list[str] | None = None) -> None:
  args = _parser().parse_args(argv)
  try:
    shown = _open(args)
    tokenizer = Tokenizer(args.tokenizer) if args.tokenizer else None
    for part in shown:
      print(f"{part.title}: {_facts(part)}")
      for number in range(min(args.documents, len(part.samples.source))):
        ids, streams = _document(part.samples, number)
        print(f"document {number}, {len(ids)} tokens")
        print("  " + " ".join(_colored(ids, streams, tokenizer)))
    if args.html:
      page = page_of(args.path, shown)
      args.html.write_text(page, encoding="utf-8")
      print(args.html)
  except (ValueError, OSError) as error:
    sys.exit(f"inspect_data: {error}")


def stretches(
  ids: np.ndarray, streams: np.ndarray
) -> Iterator[tuple[tuple[Stream, ...], np.ndarray]]:
  """Stretches of one stream, or of two that alternate.

  Example: streams V B V B M of ids 1 2 3 4 5 give ((V, B), [1, 2, 3, 4]) and
  ((M,), [5]).
  """
  start = 0
  while start < len(ids):
    kinds = tuple(dict.fromkeys(streams[start : start + 2].tolist()))
    turns = np.resize(np.array(kinds), len(ids) - start)
    other = np.flatnonzero(streams[start:] != turns)
    stop = start + int(other[0]) if len(other) else len(ids)
    if len(kinds) == 2 and stop - start < 4:  # a border, not a pair
      kinds, stop = kinds[:1], start + 1
    yield tuple(map(Stream, kinds)), ids[start:stop]
    start = stop


def _open(args: argparse.Namespace) -> list[Shown]:
  if (args.path / "dataset.json").is_file():
    vocab = open_dataset(args.path).vocab
    source = open_source(args.path, args.kind, seed=args.seed, vocab=vocab)
    samples = PlannedSamples(source, context=args.context, seed=args.seed)
    return [Shown(f"documents of kind {args.kind}", samples)]
  path = args.path / "config.json"
  if not path.is_file():
    raise ValueError(
      f"{args.path} holds neither dataset.json nor config.json; expected a"
      " prepared data set or the directory of a run"
    )
  cfg = config.from_config_dict(json.loads(path.read_text()))
  course = Course(
    cfg.phases, cfg.data, vocab=cfg.vocab, cache=args.path / "plans"
  )
  return list(readings(course))


def readings(course: Course) -> Iterator[Shown]:
  """Every source of every phase, with how often it is read."""
  read: dict[str, np.ndarray] = {}
  for phase in course.phases:
    steps = phase.config.steps * phase.config.samples
    counts = phase.mixture.read_before(steps)
    for line, count in zip(phase.mixture.lines, counts, strict=True):
      samples, source = line.samples, line.samples.source.fingerprint
      here = times_read(samples, line.start, line.start + count)
      read[source] = read.get(source, 0) + here
      reading = Reading(phase.passes[line.name], here, read[source])
      title = f"phase {phase.config.name}: {line.name}"
      yield Shown(title, samples, reading)


def times_read(samples: PlannedSamples, start: int, stop: int) -> np.ndarray:
  """How often samples `start` to `stop` begin each document, (documents,).

  What is cut is counted where it begins, so that a whole epoch counts one.
  """
  times = np.zeros(len(samples.source), np.int64)
  while start < stop:
    epoch, first = samples.locate(start)
    size = samples.samples_in(epoch)
    last = min(size, first + stop - start)
    if last - first == size:
      times += 1
    else:
      plan = samples.plan(epoch)
      for number in range(first, last):
        for piece in plan.pieces(number):
          times[piece.document] += piece.start == 0
    start += last - first
  return times


def _document(
  samples: PlannedSamples, number: int
) -> tuple[np.ndarray, np.ndarray]:
  """Ids and streams of a document of the first epoch."""
  epoch, source = samples.first_epoch, samples.source
  length = int(source.lengths(epoch)[number])
  parts = source.read(epoch, number, start=0, length=length)
  return (
    np.concatenate([part.ids[: part.length] for part in parts]),
    np.concatenate([part.streams[: part.length] for part in parts]),
  )


def _facts(shown: Shown) -> str:
  samples, epoch = shown.samples, shown.samples.first_epoch
  songs, cuts = samples.source.overlong(epoch, samples.context)
  facts = (
    f"{len(samples.source):,} documents in {samples.samples_in(epoch):,}"
    f" samples of {samples.context:,}, {samples.fill(epoch):.2%} full;"
    f" {songs:,} songs longer than a sample, {cuts:,} cuts"
  )
  if shown.reading is None:
    return facts
  return f"{facts}; {shown.reading.passes:.2f} rounds by the end of the phase"


def _colored(
  ids: np.ndarray, streams: np.ndarray, tokenizer: Tokenizer | None
) -> Iterator[str]:
  for kinds, stretch in stretches(ids, streams):
    name = "+".join(kind.name.lower() for kind in kinds)
    words = kinds[0] in (Stream.TEXT, Stream.RESTATED) and tokenizer
    what = repr(tokenizer.decode(stretch.tolist())) if words else len(stretch)
    color = _color(kinds[0])[0]
    yield f"\x1b[{color}m{name}:{what}\x1b[0m"


def page_of(path: pathlib.Path, shown: Sequence[Shown]) -> str:
  parts = [
    html_page.section(part.title, _facts(part), _charts(part)) for part in shown
  ]
  return html_page.page(str(path), [*parts, *_rejections(path)])


def _charts(shown: Shown) -> Iterator[str]:
  samples, epoch = shown.samples, shown.samples.first_epoch
  lengths, context = samples.source.lengths(epoch), samples.context
  yield html_page.histogram(
    "Lengths of documents",
    *np.histogram(lengths, bins=_BARS, range=(0, max(int(lengths.max()), 1))),
    of="documents, by tokens",
    mark=(context, "a sample"),
  )
  fill = _fill(samples, epoch)
  yield html_page.histogram(
    "How full samples are",
    *np.histogram(fill * 100, bins=_BARS, range=(0, 100)),
    of=f"the first {len(fill):,} samples, by % of places that hold a token",
  )
  first = range(min(_SAMPLES, samples.samples_in(epoch)))
  tokens = sum(
    np.bincount(samples.sample(n)["streams"], minlength=len(Stream))
    for n in first
  )
  yield html_page.shares(
    f"Streams of the targets in {len(first)} samples",
    {
      stream.name.lower(): (int(tokens[stream]), _color(stream)[1])
      for stream in Stream
      if tokens[stream] and stream != Stream.PAD
    },
  )
  if shown.reading:
    yield _repeats(shown.reading)


def _fill(samples: PlannedSamples, epoch: int) -> np.ndarray:
  """Shares of the first samples of an epoch that hold a token."""
  plan = samples.plan(epoch)
  places = [
    sum(piece.length for piece in plan.pieces(number))
    for number in range(min(_PACKED, len(plan)))
  ]
  return np.array(places) / samples.context


def _repeats(reading: Reading) -> str:
  here, so_far = np.bincount(reading.here), np.bincount(reading.so_far)
  here = np.pad(here, (0, len(so_far) - len(here)))
  documents = len(reading.here)

  def share(count: int) -> str:
    return f"{count:,} ({count / documents:.1%})" if count else ""

  return html_page.table(
    "How often documents are read",
    ("times", "in this phase", "since the run began"),
    [
      (times, share(int(now)), share(int(ever)))
      for times, (now, ever) in enumerate(zip(here, so_far, strict=True))
      if now or ever
    ],
  )


def _color(stream: Stream) -> tuple[int, str]:
  if stream in _COLORS:
    return _COLORS[stream]
  lightness = 30 + 6 * (stream - Stream.CODEBOOK_0)
  return 32, f"hsl(120 42% {lightness}%)"


def _rejections(path: pathlib.Path) -> Iterator[str]:
  """Why rows of a data set were rejected; nothing for a run."""
  listed = path / "rejected.jsonl"
  if not listed.is_file():
    return
  with open(listed, encoding="utf-8") as file:
    reasons = Counter(json.loads(line)["reason"] for line in file)
  facts = f"{reasons.total():,} rows of the manifests became no song"
  rows = reasons.most_common()
  charts = (
    [html_page.table("By reason", ("reason", "rows"), rows)] if rows else []
  )
  yield html_page.section("Rejected rows", facts, charts)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("path", type=pathlib.Path, help="a prepared data set, or a run")
  add("--kind", choices=KINDS, default="cot", help="of a data set [cot]")
  add("--context", type=int, default=8192, help="tokens of a sample [8192]")
  add("--seed", type=int, default=0, help="of what is drawn")
  add("--documents", type=int, default=1, help="how many to print [1]")
  add("--tokenizer", type=pathlib.Path, help=".model file, to print text")
  add("--html", type=pathlib.Path, help="page to write")
  return parser


if __name__ == "__main__":
  main()
