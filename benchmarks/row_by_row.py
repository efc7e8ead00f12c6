"""The released preprocessing of stage 1, restated: one row, one document.

  python -m benchmarks.row_by_row songs.jsonl --tokenizer tokenizer.model \
    --out OUT

writes the CoT documents of a manifest to OUT.bin as int32, one after the
other, and their lengths to OUT.npy: what benchmarks/prepare.py compares with
tools/prepare_songs.py. As in the released code a row is read, its codes are
loaded, text is divided at special tokens and encoded piece by piece, phrases
are encoded wherever they stand, every section's codes become lists of ids
that are interleaved and appended, and one process writes what others encode.

It is written from a description and compared with documents that the released
code has made (tests/test_row_by_row.py). The released code is much slower than
its algorithm, for one reason: its lists hold NumPy's integers, which are
pickled one by one on their way to the process that writes. Here they are
Python's; --as-released does as the released code does.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
import functools
import json
import multiprocessing
import pathlib
import re

import numpy as np

from yue_jax.data.flags import add_vocabulary_flags, vocabulary
from yue_jax.encoding import INSTRUCTION
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import SPECIALS, Vocab

MAX_TRACK_DIFFERENCE = 10  # frames
MIN_FPS, MAX_FPS = 49, 51
_SPECIAL = re.compile(f"<({'|'.join(SPECIALS)})>")
_ROWS_PER_TASK = 32


def main() -> None:
  args = _parser().parse_args()
  lengths = []
  with (
    open(args.manifest) as lines,
    open(f"{args.out}.bin", "wb") as file,
  ):
    for ids in _encoded(lines, args):
      file.write(np.array(ids, np.int32).tobytes())
      lengths.append(len(ids))
  np.save(f"{args.out}.npy", lengths)


def encode_row(
  line: str,
  *,
  root: pathlib.Path,
  tokenizer: Tokenizer,
  vocab: Vocab,
  to_list: Callable[[np.ndarray], list[int]] = np.ndarray.tolist,
) -> list[int]:
  """Ids of the CoT document of a row; none if the song cannot be used."""
  row = json.loads(line)
  vocal = np.load(root / row["vocals_codec"])
  backing = np.load(root / row["instrumental_codec"])
  if abs(vocal.shape[1] - backing.shape[1]) > MAX_TRACK_DIFFERENCE:
    return []
  frames = min(vocal.shape[1], backing.shape[1])
  vocal, backing = vocal[:, :frames], backing[:, :frames]
  fps = frames / row["audio_length_in_sec"]
  if not MIN_FPS <= fps <= MAX_FPS:
    return []
  sections = row["splitted_lyrics"]["segmented_lyrics"]
  lyrics = "\n".join(section["line_content"] for section in sections)
  head = f"{INSTRUCTION}\n[Genre] {row['genres']}\n{lyrics}"
  ids = _encode(head, tokenizer, vocab)
  for section in sections:
    start, end = section["codec_frame_start"], section["codec_frame_end"]
    if not 0 <= start < end <= frames or end - start < fps:
      continue
    ids += _encode("[start_of_segment]", tokenizer, vocab)
    ids += _encode(section["line_content"], tokenizer, vocab)
    ids += [vocab.soa, vocab.xcodec]
    tracks = vocal[:, start:end], backing[:, start:end]
    ids += to_list(_interleaved(*tracks, vocab))
    ids += [vocab.eoa]
    ids += _encode("[end_of_segment]", tokenizer, vocab)
  return [*ids, vocab.eod]


def _encode(text: str, tokenizer: Tokenizer, vocab: Vocab) -> list[int]:
  """Ids of text in which special tokens may stand."""
  ids = []
  # re.split with a group: even pieces are text, odd ones names of specials.
  for number, piece in enumerate(_SPECIAL.split(text)):
    if number % 2:
      ids.append(vocab.special(piece))
    else:
      ids += tokenizer.encode(piece)
  return ids


def _interleaved(
  vocal: np.ndarray, backing: np.ndarray, vocab: Vocab
) -> np.ndarray:
  """v0 b0 v1 b1 ... of codes (1, frames)."""
  ids = [_track_ids(codes, vocab) for codes in (vocal, backing)]
  return np.array(ids).T.reshape(-1)


def _track_ids(codes: np.ndarray, vocab: Vocab) -> list[int]:
  if not 0 <= codes.min() <= codes.max() < vocab.codes():
    raise ValueError(
      f"codes {codes.min()}..{codes.max()}, expected 0..{vocab.codes() - 1}"
    )
  ids = codes.astype(np.uint32)
  ids[0] += vocab.codebook(0).start
  return ids[0].tolist()


def _encoded(
  lines: Iterable[str], args: argparse.Namespace
) -> Iterator[list[int]]:
  encode = functools.partial(_encode_line, args)
  if args.workers == 1 and not args.as_released:
    yield from map(encode, lines)
    return
  with multiprocessing.Pool(args.workers) as pool:
    yield from pool.imap(encode, lines, _ROWS_PER_TASK)
    pool.close()
    pool.join()  # so that the time of its processes counts


def _encode_line(args: argparse.Namespace, line: str) -> list[int]:
  tokenizer = _tokenizer(args.tokenizer)
  return encode_row(
    line,
    root=args.manifest.parent,
    tokenizer=tokenizer,
    vocab=vocabulary(args, tokenizer),
    to_list=list if args.as_released else np.ndarray.tolist,
  )


@functools.cache
def _tokenizer(path: pathlib.Path) -> Tokenizer:
  """Once in every process."""
  return Tokenizer(path)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("manifest", type=pathlib.Path, help="JSON lines; paths beside it")
  add("--tokenizer", type=pathlib.Path, required=True, help=".model file")
  add("--out", type=pathlib.Path, required=True, help="prefix of new files")
  add("--workers", type=int, default=1, help="processes that encode")
  add("--as-released", action="store_true", help="lists of NumPy's integers")
  add_vocabulary_flags(parser)
  return parser


if __name__ == "__main__":
  main()
