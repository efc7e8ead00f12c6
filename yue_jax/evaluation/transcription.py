"""Songs are heard by a recogniser of speech, section by section.

    lyrics.jsonl + audio/ID/vocal.wav  ->  transcripts.jsonl

A recogniser is a function of samples and their language. Two are made here: a
command of the user's, and a model of transformers. Sections are cut out by the
times of the lyrics, so that a transcript belongs to what should be in it.
"""

from collections.abc import Callable, Iterator
import pathlib
import subprocess
import tempfile
from typing import Any
import wave

import numpy as np

from yue_jax import commands
from yue_jax.audio.reading import (
  FORMATS,
  SAMPLE_RATE,
  Limits,
  read_audio,
)
from yue_jax.errors import SongError

# (samples,) float32 at SAMPLE_RATE, language -> text
Recogniser = Callable[[np.ndarray, str], str]

_SHORTEST = 0.1  # seconds of a section that are worth a recogniser's time


def command_recogniser(command: str) -> Recogniser:
  """Runs a command for each section; what it prints is the transcript.

  Args:
    command: with {audio} for a WAV file, and {language}, if it wants that.

  Raises:
    ValueError: it names no {audio}; when called, that it failed.
  """
  if "{audio}" not in command:
    raise ValueError(f"command {command!r} must say where {{audio}} goes")

  def hear(samples: np.ndarray, language: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
      audio = pathlib.Path(folder) / "section.wav"
      _write_wav(audio, samples)
      values = {"{audio}": str(audio), "{language}": language}
      words = commands.fill(command, values)
      done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
      raise ValueError(
        f"{words[0]} ended with {done.returncode}: {done.stderr[-500:]}"
      )
    return done.stdout.strip()

  return hear


def model_recogniser(name: str) -> Recogniser:
  """A model of transformers for speech recognition, such as Whisper.

  Args:
    name: a local folder, or a name on the hub.
  """
  import transformers  # an extra, and slow to import

  recognise = transformers.pipeline("automatic-speech-recognition", model=name)
  generation = getattr(recognise.model, "generation_config", None)
  knows_languages = hasattr(generation, "lang_to_id")

  def hear(samples: np.ndarray, language: str) -> str:
    # Whisper wants times for more than 30 s, and is told the language.
    long = len(samples) > 30 * SAMPLE_RATE
    options = {
      "generate_kwargs": {"language": language},
      "return_timestamps": long,
    }
    heard = recognise(
      {"raw": samples, "sampling_rate": SAMPLE_RATE},
      **(options if knows_languages else {}),
    )
    return heard["text"].strip()

  return hear


def find_audio(root: pathlib.Path, song: str) -> pathlib.Path:
  """ID/vocal.wav, as tools/decode_audio.py writes it, or ID.wav (or flac ...).

  Raises ValueError if there is neither.
  """
  for suffix in FORMATS:
    for path in (root / song / f"vocal{suffix}", root / f"{song}{suffix}"):
      if path.is_file():
        return path
  raise ValueError(
    f"{root} has no {song}/vocal.wav and no {song}.wav; expected the voice of"
    " every song with lyrics"
  )


def transcribe(
  row: dict[str, Any], audio: pathlib.Path, hear: Recogniser
) -> dict[str, Any]:
  """The transcript of one song, as a row of transcripts.jsonl.

  Args:
    row: of lyrics.jsonl, whose sections have times (see `transcripts`).
    audio: the voice.
    hear: the recogniser. Sections without a tenth of a second of sound, and
      songs that are silent, are not heard: their text is empty.

  Raises:
    ValueError: the sound cannot be used, or a section has no times.
  """
  try:
    samples = read_audio(audio, Limits(min_seconds=_SHORTEST)).samples
  except SongError as error:
    if error.reason != "silent":
      raise ValueError(str(error)) from error
    samples = np.zeros(0, np.float32)
  sections = [
    {
      "label": section["label"],
      "text": hear(part, row["language"])
      if len(part) >= _SHORTEST * SAMPLE_RATE
      else "",
    }
    for section, part in _cut(row, samples)
  ]
  return {"id": row["id"], "sections": sections}


def _cut(
  row: dict[str, Any], samples: np.ndarray
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
  for section in row["sections"]:
    start, end = section.get("start"), section.get("end")
    if start is None or end is None:
      raise ValueError(
        f"song {row['id']!r}: section [{section['label']}] has no times; where"
        " is it in the sound?"
      )
    first, last = (round(t * SAMPLE_RATE) for t in (start, end))
    yield section, samples[first:last]


def _write_wav(path: pathlib.Path, samples: np.ndarray) -> None:
  scaled = np.round(np.clip(samples, -1, 1) * (2**15 - 1)).astype("<i2")
  with wave.open(str(path), "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(SAMPLE_RATE)
    file.writeframes(scaled.tobytes())
