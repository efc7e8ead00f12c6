"""Nats of held-out documents, token by token, beside those of a perfect model.

Losses are compared with floors by second of music, not by token: a second is
the same 50 frames in every kind of document, whatever number of tokens it
takes.
"""

from collections.abc import Iterator, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from yue_jax import documents, references
from yue_jax.codec import FRAME_RATE
from yue_jax.data.sources.kinds import KIND_TRACKS, REFERENCE_MODES
from yue_jax.encoding import EncodedSong
from yue_jax.losses import cross_entropy
from yue_jax.model import Decoder
from yue_jax.paper.trained import Trained, world_songs
from yue_jax.references import MODE_TRACKS, Reference
from yue_jax.sharding import SPECS
from yue_jax.tokens import Document
from yue_jax.vocab import Vocab
from yue_jax.world import floors, mixtures, nats
from yue_jax.world.generator import World, WorldSong

_ROWS = 16  # documents that the model reads at once
_LENGTHS = 64  # documents of similar length share one program


@dataclasses.dataclass(frozen=True, kw_only=True)
class Losses:
  """Losses of one kind of documents against their floors.

  Attributes:
    kind: "cot", "cot_mixture", or one of the kinds with one mode of reference.
    sections: of the songs.
    songs: how many, from the held-out ones.
    outside: mode of the clips whose frames are left out, for documents
      without a clip to be compared with such as have one; "" counts all.
  """

  kind: str
  sections: int
  songs: int
  outside: str = ""

  def __call__(self, trained: Trained) -> dict[str, Any]:
    """As `summary`; frames inside the span of a clip count nowhere."""
    world = trained.world(self.sections)
    songs = trained.songs(self.sections, self.songs)
    encoded, drawn = trained.encoded(songs), world_songs(world, songs)
    clips = self._clips(encoded)
    made = [
      self._document(trained, song, clip)
      for song, clip in zip(encoded, clips, strict=True)
    ]
    with jax.set_mesh(trained.mesh):
      paid = list(token_nats(trained.decoder, made))
    rows = [
      _row(trained.vocab, self._tracks(), *each)
      for each in zip(
        made, paid, self._floors(world, drawn, clips), strict=True
      )
    ]
    return summary(rows)

  def _tracks(self) -> tuple[str, ...]:
    return KIND_TRACKS[self.kind]

  def _clips(self, songs: Sequence[EncodedSong]) -> list[Reference | None]:
    mode = mode_of(self.kind, self.outside)
    if not mode:
      return [None] * len(songs)
    return [clip_of(song, number, mode) for number, song in enumerate(songs)]

  def _document(self, trained: Trained, song, clip) -> Document:
    given = {"phrases": trained.phrases}
    if self.kind in REFERENCE_MODES:
      return documents.icl(song, trained.vocab, reference=clip, **given)
    return documents.cot(song, trained.vocab, tracks=self._tracks(), **given)

  def _floors(self, world: World, songs: list[WorldSong], clips: list) -> list:
    if self.kind in REFERENCE_MODES:
      return floors.icl(world, songs, references=clips)
    if self.kind == "cot_mixture":
      return mixtures.cot(world, songs)
    whole = floors.cot(world, songs)
    if not self.outside:
      return whole
    return [
      nats.outside(document, song, clip)
      for document, song, clip in zip(whole, songs, clips, strict=True)
    ]


def mode_of(kind: str, without: str) -> str:
  """Mode of the clips of a kind, or `without` if it has none."""
  modes = REFERENCE_MODES.get(kind, (without,))
  if len(modes) > 1:
    raise ValueError(f"kind={kind!r} has several modes; name one")
  return modes[0]


def clip_of(song: EncodedSong, number: int, mode: str) -> Reference:
  """The clip of a held-out song: the same frames in every mode."""
  clip = references.draw(
    0,
    0,
    song=number,
    mode="dual",
    sections=song.sections,
    tracks={name: song.tracks[name] for name in MODE_TRACKS["dual"]},
  )
  return dataclasses.replace(clip, mode=mode)


def token_nats(
  decoder: Decoder, made: Sequence[Document]
) -> Iterator[np.ndarray]:
  """Nats of the tokens of each document but its first, (n - 1,).

  Call it inside `jax.set_mesh`, and consume it there.
  """
  longest = max(map(len, made)) - 1
  width = -(-longest // _LENGTHS) * _LENGTHS
  for first in range(0, len(made), _ROWS):
    here = made[first : first + _ROWS]
    inputs = np.zeros((_ROWS, width), np.int32)
    targets, segments = np.zeros_like(inputs), np.zeros_like(inputs)
    for row, document in enumerate(here):
      size = len(document) - 1
      inputs[row, :size] = document.ids[:-1]
      targets[row, :size] = document.ids[1:]
      segments[row, :size] = 1
    cost = np.asarray(_nats(decoder, inputs, targets, segments))
    for row, document in enumerate(here):
      yield cost[row, : len(document) - 1]


def summary(rows: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
  """Nats per token by stream, those of the floor, and the gap a second.

  Args:
    rows: by document what a model paid for the tokens of a stream, and under
      the stream's name with "_floor" what a perfect one pays; all streams but
      "end" have a token a frame.
  """
  joined = {
    name: np.concatenate([row[name] for row in rows]) for name in rows[0]
  }
  streams = [name for name in joined if f"{name}_floor" in joined]
  gap = sum(
    joined[name].sum() - joined[f"{name}_floor"].sum() for name in streams
  )
  frames = max(len(joined[name]) for name in streams)
  return {
    **{name: float(nats.mean()) for name, nats in joined.items()},
    "gap": float(gap / frames * FRAME_RATE),
  }


@jax.jit
def _nats(decoder, inputs, targets, segments):
  positions = jnp.broadcast_to(
    jnp.arange(inputs.shape[1], dtype=jnp.int32)[None, :], inputs.shape
  )
  inputs, targets, segments, positions = (
    jax.sharding.reshard(x, SPECS.row_bt)
    for x in (inputs, targets, segments, positions)
  )
  hidden = decoder.hidden(inputs, segments, positions)
  weights = jnp.zeros_like(targets, jnp.float32)
  head = decoder.unembed[...]
  return cross_entropy(hidden, head, targets, weights, 0.0, 512).by_token


def _row(
  vocab: Vocab,
  tracks: Sequence[str],
  document: Document,
  paid: np.ndarray,
  floor: nats.DocumentNats | mixtures.MixtureNats,
) -> dict[str, np.ndarray]:
  """What a document and its floor cost, where the floor counts."""
  streams, ids = document.streams[1:], document.ids[1:]
  row = {}
  for track in tracks:
    own = paid[streams == documents.TRACK_STREAMS[track]]
    row[track] = own[floor.counted_frames]
    row[f"{track}_floor"] = getattr(floor, track)[floor.counted_frames]
  # the last ones: that of a clip comes before
  ends = paid[ids == vocab.eoa][-len(floor.end) :]
  row["end"] = ends[floor.counted_ends]
  row["end_floor"] = floor.end[floor.counted_ends]
  return row
