"""The loss of a perfect model on songs of the small world.

A perfect model knows the process in `generator` and everything in the document
before the token it predicts: text and both tracks so far, and nothing else.
It does not know the singer, how long a syllable or a chord will last, or which
codes are noise, and weighs all possibilities by what it has heard. The filters
add these up exactly, so no model's expected loss is below these figures, and
their average over many songs is the entropy of the process.

`cot`, `plain` and `windows` are exact. `icl` is a bound, for reasons given
there. A model is best compared on the very songs its floor is computed for:
both then share the luck of the draw.

Two facts make this cheap. Within a section vocal and backing are independent,
given the text: the vocal decides where it ends, and the backing is cut there.
And all that one section tells of the next is the song's singer (and its genre,
where the document does not name it).
"""

from collections.abc import Callable, Sequence
import math

import numpy as np

from yue_jax.references import MODE_TRACKS, Reference
from yue_jax.world import filters, nats, sections
from yue_jax.world.generator import World, WorldSong

BELIEF_SIZE = 2**18  # probabilities held at a time; more leave the cache


def cot(world: World, songs: Sequence[WorldSong]) -> list[nats.DocumentNats]:
  """Exact floors of documents that open with the tag and all lyrics."""

  def floors(songs):
    heard = sections.Sections.of(world, songs)
    genre = heard.genre[:, None]
    return nats.of_documents(
      songs,
      text=tag_nats(world) + lyrics_nats(world),
      vocal=sections.mix(sections.sung(world, heard)),
      backing=sections.mix(sections.played(world, heard, genre)),
    )

  return in_chunks(floors, songs, belief_size=belief_size(world))


def plain(world: World, songs: Sequence[WorldSong]) -> list[nats.DocumentNats]:
  """Exact floors of documents in which each section stands alone.

  They do not name the genre: it is hidden like the singer, until the chords
  tell it.
  """

  def floors(songs):
    heard = sections.Sections.of(world, songs)
    genres = np.tile(np.arange(world.cfg.genres), (len(songs), 1))
    return nats.of_documents(
      songs,
      text=lyrics_nats(world),
      vocal=sections.mix(sections.sung(world, heard)),
      backing=sections.mix(sections.played(world, heard, genres)),
    )

  return in_chunks(floors, songs, belief_size=belief_size(world))


def icl(
  world: World,
  songs: Sequence[WorldSong],
  *,
  references: Sequence[Reference],
) -> list[nats.DocumentNats]:
  """A bound for documents with a clip of the song before its sections.

  A clip in which the vocal sounds tells the singer, and that is used here.
  The clip is also a part of what follows: frames inside its span, and section
  ends there or at its edges, are left out of the sums, since a model may copy
  them once it has found the place. Outside, knowing the place may still tell
  a little about durations. So a perfect model's expected loss on the frames
  that count is at most this, and little less.
  """

  def floors(songs, references):
    heard = sections.Sections.of(world, songs)
    clues = _singer_clues(world, heard, songs, references)
    vocal = _less(sections.sung(world, heard), clues)
    genre = heard.genre[:, None]
    documents = nats.of_documents(
      songs,
      text=tag_nats(world) + lyrics_nats(world),
      vocal=sections.mix(vocal, log_prior=clues.sum(axis=(2, 3))),
      backing=sections.mix(sections.played(world, heard, genre)),
    )
    return [
      nats.outside(document, song, reference)
      for document, song, reference in zip(
        documents, songs, references, strict=True
      )
    ]

  return in_chunks(floors, songs, references, belief_size=belief_size(world))


def windows(world: World, codes: np.ndarray) -> np.ndarray:
  """Exact floors of stage-2 windows, (..., codebooks, frames) nats.

  Block tokens are predicted from codebook 0 of their frame, which the prefix
  has told: codebook 0 in the blocks costs nothing, and every other codebook
  its noise. The prefix itself is a condition and has no floor here.
  """
  cfg = world.cfg
  codes = np.moveaxis(codes.astype(np.int64), -2, 0)
  follows = codes == world.residuals(codes[0])
  p = cfg.residual_noise / cfg.codes + (1 - cfg.residual_noise) * follows
  p[0] = 1
  return filters.possible(-filters.log(np.moveaxis(p, 0, -2)))


def tag_nats(world: World) -> float:
  """-log P of the genre."""
  return math.log(world.cfg.genres)


def lyrics_nats(world: World) -> float:
  """-log P of labels and words of a song; every song's are equally likely."""
  cfg = world.cfg
  others = math.log(max(cfg.words - 1, 1)) * (cfg.words_per_section - 1)
  return cfg.sections * (math.log(len(cfg.labels) * cfg.words) + others)


def in_chunks(
  floors: Callable[..., list],
  songs: Sequence[WorldSong],
  *others: Sequence,
  belief_size: int,
) -> list:
  """Calls `floors` on as many songs at a time as fit into BELIEF_SIZE."""
  size = max(1, BELIEF_SIZE // belief_size)
  return [
    result
    for start in range(0, len(songs), size)
    for result in floors(
      *(column[start : start + size] for column in (songs, *others))
    )
  ]


def belief_size(world: World) -> int:
  """Probabilities in the beliefs about one song."""
  cfg = world.cfg
  vocal = cfg.singers * cfg.units_per_section * max(cfg.durations)
  backing = cfg.genres * cfg.progression * max(cfg.chord_durations)
  return cfg.sections * max(vocal, backing)


def _singer_clues(world, heard, songs, references) -> np.ndarray:
  """Log likelihood of singers by frame of the clips, (N, H, S, T + 1).

  A clue is whose code a frame has, his own or, by noise, another's. Given the
  singer, clues are independent of each other and of everything else.
  """
  cfg = world.cfg
  n, s, t = heard.vocal.shape
  owner = heard.vocal // cfg.singer_codes
  own = owner[:, None] == np.arange(cfg.singers)[:, None, None]
  clues = filters.log(
    cfg.vocal_noise / cfg.singers + (1 - cfg.vocal_noise) * own
  )
  shown = np.zeros((n, s, t), bool)
  shown[heard.sounding] = np.concatenate(
    [
      _vocal_shown(world, song, reference)
      for song, reference in zip(songs, references, strict=True)
    ]
  )
  clues = np.where(shown[:, None], clues, 0.0)
  return np.pad(clues, ((0, 0), (0, 0), (0, 0), (0, 1)))


def _less(log_p: np.ndarray, clues: np.ndarray) -> np.ndarray:
  """Log p of codes whose clues are known already; -inf stays -inf."""
  return np.subtract(log_p, clues, out=log_p, where=np.isfinite(log_p))


def _vocal_shown(world, song, reference) -> np.ndarray:
  """(frames,) True where the clip has the vocal's code."""
  shown = nats.span(song, reference)
  if reference.mode == "mixture":
    # a backing code covers the vocal; which frames it covers tells no singer
    return shown & (song.mixture[0] < world.cfg.vocal_codes)
  return shown & ("vocal" in MODE_TRACKS[reference.mode])
