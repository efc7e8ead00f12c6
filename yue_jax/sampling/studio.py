"""The studio: both stages at work on jobs, and what is finished written.

    job -> `open_song` -> `sing` (stage 1) -> `complete` (stage 2) -> song.json

A section is written when it ends and a song when its tracks are whole, so that
an interruption loses little; a folder that was begun is opened where it was.
"""

from collections.abc import Sequence
import dataclasses
import sys
import time
from typing import Any

import numpy as np

from yue_jax import codec
from yue_jax.encoding import Phrases
from yue_jax.progress import Progress
from yue_jax.sampling import jobs, prompts, song, song_folder, windows
from yue_jax.sampling.jobs import Job, OpenJob
from yue_jax.sampling.logits import Sampling
from yue_jax.sampling.passes import check_room
from yue_jax.sampling.stages import Stage
from yue_jax.tokenizer import Tokenizer

RANGES = {"own": windows.own_ranges, "released": windows.released_ranges}


@dataclasses.dataclass(frozen=True, eq=False)
class Models:
  """Both stages, and how they are used.

  Attributes:
    tracks: how stage 1 draws.
    residuals: how stage 2 draws.
    window: its frames.
    ranges: name of the ids it chooses among.
    description: entries of song.json that all songs share.
  """

  tokenizer: Tokenizer
  phrases: Phrases
  first: Stage
  second: Stage
  tracks: song.TrackSettings
  residuals: Sampling
  window: int
  ranges: str
  description: dict[str, Any]


def open_song(job: Job, models: Models) -> OpenJob:
  """What a job is made of, and what an earlier run has sung of it."""
  try:
    opened = jobs.open_job(
      job, tokenizer=models.tokenizer, vocab=models.first.vocab
    )
    opened.description.update(models.description)
    if (stored := song_folder.read_song(job.out)) is not None:
      opened = opened.resumed(stored)
  except ValueError as error:
    raise ValueError(f"{job.out}: {error}") from error
  check_room(
    opened.prompt,
    song=job.out,
    phrases=models.phrases,
    min_frames=models.tracks.min_frames,
    max_frames=models.tracks.max_frames,
    max_positions=models.first.decoder.cfg.max_positions,
  )
  return opened


def say_what_is_unusual(opened: Sequence[OpenJob]) -> None:
  """Prints which songs are instrumental, and warns of unseen labels."""
  known = ", ".join(f"[{name}]" for name in prompts.LABELS)
  for job in opened:
    if prompts.is_instrumental(job.texts):
      print(f"{job.out}: labels and no words: an instrumental song")
    for label, nearest in prompts.unseen_labels(job.texts).items():
      remedy = (
        f"the nearest is [{nearest}]" if nearest else f"they know {known}"
      )
      print(
        f"{job.out}: warning: the released models were not trained on sections"
        f" called [{label}]; {remedy}",
        file=sys.stderr,
      )


def sing(opened: Sequence[OpenJob], models: Models) -> song.Songs:
  """Stage 1; every section is written when it ends."""
  began = time.monotonic()
  written = [len(job.known) for job in opened]
  for job in opened:
    _write_sections(job, job.known)
  total = sum(len(job.prompt.sections) for job in opened)
  with Progress(total, "sections", "stage 1", start=sum(written)) as progress:
    meter = _Meter(progress, sum(_frames(job.known) for job in opened))

    def watch(songs, frames):
      before = sum(written)
      for number, (job, sections) in enumerate(zip(opened, songs, strict=True)):
        if len(sections) > written[number]:
          _write_sections(job, sections)
          written[number] = len(sections)
      meter.advance(sum(written) - before, sum(frames))

    songs = song.generate_tracks(
      models.first.decoder,
      [job.prompt for job in opened],
      vocab=models.first.vocab,
      phrases=models.phrases,
      settings=models.tracks,
      seeds=[job.description["seed"] for job in opened],
      begun=[job.begun for job in opened],
      watch=watch,
    )
  for job in opened:
    job.description["seconds"] = {"stage1": time.monotonic() - began}
  return songs


def complete(
  opened: Sequence[OpenJob],
  songs: song.Songs,
  models: Models,
  windows_at_once: int,
) -> None:
  """Stage 2; every song is written when its tracks are whole."""
  began = time.monotonic()
  songs = [[*s, *job.later] for job, s in zip(opened, songs, strict=True)]
  for job, sections in zip(opened, songs, strict=True):
    _write_sections(job, sections)
  tracks = [np.concatenate(t) for s in songs for t in zip(*s, strict=True)]
  vocab = models.second.vocab
  codebooks = vocab.window_codebooks
  total = sum(len(windows.window_starts(len(t), models.window)) for t in tracks)
  with Progress(total, "windows", "stage 2") as progress:
    meter = _Meter(progress)
    frames = sum(map(_frames, songs))
    done = 0

    def watch(now, of):
      nonlocal done
      new = now // models.window - done
      done += new
      meter.advance(new, frames * now // of)

    completed = windows.generate_codebooks(
      models.second.decoder,
      tracks,
      vocab=vocab,
      seeds=[
        (job.description["seed"], track) for job in opened for track in range(2)
      ],
      window=models.window,
      codebooks=codebooks,
      ranges=RANGES[models.ranges](vocab, codebooks),
      sampling=models.residuals,
      windows_at_once=windows_at_once,
      watch=watch,
    )
    for job, sections in zip(opened, songs, strict=True):
      both = [next(completed) for _ in song_folder.TRACKS]
      job.description["seconds"]["stage2"] = time.monotonic() - began
      song_folder.write_whole(
        job.out, job.description, job.texts, sections, both
      )
      print(
        f"{job.out}: {len(sections)} sections,"
        f" {_frames(sections) / codec.FRAME_RATE:.1f} s of music"
      )


class _Meter:
  """Says beside a progress bar how much music there is, and how fast."""

  def __init__(self, progress: Progress, frames: int = 0):
    """Counts on from `frames` that were there before."""
    self._progress, self._start = progress, frames
    self._began = time.monotonic()

  def advance(self, count: int, frames: int) -> None:
    """`count` units more are done, and so many frames of music in all."""
    seconds = max(time.monotonic() - self._began, 1e-9)
    rate = (frames - self._start) / codec.FRAME_RATE / seconds
    music = f"{frames / codec.FRAME_RATE:.1f} s of music"
    self._progress.advance(count, note=f"{music}, {rate:.3g} s per second")


def _write_sections(job: OpenJob, sections: Sequence[song.SongSection]) -> None:
  song_folder.write_sections(job.out, job.description, job.texts, sections)


def _frames(sections: Sequence[song.SongSection]) -> int:
  return sum(len(section.vocal) for section in sections)
