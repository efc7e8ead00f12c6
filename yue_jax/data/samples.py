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
import hashlib
import threading

import numpy as np

from yue_jax.data.plan import Plan, count_samples, make_plan
from yue_jax.data.sources import Part, Source

Sample = dict[str, np.ndarray]
FIELDS = {
  "inputs": np.int32,
  "targets": np.int32,
  "streams": np.uint8,
  "segments": np.int32,
  "positions": np.int32,
}
_PLANS_KEPT = 2  # prefetching reads the end of one epoch and the next


class PlannedSamples:
  """Samples of all epochs in one row, numbered from 0.

  Sample n is a function of the source, the context, the seed and n. Every
  document is in every epoch once. Threads may share it.
  """

  def __init__(
    self,
    source: Source,
    *,
    context: int,
    seed: int,
    attend_across_documents: bool = False,
    first_epoch: int = 0,
  ):
    """Plans nothing yet; counts the samples of the first epoch.

    Args:
      source: documents by number, at least one.
      context: places in a sample.
      seed: of the order of documents.
      attend_across_documents: whether a sample is one segment, in which every
        document sees those before it, as in the released training.
      first_epoch: where sample 0 lies; epochs before it were read elsewhere.
    """
    if context < 2:
      raise ValueError(f"context={context} is too small, expected 2 or more")
    self.source, self.context = source, context
    self.first_epoch = first_epoch
    self._seed = seed
    self._cut_at = source.cut_at(context)
    self._join = _join_running_on if attend_across_documents else _join_apart
    # What the samples of an epoch depend on.
    self.recipe = (source.fingerprint, context, seed, attend_across_documents)
    self._lock = threading.Lock()
    self._plans: dict[int, Plan] = {}
    self._ends = [self._count(first_epoch)]  # samples up to the end of each

  @property
  def fingerprint(self) -> str:
    """Of all that sample n depends on but n."""
    text = repr((*self.recipe, self.first_epoch))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

  def __len__(self) -> int:
    """Samples of the first epoch; of all, unless clips vary."""
    return self._ends[0]

  def locate(self, number: int) -> tuple[int, int]:
    """Epoch of a sample, and its number in that epoch."""
    if not self.source.varies:
      epoch, place = divmod(number, len(self))
      return self.first_epoch + epoch, place
    with self._lock:
      while self._ends[-1] <= number:
        count = self._count(self.first_epoch + len(self._ends))
        self._ends.append(self._ends[-1] + count)
      epoch = bisect.bisect_right(self._ends, number)
    place = number - (self._ends[epoch - 1] if epoch else 0)
    return self.first_epoch + epoch, place

  def samples_in(self, epoch: int) -> int:
    """Number of samples of an epoch."""
    return self._count(epoch) if self.source.varies else len(self)

  def fill(self, epoch: int) -> float:
    """Share of the places of an epoch that are no padding."""
    pieces = self.plan(epoch).pieces
    return float(pieces.length.sum() / (self.samples_in(epoch) * self.context))

  def plan(self, epoch: int) -> Plan:
    """The plan of an epoch; the latest few are kept."""
    with self._lock:
      if epoch not in self._plans:
        while len(self._plans) >= _PLANS_KEPT:
          del self._plans[min(self._plans)]
        self._plans[epoch] = make_plan(
          self.source.lengths(epoch),
          context=self.context,
          cut_at=self._cut_at,
          seed=self._seed,
          epoch=epoch,
        )
      return self._plans[epoch]

  def sample(self, number: int) -> Sample:
    """Arrays of shape (context,) by the names and dtypes of `FIELDS`."""
    epoch, place = self.locate(number)
    pieces = self.plan(epoch).sample(place)
    parts = []
    for i in range(len(pieces)):
      parts += self.source.read(
        epoch,
        int(pieces.document[i]),
        start=int(pieces.start[i]),
        length=int(pieces.length[i]),
      )
    return self._join(parts, self.context)

  def _count(self, epoch: int) -> int:
    return count_samples(
      self.source.lengths(epoch), context=self.context, cut_at=self._cut_at
    )


def empty_sample(context: int) -> Sample:
  """A sample of nothing but padding."""
  return {name: np.zeros(context, dtype) for name, dtype in FIELDS.items()}


def _join_apart(parts: Sequence[Part], context: int) -> Sample:
  """Every part is a segment of its own, with its own positions."""
  sample, at = empty_sample(context), 0
  for segment, (document, start, stop) in enumerate(parts, start=1):
    end = at + stop - start
    sample["inputs"][at:end] = document.ids[start:stop]
    sample["segments"][at:end] = segment
    sample["positions"][at:end] = np.arange(start, stop)
    targets = document.ids[start + 1 : stop + 1]
    sample["targets"][at : at + len(targets)] = targets
    sample["streams"][at : at + len(targets)] = document.streams[
      start + 1 : stop + 1
    ]
    at = end
  return sample


def _join_running_on(parts: Sequence[Part], context: int) -> Sample:
  """One segment: a document's last token has the next one's first as target."""
  sample, at = _join_apart(parts, context), 0
  for document, start, stop in parts:
    if at:
      sample["targets"][at - 1] = document.ids[start]
      sample["streams"][at - 1] = document.streams[start]
    at += stop - start
  sample["segments"][:at] = 1
  sample["positions"][:at] = np.arange(at)
  return sample
