"""Shows what a data set, or a run, reads.

  python tools/inspect_data.py data/songs --kind cot --documents 2 \\
    --tokenizer tokenizer.model --html songs.html
  python tools/inspect_data.py runs/stage1 --html run.html

prints documents with the stream of every stretch in colour (text as text,
where a tokenizer is given), and writes a page with the histogram of lengths,
how full samples are, the share of every stream, and why rows were rejected.
Of a run, every source of every phase is shown, with how often its songs are
read in all; of a data set, the kind that is asked for.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import html
import itertools
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
_CODEBOOK = (32, "#3a8f3a")
_SAMPLES = 64  # that shares of streams are counted on
_BARS = 40
_STYLE = (
  "body{font:15px sans-serif;margin:2em auto;max-width:60em}"
  "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right}"
  "td:first-child,th:first-child{text-align:left}rect{fill:#3b6fb6}"
)


@dataclasses.dataclass(frozen=True)
class Shown:
  """Samples to look at, with a title and how often they are read, if known."""

  title: str
  samples: PlannedSamples
  passes: float | None = None


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
      page = _page(args.path, shown)
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
    return [Shown(f"{args.path}, {args.kind}", samples)]
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
  return [
    Shown(
      f"phase {phase.config.name}, {line.name}",
      line.samples,
      phase.passes[line.name],
    )
    for phase in course.phases
    for line in phase.mixture.lines
  ]


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
  if shown.passes is None:
    return facts
  return f"{facts}; read {shown.passes:.2f} times by the end of the phase"


def _colored(
  ids: np.ndarray, streams: np.ndarray, tokenizer: Tokenizer | None
) -> Iterator[str]:
  for kinds, stretch in stretches(ids, streams):
    name = "+".join(kind.name.lower() for kind in kinds)
    words = kinds[0] in (Stream.TEXT, Stream.RESTATED) and tokenizer
    what = repr(tokenizer.decode(stretch.tolist())) if words else len(stretch)
    color = _COLORS.get(kinds[0], _CODEBOOK)[0]
    yield f"\x1b[{color}m{name}:{what}\x1b[0m"


def _page(path: pathlib.Path, shown: Sequence[Shown]) -> str:
  title = html.escape(str(path))
  parts = itertools.chain.from_iterable(map(_section, shown))
  return "\n".join(
    [
      "<!doctype html><html lang=en><meta charset=utf-8>",
      f"<title>{title}</title>",
      f"<style>{_STYLE}</style><h1>{title}</h1>",
      *parts,
      *_rejections(path),
      "</html>",
    ]
  )


def _section(shown: Shown) -> Iterator[str]:
  samples, epoch = shown.samples, shown.samples.first_epoch
  yield f"<h2>{html.escape(shown.title)}</h2>"
  yield f"<p>{html.escape(_facts(shown))}</p>"
  counts, edges = np.histogram(samples.source.lengths(epoch), bins=_BARS)
  yield _bars("Lengths of documents, tokens", counts, edges)
  first = range(min(_SAMPLES, samples.samples_in(epoch)))
  read = [samples.sample(number) for number in first]
  fill = [np.count_nonzero(s["segments"]) / samples.context for s in read]
  counts, edges = np.histogram(fill, bins=20, range=(0, 1))
  yield _bars(f"How full the first {len(read)} samples are", counts, edges)
  tokens = sum(np.bincount(s["streams"], minlength=len(Stream)) for s in read)
  tokens[Stream.PAD] = 0
  yield "<table><tr><th>stream<th>share of targets</tr>"
  for stream in Stream:
    if tokens[stream]:
      color = _COLORS.get(stream, _CODEBOOK)[1]
      yield (
        f"<tr><td style='color:{color}'>{stream.name.lower()}"
        f"<td>{tokens[stream] / tokens.sum():.2%}</tr>"
      )
  yield "</table>"


def _bars(title: str, counts: Iterable[int], edges: np.ndarray) -> str:
  """A histogram as SVG, with the range of every bar in its tooltip."""
  counts = list(counts)
  width, most = 720 / len(counts), max(*counts, 1)
  bars = [
    f"<rect x='{i * width:.1f}' y='{120 - 110 * count / most:.1f}'"
    f" width='{width - 1:.1f}' height='{110 * count / most:.1f}'>"
    f"<title>{edges[i]:.4g} to {edges[i + 1]:.4g}: {count}</title></rect>"
    for i, count in enumerate(counts)
  ]
  return (
    f"<h3>{html.escape(title)}</h3><svg viewBox='0 0 720 140' role=img>"
    + "".join(bars)
    + f"<text x=0 y=136 font-size=12>{edges[0]:.4g}</text>"
    f"<text x=720 y=136 font-size=12 text-anchor=end>{edges[-1]:.4g}</text>"
    "</svg>"
  )


def _rejections(path: pathlib.Path) -> Iterator[str]:
  """Why rows of a data set were rejected; nothing for a run."""
  listed = path / "rejected.jsonl"
  if not listed.is_file():
    return
  with open(listed, encoding="utf-8") as file:
    reasons = Counter(json.loads(line)["reason"] for line in file)
  yield "<h2>Rejected rows</h2><table><tr><th>reason<th>rows</tr>"
  for reason, count in reasons.most_common():
    yield f"<tr><td>{html.escape(reason)}<td>{count:,}</tr>"
  yield "</table>" if reasons else "</table><p>none</p>"


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
