"""Planned samples: any packed sample of any epoch, by its number.

  sample n ─► (epoch, number in it) ─► pieces, from the plan of that epoch
           ─► documents, from records ─► arrays of `context` places

A place holds a token; its target is the token after it. Where a document ends
there is no target, unless attention runs on into the next one.

  inputs     41 42 43 44 | 51 52 53 |  0
  targets    42 43 44  0 | 52 53  0 |  0
  segments    1  1  1  1 |  2  2  2 |  0      0 is padding
  positions   0  1  2  3 |  0  1  2 |  0      as in the whole document
  streams    of the targets, 0 where there is none
"""

import bisect
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
import functools
import hashlib
import pathlib
import threading

import numpy as np

from yue_jax.data.planning.cache import PlanCache
from yue_jax.data.planning.packing import (
  PACKINGS,
  count_samples,
  make_plan,
  restore_plan,
)
from yue_jax.data.planning.plan import Counts, Draw, Plan
from yue_jax.data.planning.windows import Parts, WindowPlan
from yue_jax.data.sources.source import Part, Source
from yue_jax.vocab import Stream

Sample = dict[str, np.ndarray]
FIELDS = {
  "inputs": np.int32,
  "targets": np.int32,
  "streams": np.uint8,
  "segments": np.int32,
  "positions": np.int32,
}
_PLANS_KEPT = 3  # prefetching reads the end of one epoch and the next
_PLANS_VERSION = 2  # raise it when the same lengths give other samples


class PlannedSamples:
  """Samples of all epochs of a source in one row, numbered from 0.

  Sample n is a function of the source, the settings and n. Every document is
  in every epoch once. Threads may share it.

  Attributes:
    source: of the documents.
    context: places in a sample.
    first_epoch: the epoch that sample 0 is in.
    recipe: sixteen hex digits, of all that the samples of an epoch depend on.
    fingerprint: likewise, of all that sample n depends on but n.
  """

  def __init__(
    self,
    source: Source,
    *,
    context: int,
    seed: int,
    packing: str = "best_fit",
    order: str = "random",
    attend_across_documents: bool = False,
    first_epoch: int = 0,
    cache: str | pathlib.Path | None = None,
  ):
    """Plans nothing yet; ValueError for settings that cannot work.

    Args:
      source: of the documents.
      context: places in a sample.
      seed: of the order of documents.
      packing: "best_fit" keeps documents whole where it can, "split" cuts a
        row of them every `context` places. Windows are packed by number, and
        joined documents by best fit, whatever is said here.
      order: "random", or "length" for short documents first.
      attend_across_documents: whether a sample is one segment, in which every
        document sees those before it, as in the released training. With
        "split" the first token of the next sample is the target of the last.
      first_epoch: the epoch that sample 0 is in.
      cache: a directory to keep plans in, for runs that go on.
    """
    if context < 2:
      raise ValueError(f"context={context} is too small, expected 2 or more")
    if context < source.unit:
      raise ValueError(
        f"context={context} is too small: one window takes {source.unit}"
        " tokens; enlarge the context, or prepare the songs with shorter"
        " windows"
      )
    if packing not in PACKINGS:
      raise ValueError(f"packing={packing!r}, expected one of {PACKINGS}")
    if first_epoch < 0:
      raise ValueError(f"first_epoch={first_epoch}, expected 0 or more")
    if not len(source):
      raise ValueError("the source has no documents, so there are no samples")
    self.source, self.context, self.first_epoch = source, context, first_epoch
    self._seed, self._order = seed, order
    self._packing = "best_fit" if source.joined else packing
    self._across = attend_across_documents
    self._join = join_apart
    if source.joined:
      self._join = functools.partial(_join_as_one, eod=source.eod)
    elif attend_across_documents:
      self._join = _join_running_on
    plans = _fingerprint(
      _PLANS_VERSION, source.fingerprint, context, seed, self._packing, order
    )
    self.recipe = _fingerprint(plans, attend_across_documents)
    self.fingerprint = _fingerprint(self.recipe, first_epoch)
    self._draw(first_epoch)  # refuses an unknown order
    self._cache = None if cache is None else PlanCache(cache, plans)
    self._counts = self._cache.load_counts() if self._cache else {}
    self._ends: list[int] = []  # samples up to the end of each epoch
    self._lock, self._counting = threading.Lock(), threading.Lock()
    self._plans: dict[int, Future[Plan]] = {}
    self._planner = ThreadPoolExecutor(1, "plan")

  def __len__(self) -> int:
    """Number of samples in the first epoch."""
    return self.samples_in(self.first_epoch)

  def samples_in(self, epoch: int) -> int:
    """Number of samples in an epoch; the same in all unless lengths vary."""
    return self._counted(epoch).samples

  def locate(self, number: int) -> tuple[int, int]:
    """Epoch of a sample, and its number in that epoch."""
    if number < 0:
      raise IndexError(f"sample {number}, expected 0 or more")
    if not self.source.varies:
      epoch, place = divmod(number, len(self))
      return self.first_epoch + epoch, place
    with self._counting:
      while not self._ends or self._ends[-1] <= number:
        before = self._ends[-1] if self._ends else 0
        count = self._count(self.first_epoch + len(self._ends))
        self._ends.append(before + count.samples)
    epoch = bisect.bisect_right(self._ends, number)
    before = self._ends[epoch - 1] if epoch else 0
    return self.first_epoch + epoch, number - before

  def plan(self, epoch: int) -> Plan:
    """The plan of an epoch; a few are kept."""
    return self._planned(epoch).result()

  def fill(self, epoch: int) -> float:
    """Share of the places of an epoch that hold a token."""
    count = self._counted(epoch)
    return count.places / (count.samples * self.context)

  def sample(self, number: int) -> Sample:
    """Arrays of shape (context,) by the names and dtypes of `FIELDS`."""
    epoch, place = self.locate(number)
    plan = self.plan(epoch)
    if 2 * place >= len(plan):
      self._planned(epoch + 1)  # while this epoch is read
    pieces = plan.pieces(place)
    if self._across:
      pieces += plan.following(place)
    parts = []
    for document, start, length in pieces:
      parts += self.source.read(epoch, document, start=start, length=length)
    return self._join(parts, self.context)

  def _planned(self, epoch: int) -> Future[Plan]:
    with self._lock:
      if epoch not in self._plans:
        while len(self._plans) >= _PLANS_KEPT:
          del self._plans[min(self._plans)]
        self._plans[epoch] = self._planner.submit(self._plan, epoch)
      return self._plans[epoch]

  def _plan(self, epoch: int) -> Plan:
    draw = self._draw(epoch)
    if self.source.unit > 1:
      return WindowPlan(draw, self._windows, self.source.unit)
    arrays = self._cache.load(epoch) if self._cache else None
    if arrays is not None:
      return restore_plan(self._packing, arrays, draw)
    plan = make_plan(self._packing, self.source.lengths(epoch), draw)
    if self._cache:
      self._cache.save(epoch, plan.arrays())
    return plan

  def _counted(self, epoch: int) -> Counts:
    with self._counting:
      return self._count(epoch if self.source.varies else self.first_epoch)

  def _count(self, epoch: int) -> Counts:
    if self.source.unit > 1:
      return WindowPlan(
        self._draw(epoch), self._windows, self.source.unit
      ).counts()
    if epoch not in self._counts:
      self._counts[epoch] = count_samples(
        self._packing, self.source.lengths(epoch), self._draw(epoch)
      )
      if self._cache:
        self._cache.save_counts(self._counts)
    return self._counts[epoch]

  def _draw(self, epoch: int) -> Draw:
    return Draw(
      context=self.context,
      seed=self._seed,
      epoch=epoch,
      order=self._order,
      joined=self.source.joined,
    )

  @functools.cached_property
  def _windows(self) -> Parts:
    return Parts(self.source.lengths(self.first_epoch) // self.source.unit)


def empty_sample(context: int) -> Sample:
  """A sample of nothing but padding."""
  return {name: np.zeros(context, dtype) for name, dtype in FIELDS.items()}


def join_apart(parts: Sequence[Part], context: int) -> Sample:
  """Every part is a segment of its own, with its own positions."""
  sample, at = _in_a_row(parts, context), 0
  for segment, part in enumerate(parts, start=1):
    end = at + part.length
    sample["segments"][at:end] = segment
    sample["positions"][at:end] = np.arange(part.start, part.start + end - at)
    at = end
  return sample


def _join_running_on(parts: Sequence[Part], context: int) -> Sample:
  """One segment: a document's last token has the next one's first as target.

  Not so before the rest of a cut document: that is a target where it was cut.
  A part without places gives the sample's last place its target.
  """
  sample, at = _in_a_row(parts, context), 0
  for part in parts:
    if at and not part.start:
      sample["targets"][at - 1] = part.ids[0]
      sample["streams"][at - 1] = part.streams[0]
    at += part.length
  sample["segments"][:at] = 1
  sample["positions"][:at] = np.arange(at)
  return sample


def _in_a_row(parts: Sequence[Part], context: int) -> Sample:
  """Tokens of all parts, and the targets that they have within their part."""
  sample, at = empty_sample(context), 0
  inputs, targets, streams = (
    sample[name] for name in ("inputs", "targets", "streams")
  )
  for part in parts:
    inputs[at : at + part.length] = part.ids[: part.length]
    last = at + len(part.ids) - 1
    targets[at:last] = part.ids[1:]
    streams[at:last] = part.streams[1:]
    at += part.length
  return sample


def _join_as_one(parts: Sequence[Part], context: int, *, eod: int) -> Sample:
  """One document of all parts: the last token has EOD as its target."""
  sample = _join_running_on(parts, context)
  if len(parts[-1].ids) == parts[-1].length:  # it does not go on elsewhere
    last = sum(part.length for part in parts) - 1
    sample["targets"][last], sample["streams"][last] = eod, Stream.MARK
  return sample


def _fingerprint(*parts: object) -> str:
  text = " ".join(map(str, parts))
  return hashlib.sha256(text.encode()).hexdigest()[:16]
