"""Stage 2: from codebook 0 of tracks to all codebooks, window by window.

The windows of all tracks are rows of one batch for the decoder loop in
`decode`. Codebook 0 is forced frame by frame, and the others follow in one
cache. Call it inside `jax.set_mesh`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
import itertools

import numpy as np

from yue_jax import codec
from yue_jax.sampling.decode import Decoded, decode
from yue_jax.sampling.layered import LayeredDecoder
from yue_jax.sampling.logits import GREEDY, Sampling
from yue_jax.sampling.queues import Row, Rule, forced, join, sampled
from yue_jax.vocab import MAX_CODEBOOKS, Vocab

_MARKS = 3  # <SOA> <stage_1> codes <stage_2>


def generate_codebooks(
  decoder: LayeredDecoder,
  tracks: Sequence[np.ndarray],
  *,
  vocab: Vocab,
  seeds: Sequence[Sequence[int]],
  window: int = 300,
  codebooks: int = MAX_CODEBOOKS,
  ranges: Sequence[range] | None = None,
  sampling: Sampling = GREEDY,
  windows_at_once: int = 64,
  watch: Callable[[int, int], None] | None = None,
) -> Iterator[np.ndarray]:
  """All codebooks of tracks of which codebook 0 is known.

  The model knows whole windows only. A rest is therefore not decoded as a
  short one: the last window is moved back until it ends with the track, and
  gives its last frames alone. A track shorter than a window has its last
  frame repeated.

  Args:
    decoder: a stage-2 model.
    tracks: (T,) codes each.
    seeds: (tracks, any) non-negative integers; unused when greedy.
    window: frames the model was trained on.
    ranges: ids among which the code of each residual codebook is chosen:
      `own_ranges` unless given.
    windows_at_once: windows in one batch at most; bounds the memory of the
      cache and (but for rounding) changes nothing else.
    watch: called every few hundred tokens with the number of frames decoded so
      far and with that of all windows.

  Returns:
    Iterator over (codebooks, T) uint16 codes of each track, which are there as
    soon as its last window is done; row 0 is the track as given.
  """
  rule = frame_rule(own_ranges(vocab, codebooks) if ranges is None else ranges)
  places = [
    (track, start)
    for track, codes in enumerate(tracks)
    for start in window_starts(len(codes), window)
  ]
  rows = [
    window_row(tracks[track][start : start + window], vocab, window=window)
    for track, start in places
  ]

  def show(before: int, decoded: Sequence[Decoded]) -> None:
    if watch is not None:
      drawn = sum(max(0, len(r.tokens) - _MARKS - window) for r in decoded)
      watch(before * window + drawn // codebooks, len(rows) * window)

  decoded = _decode_in_batches(
    decoder,
    rows,
    rule,
    sampling=sampling,
    seeds=np.array([(*seeds[track], start) for track, start in places]),
    at_once=windows_at_once,
    watch=show,
  )
  return (
    _whole_track(codes, decoded, vocab, window=window, codebooks=codebooks)
    for codes in tracks
  )


def check_stage_2(
  decoder: LayeredDecoder, vocab: Vocab, *, window: int
) -> None:
  """Raises ValueError for a model that goes on with codebook 0.

  So does one of stage 1, which has not seen any other: the likeliest codec ids
  that follow the first code of a window are then all of codebook 0.
  """
  row = window_row(np.arange(window) % vocab.codes(), vocab, window=window)
  first = Row(*(part[: _MARKS + window + 2] for part in row))  # one SAMPLE
  rule = Rule(cycle=(vocab.codec(),), maximum=MAX_CODEBOOKS - 1)
  (decoded,) = decode(
    decoder, [first], [rule], sampling=GREEDY, seeds=np.zeros((1, 1), int)
  )
  if all(
    token in vocab.codebook(0) for token in decoded.tokens[-rule.maximum :]
  ):
    raise ValueError(
      "the model goes on with codebook 0 where stage 2 has residual codebooks;"
      " is it a checkpoint of stage 1?"
    )


def own_ranges(vocab: Vocab, codebooks: int) -> tuple[range, ...]:
  """Every residual codebook in its own range, as the paper says."""
  return tuple(vocab.codebook(k) for k in range(1, codebooks))


def released_ranges(vocab: Vocab, codebooks: int) -> tuple[range, ...]:
  """All residual codebooks at every step, as the released code has it.

  With YuE's vocabulary, ids 46,358 to 53,525 seven times. What lies outside
  the range of its codebook is mended as there: it becomes the code most
  frequent in its codebook and track.
  """
  first, last = vocab.codebook(1), vocab.codebook(codebooks - 1)
  return (range(first.start, last.stop),) * (codebooks - 1)


def frame_rule(ranges: Sequence[range]) -> Rule:
  """What follows codebook 0 of a frame: one id of each range."""
  return Rule(cycle=tuple(ranges), maximum=len(ranges))


def window_starts(frames: int, window: int) -> list[int]:
  """First frames of the windows that cover a track.

  Example: 25 frames in windows of 10 -> [0, 10, 15].
  """
  if not frames:
    raise ValueError("a track without frames has no windows")
  last = max(0, frames - window)
  return [min(start, last) for start in range(0, frames, window)]


def window_row(codes: np.ndarray, vocab: Vocab, *, window: int) -> Row:
  """The queue of a window of codebook 0, up to `window` frames.

  With the ids of the example of `documents.window_document`, codes 0 1 give
  11 23 | 32 33 | 27 | 32 SAMPLE | 33 SAMPLE.
  """
  codes = np.pad(codes, (0, window - len(codes)), mode="edge")
  ids = codec.frames_to_ids(codes[None], vocab)[0]
  prefix = forced([vocab.soa, vocab.stage_1, *ids, vocab.stage_2])
  drawn = join([sampled(0)] * window)
  frames = Row(*map(codec.interleave, forced(ids), drawn))
  return join([prefix, frames])


def _whole_track(
  codes: np.ndarray,
  decoded: Iterator[Decoded],
  vocab: Vocab,
  *,
  window: int,
  codebooks: int,
) -> np.ndarray:
  """Takes the windows of the next track and joins them: (codebooks, T)."""
  ids = np.zeros((codebooks, max(len(codes), window)), np.int32)
  starts = window_starts(len(codes), window)
  results = list(itertools.islice(decoded, len(starts)))
  # Backwards: where windows overlap, the earlier one has the last word.
  for start, result in zip(starts[::-1], results[::-1], strict=True):
    ids[:, start : start + window] = codec.unflatten(
      result.tokens[-window * codebooks :], codebooks
    )
  return codec.ids_to_frames(_in_range(ids[:, : len(codes)], vocab), vocab)


def _in_range(ids: np.ndarray, vocab: Vocab) -> np.ndarray:
  """(K, T) ids with those outside their codebook's range replaced.

  By the most frequent one inside, the earlier of two; as the released code,
  but that it may take one outside.
  """
  ids = ids.copy()
  for codebook, row in enumerate(ids):
    own = vocab.codebook(codebook)
    inside = (own.start <= row) & (row < own.stop)
    if inside.all():
      continue
    if not inside.any():
      raise ValueError(
        f"not one token of codebook {codebook} is in its range {own}; is it a"
        " stage-2 model of this vocabulary?"
      )
    row[~inside] = Counter(row[inside].tolist()).most_common(1)[0][0]
  return ids


def _decode_in_batches(
  decoder: LayeredDecoder,
  rows: Sequence[Row],
  rule: Rule,
  *,
  sampling: Sampling,
  seeds: np.ndarray,
  at_once: int,
  watch: Callable[[int, Sequence[Decoded]], None],
) -> Iterator[Decoded]:
  """Batches of one size, hence one program; the last repeats its last row.

  `watch` is called with the number of rows of earlier batches and with what
  the rows of this one have so far.
  """
  size = min(at_once, len(rows))
  for start in range(0, len(rows), size):
    picked = np.arange(start, start + size).clip(max=len(rows) - 1)
    real = min(size, len(rows) - start)
    yield from decode(
      decoder,
      [rows[n] for n in picked],
      [rule],
      sampling=sampling,
      seeds=seeds[picked],
      watch=lambda so_far, n=start, real=real: watch(n, so_far[:real]),
    )[:real]
