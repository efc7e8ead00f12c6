"""Jobs: which songs are to be made, and what each is made of.

A job names files; `open_job` reads them. Jobs of a file are JSON lines with
the fields of `Job`:

  {"lyrics": "a.txt", "tags": "pop female", "seed": 1, "out": "a"}
  {"lyrics": "b.txt", "tags": "b.tags.txt", "out": "b",
   "reference_vocal": "clip/stage1/vtrack.npy",
   "reference_backing": "clip/stage1/itrack.npy"}   (on one line)
"""

from collections import Counter
from collections.abc import Iterable, Sequence
import dataclasses
import json
import os
import pathlib
from typing import Any, Self

import numpy as np

from yue_jax.sampling import prompts
from yue_jax.sampling.song import Begun, SongSection
from yue_jax.sampling.song_folder import (
  StoredSong,
  check_same,
  fingerprint,
  load_codes,
  read_song,
)
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import Vocab

CLIPS = ("reference_vocal", "reference_backing", "reference_mixture")
_PATHS = {"lyrics", "out", "continue_from", *CLIPS}
_NUMBERS = ("seed", "reference_start", "reference_frames", "section")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """A song to make.

  Attributes:
    out: its folder.
    lyrics: a text file; if None, those of the song that is continued.
    tags: words, or a file of them; likewise.
    seed: same seed, same song.
    reference_vocal: .npy codes of a clip the song shall resemble: of the vocal
      and the backing track, or of one track alone.
    reference_start: first frame of the clip.
    reference_frames: its length; to the end if None.
    continue_from: folder of a song whose first sections are taken over.
    section: the first that is sung anew, counted from 1.
    only: whether it is the only one, and those after it are kept.
  """

  out: pathlib.Path
  lyrics: pathlib.Path | None = None
  tags: str | None = None
  seed: int = 0
  reference_vocal: pathlib.Path | None = None
  reference_backing: pathlib.Path | None = None
  reference_mixture: pathlib.Path | None = None
  reference_start: int = 0
  reference_frames: int | None = None
  continue_from: pathlib.Path | None = None
  section: int | None = None
  only: bool = False

  def __post_init__(self):
    for name in _NUMBERS:
      value = getattr(self, name)
      if value is not None and type(value) is not int:
        raise ValueError(f"{name} is {value!r}, expected an integer")
    if not 0 <= self.seed < 2**32:
      raise ValueError(f"seed {self.seed}, expected 0 to {2**32 - 1}")
    if self.continue_from is None and (None in (self.lyrics, self.tags)):
      raise ValueError("a song needs lyrics and tags")
    if (self.continue_from is None) != (self.section is None):
      raise ValueError("continue_from and section must be given together")
    if self.only and self.section is None:
      raise ValueError("only needs continue_from and section")


@dataclasses.dataclass(frozen=True, eq=False)
class OpenJob:
  """What a job is made of.

  Attributes:
    out: its folder.
    texts: of all sections.
    prompt: with the sections up to the last that is sung.
    begun: sections that are there.
    later: sections that are kept after those that are sung.
    description: entries of song.json, of what decides the song.
    whole: whether its folder holds the finished song.
  """

  out: pathlib.Path
  texts: tuple[str, ...]
  prompt: prompts.Prompt
  begun: Begun
  later: tuple[SongSection, ...]
  description: dict[str, Any]
  whole: bool = False

  @property
  def known(self) -> list[SongSection]:
    return [*self.begun.given, *self.begun.sung]

  def resumed(self, stored: StoredSong) -> Self:
    """With what an earlier run has sung, all of it perhaps.

    Raises:
      ValueError: it sang another song.
    """
    check_same(stored, self.description, self.texts)
    first, end = len(self.begun.given), len(self.prompt.sections)
    begun = self.begun._replace(sung=stored.sections[first:end])
    return dataclasses.replace(self, begun=begun, whole=stored.whole)


def combine(
  lyrics: Sequence[pathlib.Path],
  tags: Sequence[str],
  seeds: Sequence[int],
  out: pathlib.Path,
  common: dict[str, Any],
) -> list[Job]:
  """A job for each of the lyrics and each seed.

  One song goes to `out` itself, several to folders in it: OUT/SEED of one
  text, OUT/TEXT-SEED of several.

  Args:
    tags: one for all, or one for each of the lyrics; of a song that is
      continued, both may be empty.
    common: other fields of all jobs.
  """
  texts = list(lyrics) or [None]
  if len(tags) not in (1, len(texts)) and (tags or lyrics):
    raise ValueError(
      f"{len(lyrics)} lyrics and {len(tags)} tags; give tags once, or once for"
      " each of the lyrics"
    )
  tags = list(tags) or [None]
  tags = tags * len(texts) if len(tags) == 1 else tags
  asked = []
  for text, words in zip(texts, tags, strict=True):
    for seed in seeds:
      folder = out
      if len(texts) > 1:
        folder = out / f"{text.stem}-{seed}"
      elif len(seeds) > 1:
        folder = out / str(seed)
      asked.append(
        Job(lyrics=text, tags=words, seed=seed, out=folder, **common)
      )
  return asked


def read_jobs(
  path: pathlib.Path, defaults: dict[str, Any], seeds: Sequence[int]
) -> list[Job]:
  """The jobs of a file of JSON lines.

  Args:
    defaults: fields that a line may leave out. `out` of a line is relative to
      that of the defaults, other paths to the folder of the file.
    seeds: of a job without one. Several make as many songs, in folders of
      their own: OUT/0 and so on.

  Raises:
    ValueError: names the line that is no job.
  """
  asked = []
  for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
    if not line.strip():
      continue
    try:
      asked += _jobs(json.loads(line), defaults, path.parent, seeds)
    except (ValueError, TypeError) as error:
      raise ValueError(f"{path}, line {number}: {error}") from error
  if not asked:
    raise ValueError(f"{path} holds no jobs")
  return asked


def check_folders(jobs: Iterable[Job]) -> None:
  """Raises ValueError when two songs would have the same folder."""
  for out, count in Counter(job.out for job in jobs).items():
    if count > 1:
      raise ValueError(
        f"{count} songs would go to {out}; give the lyrics files other names,"
        " or name the folders in a file of jobs"
      )


def open_job(job: Job, *, tokenizer: Tokenizer, vocab: Vocab) -> OpenJob:
  """Reads the files of a job.

  Raises:
    ValueError: they do not make a song.
    OSError: one is not there.
  """
  source = None if job.continue_from is None else _source(job)
  if source is not None and not any(getattr(job, name) for name in CLIPS):
    job = dataclasses.replace(job, **_clips_of(source))
  texts = tuple(source.texts) if job.lyrics is None else _read_lyrics(job)
  tags = source.description["tags"] if job.tags is None else _read_tags(job)
  given, later = ((), ()) if source is None else _taken(job, source, texts)
  reference = _read_reference(job, vocab)
  prompt = prompts.encode_prompt(
    tags, texts, tokenizer=tokenizer, vocab=vocab, reference=reference
  )
  sung = prompt.sections[: job.section] if job.only else prompt.sections
  return OpenJob(
    job.out,
    texts,
    dataclasses.replace(prompt, sections=sung),
    Begun(given),
    later,
    {
      "tags": tags,
      "seed": job.seed,
      "reference": None if reference is None else fingerprint([reference]),
      "given": {
        "sections": len(given),
        "later": len(later),
        "codes": fingerprint([*_flat(given), *_flat(later)]),
      },
      "clips": {
        name: str(value.absolute())
        for name in CLIPS
        if (value := getattr(job, name)) is not None
      }
      | {"start": job.reference_start, "frames": job.reference_frames},
    },
  )


def _jobs(
  row: Any,
  defaults: dict[str, Any],
  folder: pathlib.Path,
  seeds: Sequence[int],
) -> list[Job]:
  if not isinstance(row, dict):
    raise ValueError(f"{row!r:.60} is no JSON object")
  names = [field.name for field in dataclasses.fields(Job)]
  if unknown := sorted(row.keys() - set(names)):
    raise ValueError(f"unknown fields {unknown}; a job has {names}")
  if "out" not in row:
    raise ValueError("a job needs out, the folder of its song")
  fields = defaults | row
  for name in _PATHS & row.keys():
    fields[name] = (defaults["out"] if name == "out" else folder) / row[name]
  if "tags" in row and _is_file(folder / row["tags"]):
    fields["tags"] = str(folder / row["tags"])
  if "seed" in row or len(seeds) == 1:
    return [Job(**{"seed": seeds[0]} | fields)]
  return [
    Job(**fields | {"seed": seed, "out": fields["out"] / str(seed)})
    for seed in seeds
  ]


def _source(job: Job) -> StoredSong:
  source = read_song(job.continue_from)
  if source is None:
    raise ValueError(
      f"{job.continue_from} holds no song to continue; expected a folder with"
      " song.json or song.json.unfinished"
    )
  return source


def _clips_of(source: StoredSong) -> dict[str, Any]:
  clips = source.description["clips"]
  return {
    **{name: pathlib.Path(clips[name]) for name in CLIPS if name in clips},
    "reference_start": clips["start"],
    "reference_frames": clips["frames"],
  }


def _taken(
  job: Job, source: StoredSong, texts: tuple[str, ...]
) -> tuple[tuple[SongSection, ...], tuple[SongSection, ...]]:
  """The sections of `source` before and after those that are sung."""
  before, sung = job.section - 1, len(source.sections)
  if not 0 <= before < len(texts) or before > sung:
    raise ValueError(
      f"section {job.section} cannot be sung: the lyrics have {len(texts)}"
      f" sections, {job.continue_from} has {sung}; they count from 1"
    )
  end = job.section if job.only else len(texts)
  if job.only and sung < len(texts):
    raise ValueError(
      f"{job.continue_from} has {sung} of {len(texts)} sections, so section"
      f" {job.section} cannot be the only one that is sung"
    )
  for number in (*range(before), *range(end, len(texts))):
    if texts[number] != source.texts[number]:
      raise ValueError(
        f"section {number + 1} of {job.continue_from} was sung to"
        f" {source.texts[number]!r:.60}, not {texts[number]!r:.60}; sections"
        " that are kept keep their lyrics"
      )
  return source.sections[:before], source.sections[end:]


def _flat(sections: Iterable[SongSection]) -> list[np.ndarray]:
  return [codes for section in sections for codes in section]


def _read_lyrics(job: Job) -> tuple[str, ...]:
  return prompts.split_lyrics(job.lyrics.read_text("utf-8"))


def _read_tags(job: Job) -> str:
  """The tags given, or those in the file of that name."""
  tags = pathlib.Path(job.tags)
  return (tags.read_text("utf-8") if _is_file(tags) else job.tags).strip()


def _is_file(path: pathlib.Path) -> bool:
  return os.path.isfile(path)  # False for a text too long to be a name


def _read_reference(job: Job, vocab: Vocab) -> np.ndarray | None:
  """Ids of the clip that a job names, if any."""
  given = {name: getattr(job, name) for name in CLIPS}
  clips = {
    name: _read_clip(path, job, vocab)
    for name, path in given.items()
    if path is not None
  }
  match sorted(clips):
    case []:
      return None
    case [name]:
      return prompts.single_reference(clips[name], vocab)
    case ["reference_backing", "reference_vocal"]:
      return prompts.dual_reference(
        clips["reference_vocal"], clips["reference_backing"], vocab
      )
  raise ValueError(
    "give the reference mixture alone; the reference vocal and backing track"
    " may come together"
  )


def _read_clip(path: pathlib.Path, job: Job, vocab: Vocab) -> np.ndarray:
  """Frames `reference_start` and on of a (codebooks, frames) file."""
  codes = load_codes(path)
  start, frames = job.reference_start, job.reference_frames
  end = codes.shape[-1] if frames is None else start + frames
  if not 0 <= start < end <= codes.shape[-1]:
    raise ValueError(
      f"{path} has {codes.shape[-1]} frames, the reference is"
      f" {start}..{end}; change its start or its frames"
    )
  try:
    prompts.single_reference(codes, vocab)
  except ValueError as error:
    raise ValueError(
      f"{path} holds no codes of this model's codec: {error}"
    ) from error
  return codes[..., start:end]
