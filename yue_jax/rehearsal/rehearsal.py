"""The evaluator that sings: songs from the weights of a run, and figures.

  lyric_error_rate   edits over all sections by their words, where a world's
                     decoder reads them back
  seconds            mean length of a song; min_ and max_ of the shortest and
                     the longest
  unended            share of the sections that were cut at max_frames
  loss/<stream>      what the model pays for its own songs (see `own_loss`)

A song depends on the weights, its lyrics and its seed (`rehearsal.seed` plus
its number), and on no song or step before.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import itertools
import logging

from etils import epath
import jax
import numpy as np

from yue_jax import lora, metrics
from yue_jax.checkpoint import DataDescription
from yue_jax.codec import FRAME_RATE
from yue_jax.config import RunConfig
from yue_jax.data.pipeline import eval_batches
from yue_jax.encoding import Phrases
from yue_jax.losses import N_STREAMS
from yue_jax.rehearsal import folder
from yue_jax.rehearsal.given import read_given
from yue_jax.rehearsal.own_loss import OwnSongs, document
from yue_jax.rehearsal.world_words import WorldWords, error_rate
from yue_jax.sampling.layered import unstack
from yue_jax.sampling.logits import Sampling
from yue_jax.sampling.passes import check_room
from yue_jax.sampling.song import Songs, TrackSettings, generate_tracks
from yue_jax.sampling.song_folder import spans
from yue_jax.sharding import SPECS
from yue_jax.tokenizer import Tokenizer
from yue_jax.train.step import make_eval_step

_log = logging.getLogger(__name__)


class Rehearsal:
  """A `train.evaluators.Evaluator` for a run whose config has a rehearsal."""

  kind = "songs"

  def __init__(self, cfg: RunConfig, run_dir: epath.PathLike):
    """Opens nothing yet."""
    self._cfg, self._run_dir = cfg, run_dir
    self._its = cfg.rehearsal
    self.every = self._its.every

  def open(self, mesh: jax.sharding.Mesh, data: DataDescription) -> None:
    """Reads what is sung; finds what would not work later."""
    its, cfg = self._its, self._cfg
    _check_sings(cfg)
    tokenizer = Tokenizer(its.tokenizer)
    cfg.vocab.check_tokenizer(tokenizer.size)
    if data.tokenizer:
      tokenizer.check_fingerprint(data.tokenizer, of="this run")
    self._mesh = mesh
    with jax.set_mesh(mesh):
      self._eval_step = make_eval_step(cfg.model, cfg.loss)
    self._copy = jax.jit(
      functools.partial(_merged, dtype=np.dtype(cfg.model.dtype))
    )
    self._phrases = Phrases.encode(tokenizer)
    self._settings = track_settings(its.settings)
    self._given = read_given(
      its.songs, its.count, tokenizer=tokenizer, vocab=cfg.vocab
    )
    for song in self._given:
      check_room(
        song.prompt,
        song=song.id,
        phrases=self._phrases,
        min_frames=self._settings.min_frames,
        max_frames=self._settings.max_frames,
        max_positions=cfg.model.max_positions,
      )
    self._words = WorldWords(its.world) if its.world else None
    self._true = [
      self._words.given(song.texts) if self._words else []
      for song in self._given
    ]
    self._sound = None
    if its.sound:
      from yue_jax.rehearsal.sound import world_wav  # wants an extra

      self._sound = world_wav

  def evaluate(
    self, params: dict, step: int, *, alive: Callable[[], None]
  ) -> Mapping[str, float]:
    """Sings all songs, side by side, and writes their folders."""
    sung = generate_tracks(
      unstack(jax.block_until_ready(self._copy(params)), self._cfg.model),
      [song.prompt for song in self._given],
      vocab=self._cfg.vocab,
      phrases=self._phrases,
      settings=self._settings,
      seeds=[self._its.seed + number for number in range(len(self._given))],
      watch=lambda *_: alive(),
    )
    figures = _durations(sung, self._settings.max_frames)
    figures |= self._own_losses(params, sung)
    read = [self._words.sung(s) for s in sung] if self._words else None
    if read is not None:
      figures["lyric_error_rate"] = error_rate(self._true, read)
    alive()
    if jax.process_index() == 0:
      self._write(step, sung, read)
    _log.info("step %d songs: %s", step, figures)
    return figures

  def _own_losses(self, params: dict, sung: Songs) -> dict[str, float]:
    documents = [
      document(song, s, vocab=self._cfg.vocab, phrases=self._phrases)
      for song, s in zip(self._given, sung, strict=True)
    ]
    shards = self._mesh.shape["replica"] * self._mesh.shape["fsdp"]
    nats, tokens = np.zeros(N_STREAMS), np.zeros(N_STREAMS)
    for batch in eval_batches(
      OwnSongs(documents, most=self._cfg.model.max_positions),
      samples_per_step=shards,
      microbatches=1,
      sharding=jax.NamedSharding(self._mesh, SPECS.batch_abt),
    ):
      sums = jax.device_get(self._eval_step(params, batch))
      nats += sums["nats"]
      tokens += sums["tokens"]
    return metrics.losses_by_stream(nats, tokens)

  def _write(self, step: int, sung: Songs, read: list | None) -> None:
    root = folder.step_folder(self._run_dir, step)
    for number, (song, sections) in enumerate(
      zip(self._given, sung, strict=True)
    ):
      tracks = [np.concatenate(codes) for codes in zip(*sections, strict=True)]
      described = {
        "id": song.id,
        "tags": song.tags,
        "step": step,
        "seed": self._its.seed + number,
        "frames": len(tracks[0]),
        "seconds": len(tracks[0]) / FRAME_RATE,
        "sections": spans(song.texts, sections),
      }
      wav = None
      if read is not None:
        true, words = self._true[number], read[number]
        described["lyric_error_rate"] = error_rate([true], [words])
        for span, said in zip(
          described["sections"], self._words.spelled(words), strict=True
        ):
          span["words"] = said
      if self._sound is not None:
        wav = self._sound(self._words.world, *tracks)
      folder.write_song(root / song.id, described, tracks, wav=wav)


def track_settings(changes: Mapping[str, float]) -> TrackSettings:
  """The released way of drawing, with `changes` by name.

  Raises:
    ValueError: a name that neither `TrackSettings` nor `Sampling` has, or a
      value that does not fit it.
  """
  defaults = {
    field.name: field.default
    for kind in (TrackSettings, Sampling)
    for field in dataclasses.fields(kind)
    if field.name != "sampling"
  }
  if unknown := sorted(changes.keys() - defaults.keys()):
    raise ValueError(
      f"rehearsal.settings has unknown names {unknown}; known: "
      f"{sorted(defaults)}"
    )
  given = {
    name: _like(name, value, defaults[name]) for name, value in changes.items()
  }
  drawn = {f.name for f in dataclasses.fields(Sampling)}
  return TrackSettings(
    sampling=Sampling(**{n: v for n, v in given.items() if n in drawn}),
    **{n: v for n, v in given.items() if n not in drawn},
  )


def _like(name: str, value: float, default: float) -> float:
  if type(default) is int and value != int(value):
    raise ValueError(f"rehearsal.settings.{name}={value} must be an integer")
  return type(default)(value)


def _check_sings(cfg: RunConfig) -> None:
  """Refuses runs whose weights cannot sing, or not on their mesh."""
  kinds = {s.kind for phase in cfg.phases for s in phase.mixture.values()}
  if any(kind.endswith("window") for kind in kinds):
    raise ValueError(
      f"rehearsal: a model that learns documents of kind {sorted(kinds)} sings"
      " no lyrics; leave it out of this run"
    )
  if cfg.mesh.context > 1:
    raise ValueError(
      f"rehearsal: mesh.context={cfg.mesh.context}, but a token that is"
      " generated cannot be cut; use replica, fsdp and tensor, or leave the"
      " rehearsal out"
    )


def _merged(params: dict, dtype: np.dtype) -> dict:
  """The weights in the dtype of activations, adapters merged."""
  return jax.tree.map(lambda weight: weight.astype(dtype), lora.merge(params))


def _durations(sung: Songs, max_frames: int) -> dict[str, float]:
  frames = [[len(section.vocal) for section in song] for song in sung]
  seconds = np.array([sum(song) for song in frames]) / FRAME_RATE
  cut = [length >= max_frames for length in itertools.chain(*frames)]
  return {
    "seconds": float(seconds.mean()),
    "min_seconds": float(seconds.min()),
    "max_seconds": float(seconds.max()),
    "unended": float(np.mean(cut)),
  }
