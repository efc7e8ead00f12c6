"""A study on disk: a folder for the raters, and a key that they must not see.

  OUT/page/study.html    for raters; works offline
           clips/*.flac  if clips are not to be inside the page
      key.json           for the analyst

Both are written by one function, in one move.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import hashlib
import pathlib

from yue_jax.progress import Progress
from yue_jax.study.aspects import Aspect
from yue_jax.study.clips import (
  Excerpt,
  Level,
  common_loudness,
  encode,
  measure,
  read_clip,
)
from yue_jax.study.comparisons import Key, plan_comparisons, write_key
from yue_jax.study.page import write_page
from yue_jax.study.songs import Prompt
from yue_jax.whole_directory import whole_directory


@dataclasses.dataclass(frozen=True)
class StudyConfig:
  """What a study is, besides its songs.

  Attributes:
    title: on the page; seen by raters.
    aspects: what is asked.
    excerpt: which part of every song is heard.
    loudness: of all clips, LUFS, unless one of them would clip.
    per_rater: comparisons that one rater is given; None for all.
    seed: of ids, and of the order and sides of comparisons.
    embedded: whether clips are inside the page.
  """

  title: str
  aspects: tuple[Aspect, ...]
  excerpt: Excerpt
  loudness: float = -18.0
  per_rater: int | None = None
  seed: int = 0
  embedded: bool = True


def write_study(
  out: pathlib.Path,
  songs: Mapping[str, Mapping[str, pathlib.Path]],
  prompts: Mapping[str, Prompt],
  cfg: StudyConfig,
) -> Key:
  """Writes a study.

  Args:
    out: a new directory.
    songs: audio files by song, then by system.
    prompts: by song.
    cfg: the rest.

  Returns:
    The key, which is in OUT/key.json as well.

  Raises:
    ValueError: aspects that nobody could judge, or a song that cannot be heard.
  """
  _check_prompts(songs, prompts, cfg.aspects)
  systems = list(next(iter(songs.values())))
  names = [aspect.name for aspect in cfg.aspects]
  content = _content(songs, prompts, cfg)
  key = plan_comparisons(
    systems, list(songs), names, content=content, seed=cfg.seed
  )
  per_rater = _per_rater(cfg.per_rater, len(key.comparisons))
  with whole_directory(out) as partial:
    files = {n: songs[clip.song][clip.system] for n, clip in key.clips.items()}
    with Progress(2 * len(files), "clips", "making clips") as progress:
      levels = _measured(files, cfg.excerpt, progress)
      loudness = common_loudness(list(levels.values()), cfg.loudness)
      gains = {n: loudness - its.loudness for n, its in levels.items()}
      clips = _encoded(files, gains, cfg.excerpt, progress)
      page = partial / "page"
      page.mkdir()
      if not cfg.embedded:
        _write_clips(page / "clips", clips)
        clips = iter(())
      with (page / "study.html").open("w", encoding="utf-8") as file:
        write_page(
          file,
          key,
          title=cfg.title,
          aspects=cfg.aspects,
          prompts=prompts,
          per_rater=per_rater,
          clips=clips,
        )
    notes = {
      "title": cfg.title,
      "seed": cfg.seed,
      "per_rater": per_rater,
      "excerpt": dataclasses.asdict(cfg.excerpt),
      "loudness": loudness,
      "files": {name: str(path) for name, path in files.items()},
      "gains_db": gains,
    }
    write_key(key, partial / "key.json", notes)
  return key


def _check_prompts(songs, prompts, aspects: Sequence[Aspect]) -> None:
  unknown = sorted(set(prompts) - set(songs))
  if unknown:
    raise ValueError(
      f"prompts of songs that no system has: {', '.join(unknown[:5])}"
    )
  blind = [name for name in songs if name not in prompts]
  asked = [aspect.name for aspect in aspects if aspect.controlled]
  if blind and asked:
    raise ValueError(
      f"no prompt for {', '.join(blind[:5])} ({len(blind)} of {len(songs)}"
      f" songs), without which nobody can judge {', '.join(asked)}; give"
      " prompts (--prompts), or ask other aspects (--aspects)"
    )


def _content(songs, prompts, cfg: StudyConfig) -> str:
  """Fingerprint of what raters hear and read."""
  digest = hashlib.sha256(repr((sorted(prompts.items()), cfg)).encode())
  for files in songs.values():
    for path in files.values():
      with path.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
  return digest.hexdigest()


def _per_rater(wanted: int | None, comparisons: int) -> int:
  if wanted is None:
    return comparisons
  if not 1 <= wanted <= comparisons:
    raise ValueError(
      f"per_rater={wanted}; there are {comparisons} comparisons, expected 1 to"
      f" {comparisons}"
    )
  return wanted


def _measured(
  files: Mapping[str, pathlib.Path], excerpt: Excerpt, progress: Progress
) -> dict[str, Level]:
  levels = {}
  for name, path in files.items():
    levels[name] = measure(read_clip(path, excerpt), path)
    progress.advance()
  return levels


def _encoded(
  files: Mapping[str, pathlib.Path],
  gains: Mapping[str, float],
  excerpt: Excerpt,
  progress: Progress,
) -> Iterator[tuple[str, bytes]]:
  for name, path in files.items():
    yield name, encode(read_clip(path, excerpt), gains[name])
    progress.advance()


def _write_clips(
  folder: pathlib.Path, clips: Iterator[tuple[str, bytes]]
) -> None:
  folder.mkdir()
  for name, flac in clips:
    (folder / f"{name}.flac").write_bytes(flac)
