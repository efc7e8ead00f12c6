"""Songs sung from unseen lyrics, and how many of their words are right.

Words are read from the sound of a whole song, in every kind of document, and
aligned with its lyrics; each true word has its edits, so that errors can be
told by place.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from yue_jax.data.sources.kinds import KIND_TRACKS, REFERENCE_MODES
from yue_jax.paper.losses import clip_of, mode_of
from yue_jax.paper.trained import Trained, world_songs
from yue_jax.references import MODE_TRACKS, Reference
from yue_jax.sampling import queues, song
from yue_jax.sampling.decode import Decoded, decode
from yue_jax.sampling.logits import Sampling
from yue_jax.sampling.passes import Pass
from yue_jax.sampling.prompts import (
  Prompt,
  dual_reference,
  encode_prompt,
  single_reference,
)
from yue_jax.vocab import Vocab
from yue_jax.world import lyrics
from yue_jax.world.generator import World, WorldSong

_SLACK = 1.25  # frames that a section may take, by those of the longest one
COPIED = 6  # frames in a row that make a copy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Singing:
  """Lyric errors of songs that a model sings.

  Attributes:
    kind: of documents it is prompted with: "cot", "cot_mixture", "prefix" or
      one of the kinds with one mode of reference; each clip is then of
      another song, the next of those held out.
    unheard: mode of such clips that songs without a clip are compared with;
      "" for none.
    sections: of the songs.
    songs: how many, from the held-out ones.
    good: a song is a good case when at most this share of its words is wrong.
    temperature, top_p, top_k, penalty: as in `sampling.logits.Sampling`; by
      default the model's own distribution.
    guidance: of all sections, as in `sampling.song.TrackSettings`.
    seed: of the draws.
  """

  kind: str
  sections: int
  songs: int
  unheard: str = ""
  good: float = 0.25
  temperature: float = 1.0
  top_p: float = 1.0
  top_k: int = 0
  guidance: float = 1.0
  penalty: float = 1.0
  seed: int = 0

  def __call__(self, trained: Trained) -> dict[str, Any]:
    """As `scores` and, where there are clips, `resemblance`."""
    world = trained.world(self.sections)
    songs = trained.songs(self.sections, self.songs)
    drawn = world_songs(world, songs)
    clips = self._clips(trained, songs, drawn)
    prompts = [
      self._prompt(trained, *each) for each in zip(songs, clips, strict=True)
    ]
    with jax.set_mesh(trained.mesh):
      vocals = self._sing(trained, world, prompts)
    values = scores(world, drawn, vocals, good=self.good)
    values["unreadable"] = self._unreadable(world, drawn)
    if mode_of(self.kind, self.unheard):
      values |= resemblance(world, clips, vocals)
    return values

  def _unreadable(self, world: World, drawn: Sequence[WorldSong]) -> float:
    """Lyric error rate of the held-out songs' own sound: noise, and masks."""
    track = KIND_TRACKS[self.kind][0]
    own = [getattr(song, track)[0].astype(np.int64) for song in drawn]
    return float(_edits(world, drawn, own).mean())

  def _clips(self, trained, songs, drawn) -> list["Clip | None"]:
    mode = mode_of(self.kind, self.unheard)
    if not mode:
      return [None] * len(drawn)
    encoded = trained.encoded(songs)
    clips = [
      Clip(own, clip_of(song, number, mode))
      for number, (song, own) in enumerate(zip(encoded, drawn, strict=True))
    ]
    return [*clips[1:], clips[0]]

  def _prompt(self, trained: Trained, given, clip: "Clip | None") -> Prompt:
    heard = self.kind in REFERENCE_MODES
    return encode_prompt(
      given.tags,
      [section.text for section in given.sections],
      tokenizer=trained.tokenizer,
      vocab=trained.vocab,
      reference=clip.ids(trained.vocab) if heard else None,
    )

  def _sing(
    self, trained: Trained, world: World, prompts: Sequence[Prompt]
  ) -> list[np.ndarray]:
    """Codebook 0 of the track that the words are in, (frames,) a song."""
    tracks = len(KIND_TRACKS[self.kind])
    frames = round(_SLACK * world.cfg.max_section_frames)
    if self.kind == "prefix":
      frames *= self.sections
    settings = song.TrackSettings(
      min_frames=1,
      max_frames=frames,
      first_guidance=self.guidance,
      later_guidance=self.guidance,
    )
    rows = [self._row(trained, prompt, settings) for prompt in prompts]
    decoded = decode(
      trained.singer,
      rows,
      [song.section_rule(trained.vocab, settings, tracks=tracks)],
      sampling=Sampling(
        temperature=self.temperature,
        top_p=self.top_p,
        top_k=self.top_k,
        repetition_penalty=self.penalty,
      ),
      seeds=np.array([(self.seed, n) for n in range(len(prompts))]),
    )
    return [
      _sound(row, result, trained.vocab)[::tracks]
      for row, result in zip(rows, decoded, strict=True)
    ]

  def _row(
    self, trained: Trained, prompt: Prompt, settings: song.TrackSettings
  ) -> queues.Row:
    vocab = trained.vocab
    if self.kind == "prefix":
      forced = queues.forced([*prompt.head, vocab.soa, vocab.xcodec])
      return queues.join([forced, queues.sampled(0, guidance=self.guidance)])
    return song.track_row(
      prompt,
      vocab,
      phrases=trained.phrases,
      settings=settings,
      part=Pass(0, 0, len(prompt.sections)),
      known=(),
    )


class Clip(NamedTuple):
  """A clip, and the song that it is of."""

  song: WorldSong
  where: Reference

  @property
  def span(self) -> slice:
    return slice(self.where.start, self.where.start + self.where.length)

  @property
  def vocal(self) -> np.ndarray:
    """(frames,) codes of its vocal, also where the mode does not show it."""
    return self.song.vocal[0, self.span].astype(np.int64)

  def ids(self, vocab: Vocab) -> np.ndarray:
    """Codec ids of the clip, as a prompt has them."""
    tracks = [
      getattr(self.song, name)[:1, self.span].astype(np.int64)
      for name in MODE_TRACKS[self.where.mode]
    ]
    if len(tracks) == 2:
      return dual_reference(*tracks, vocab)
    return single_reference(*tracks, vocab)


def scores(
  world: World,
  drawn: Sequence[WorldSong],
  vocals: Sequence[np.ndarray],
  *,
  good: float,
) -> dict[str, Any]:
  """Lyric errors of sung vocals.

  Returns:
    error: edits by true words, of all songs together; by_section: the same
    for each section, in order; good: share of songs of which at most `good`
    of the words is wrong.
  """
  edits = _edits(world, drawn, vocals)
  by_section = edits.reshape(len(edits), world.cfg.sections, -1)
  return {
    "error": float(edits.mean()),
    "by_section": by_section.mean(axis=(0, 2)).tolist(),
    "good": float((edits.mean(axis=1) <= good).mean()),
  }


def _edits(world: World, drawn, vocals) -> np.ndarray:
  """(songs, words) edits of each true word."""
  readings = lyrics.read(world, vocals)
  return np.stack(
    [
      lyrics.edits_by_word(song.words.ravel(), reading.words)
      for song, reading in zip(drawn, readings, strict=True)
    ]
  )


def resemblance(
  world: World, clips: Sequence[Clip], vocals: Sequence[np.ndarray]
) -> dict[str, float]:
  """How much sung vocals are like the vocals of clips.

  Returns:
    singer: share of songs in the voice of the clip's singer, by the likeliest
    reading of both; copied: share of frames in stretches of COPIED frames or
    more that the clip has too, code by code.
  """
  given = [clip.vocal for clip in clips]
  sung_by, given_by = (
    [reading.singer for reading in lyrics.read(world, codes)]
    for codes in (vocals, given)
  )
  copied = np.concatenate(
    [copied_frames(v, c) for v, c in zip(vocals, given, strict=True)]
  )
  return {
    "singer": float(np.mean(np.equal(sung_by, given_by))),
    "copied": float(copied.mean()) if len(copied) else 0.0,
  }


def copied_frames(
  vocal: np.ndarray, clip: np.ndarray, *, least: int = COPIED
) -> np.ndarray:
  """(frames,) True in stretches of at least so many codes found in the clip.

  Example: of 1 2 3 4 the middle two are a copy of 9 2 3 9 with least=2.
  """
  copied = np.zeros(len(vocal), bool)
  if min(len(vocal), len(clip)) < least:
    return copied
  windows = np.lib.stride_tricks.sliding_window_view(vocal, least)
  known = np.lib.stride_tricks.sliding_window_view(clip, least)
  for start in np.flatnonzero(
    (windows[:, None] == known[None]).all(axis=2).any(axis=1)
  ):
    copied[start : start + least] = True
  return copied


def _sound(row: queues.Row, result: Decoded, vocab: Vocab) -> np.ndarray:
  """Codes of all sections one after the other, tracks in turn."""
  parts = [result.of_entry(n) for n in np.flatnonzero(row.is_sampled)]
  ids = np.concatenate(parts)
  codes = ids[ids != vocab.eoa] - vocab.codebook(0).start
  return codes.astype(np.int64)
