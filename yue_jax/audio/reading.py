"""Sound files as the waveforms that a codec reads, or why they cannot be used.

  wav, flac, mp3, ogg    any rate and number of channels
    -> blocks            (samples,) float32, mono, at the codec's rate
    -> Recording         the blocks joined, with what was counted on the way

Files are decoded (libsndfile) and resampled (soxr) block by block: the memory
that reading takes does not depend on their length, nor on what their headers
say of it. What cannot be used is a SongError with a reason fit for counting;
no other error is raised for bad sound.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import pathlib
import re
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from yue_jax import checks
from yue_jax.errors import SongError

SAMPLE_RATE = 16_000
# What may be in a file of this suffix, as libsndfile names it.
FORMATS = {
  ".wav": {"WAV", "WAVEX", "RF64"},
  ".flac": {"FLAC"},
  ".mp3": {"MP3"},
  ".ogg": {"OGG"},
}
_BLOCK = 2**18  # samples decoded at once, of all channels
_FULL_SCALE = 0.999  # of 1.0; 16 bits reach 0.99997
_CLIPPED_RUN = 3  # samples at full scale, one after the other
_MOST_AFTER_SOUND = 2**12  # bytes: what a decoder has read ahead, and tags
_UNKNOWN_BYTES = 2**32 - 2**12  # headers of streams promise this or more


@dataclasses.dataclass(frozen=True)
class Limits:
  """What a sound must satisfy.

  Attributes:
    min_seconds: shorter ones are refused.
    max_seconds: longer ones are refused: by their header, and while they are
      decoded, in case it lies.
    max_clipped: largest share of samples that are clipped; see
      `Recording.clipped`.
    silence: sounds that nowhere exceed this amplitude are silent.
  """

  min_seconds: float = 1.0
  max_seconds: float = 1800.0
  max_clipped: float = 0.05
  silence: float = 1e-3  # -60 dB

  def __post_init__(self):
    checks.positive(self, "min_seconds max_seconds")
    checks.not_negative(self, "max_clipped silence")


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
  """A sound that was read.

  Attributes:
    samples: (samples,) float32, mono, at the rate asked for.
    clipped: share of the file's samples in runs of at least three at full
      scale in one channel; where there are any, peaks were cut off.
  """

  samples: np.ndarray
  clipped: float


def read_audio(
  path: str | os.PathLike[str],
  limits: Limits,
  *,
  rate: int = SAMPLE_RATE,
) -> Recording:
  """Reads a whole sound.

  Raises:
    SongError: `missing_file`, `wrong_extension`, `undecodable`, `truncated`,
      `not_finite`, `too_short`, `too_long`, `silent` or `clipped`.
  """
  path = pathlib.Path(path)
  with _opened(path) as file:
    _expect_at_most(path, _promised(path, file) / file.samplerate, limits)
    counter = _Clipping()
    blocks, seconds = [], 0.0
    for block in _resampled(_decoded(path, file, counter), file, rate):
      blocks.append(block)
      seconds += len(block) / rate
      _expect_at_most(path, seconds, limits)
  samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
  _expect_sound(path, samples, limits, rate=rate)
  if counter.share > limits.max_clipped:
    raise SongError(
      "clipped",
      f"{path}: {counter.share:.1%} of its samples are clipped, at most"
      f" {limits.max_clipped:.1%} may be; find a copy that is not as loud",
    )
  return Recording(samples, counter.share)


def read_blocks(
  path: str | os.PathLike[str], *, rate: int = SAMPLE_RATE
) -> Iterator[np.ndarray]:
  """Yields a sound of any length as mono blocks (samples,) float32.

  Raises SongError: `missing_file`, `wrong_extension`, `undecodable`,
  `truncated` or `not_finite`.
  """
  path = pathlib.Path(path)
  with _opened(path) as file:
    yield from _resampled(_decoded(path, file, _Clipping()), file, rate)


def sound_files(folder: pathlib.Path) -> list[pathlib.Path]:
  """All files below a folder that are named as sound, sorted.

  Raises FileNotFoundError if there are none.
  """
  found = sorted(
    path
    for path in folder.rglob("*")
    if path.suffix.lower() in FORMATS and path.is_file()
  )
  if not found:
    raise FileNotFoundError(
      f"no sound in {folder}; expected files of {', '.join(FORMATS)}"
    )
  return found


def seconds_of(path: str | os.PathLike[str]) -> float:
  """Duration by the header alone; SongError if the file cannot be opened."""
  with _opened(pathlib.Path(path)) as file:
    return file.frames / file.samplerate


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[soundfile.SoundFile]:
  """The file, open, of the kind that its name says, and not cut off."""
  if path.suffix.lower() not in FORMATS:
    raise SongError(
      "wrong_extension", f"{path}: expected one of {', '.join(FORMATS)}"
    )
  if not path.is_file():
    raise SongError("missing_file", f"no file {path}")
  with contextlib.ExitStack() as stack:
    content = stack.enter_context(path.open("rb"))
    try:
      file = stack.enter_context(soundfile.SoundFile(content))
    except soundfile.LibsndfileError as error:
      raise SongError("undecodable", f"{path}: {error.error_string}") from error
    if file.format not in FORMATS[path.suffix.lower()]:
      raise SongError(
        "wrong_extension", f"{path} holds {file.format}; rename the file"
      )
    _expect_whole(path, file)
    yield file
    if file.tell() == file.frames:
      _expect_read(path, content)


def _expect_whole(path: pathlib.Path, file: soundfile.SoundFile) -> None:
  """What libsndfile's log tells of a file that breaks off.

  FLAC and most MP3 say how many frames they have: there, decoding finds out.
  """
  log = file.extra_info
  data = re.search(r"^data : (\d+) \(should be (\d+)\)", log, re.MULTILINE)
  if data and int(data[2]) < int(data[1]) < _UNKNOWN_BYTES:
    raise SongError(
      "truncated",
      f"{path}: its header promises {data[1]} bytes of sound, {data[2]} follow",
    )
  if file.format == "OGG" and "lacks an end-of-stream" in log:
    raise SongError("truncated", f"{path}: its last page is missing")


def _expect_read(path: pathlib.Path, content: BinaryIO) -> None:
  """What libsndfile guessed to be the end must be the end of the file."""
  left = os.fstat(content.fileno()).st_size - content.tell()
  if left > _MOST_AFTER_SOUND and not _counts_frames(path):
    raise SongError(
      "undecodable",
      f"{path}: {left} bytes left where the sound should end; encode it again",
    )


def _decoded(
  path: pathlib.Path, file: soundfile.SoundFile, clipping: "_Clipping"
) -> Iterator[np.ndarray]:
  """Yields mono blocks at the rate of the file."""
  size = max(_BLOCK // file.channels, 1)
  read = 0
  while True:
    try:
      block = file.read(size, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
      raise SongError(
        "truncated",
        f"{path}: broken after {read / file.samplerate:.2f} of"
        f" {file.frames / file.samplerate:.2f} s: {error.error_string}",
      ) from error
    if not len(block):
      break
    if not np.isfinite(block).all():
      raise SongError(
        "not_finite",
        f"{path}: samples that are NaN or infinite after"
        f" {read / file.samplerate:.2f} s",
      )
    clipping.count(block)
    read += len(block)
    yield block.mean(1)
  if read < _promised(path, file):
    raise SongError(
      "truncated",
      f"{path}: {read} frames, its header promises {file.frames}",
    )


def _promised(path: pathlib.Path, file: soundfile.SoundFile) -> int:
  """Frames that the header promises; 0 if it says nothing of them."""
  if file.format == "MP3" and not _counts_frames(path):
    return 0
  return file.frames


def _counts_frames(path: pathlib.Path) -> bool:
  """Whether an MP3 says how long it is; the length of others is guessed."""
  with path.open("rb") as file:
    start = file.read(10)
    if start[:3] == b"ID3":  # a tag, whose size has seven bits in a byte
      size = 0
      for byte in start[6:]:
        size = size << 7 | byte
      file.seek(10 + size)
    else:
      file.seek(0)
    frame = file.read(256)
  return b"Xing" in frame or b"Info" in frame


def _resampled(
  blocks: Iterator[np.ndarray], file: soundfile.SoundFile, rate: int
) -> Iterator[np.ndarray]:
  if file.samplerate == rate:
    yield from blocks
    return
  stream = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32")
  for block in blocks:
    yield stream.resample_chunk(block)
  yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


class _Clipping:
  """Counts samples at full scale that follow one another in a channel."""

  def __init__(self):
    self._clipped = self._samples = 0
    self._tail: np.ndarray | None = None

  def count(self, block: np.ndarray) -> None:
    """Counts those of a block (frames, channels) that follows the last."""
    loud = np.abs(block) >= _FULL_SCALE
    tail = loud[:0] if self._tail is None else self._tail
    seen = np.concatenate([tail, loud])
    self._clipped += _in_runs(seen) - _in_runs(tail)
    self._samples += block.size
    self._tail = seen[-2 * _CLIPPED_RUN :]

  @property
  def share(self) -> float:
    return self._clipped / max(self._samples, 1)


def _in_runs(loud: np.ndarray) -> int:
  """How many of (frames, channels) are in runs of at least three."""
  starts = np.ones((max(len(loud) - _CLIPPED_RUN + 1, 0), loud.shape[1]), bool)
  for shift in range(_CLIPPED_RUN):
    starts &= loud[shift : shift + len(starts)]
  inside = np.zeros_like(loud)
  for shift in range(_CLIPPED_RUN):
    inside[shift : shift + len(starts)] |= starts
  return int(inside.sum())


def _expect_at_most(path: pathlib.Path, seconds: float, limits: Limits) -> None:
  if seconds > limits.max_seconds:
    raise SongError(
      "too_long",
      f"{path}: longer than {limits.max_seconds:g} s; cut it into songs, or"
      " raise the limit",
    )


def _expect_sound(
  path: pathlib.Path, samples: np.ndarray, limits: Limits, *, rate: int
) -> None:
  if len(samples) < limits.min_seconds * rate:
    raise SongError(
      "too_short",
      f"{path}: {len(samples) / rate:.3g} s, at least"
      f" {limits.min_seconds:g} s are needed",
    )
  peak = np.abs(samples).max()
  if peak < limits.silence:
    raise SongError(
      "silent", f"{path}: nowhere louder than {peak:.1g} of full scale"
    )
