"""Codes of songs to sound files.

  a song's folder with stage2/vtrack.npy and itrack.npy (or both in itself)
    -> vocal.wav, backing.wav, mix.wav (their sum), sound.json
  codes.npy
    -> codes.wav, codes.json

All files of a song have one gain, so that the tracks add up to the mix.
"""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import soundfile

from yue_jax.audio import loudness
from yue_jax.audio.codecs import Codec
from yue_jax.audio.loudness import Level
from yue_jax.errors import SongError
from yue_jax.tracks import FILES, read_track
from yue_jax.vocab import RELEASED
from yue_jax.whole_directory import whole_file

FORMATS = ("wav", "flac")


@dataclasses.dataclass(frozen=True)
class Written:
  """Sound that was written.

  Attributes:
    files: by what is heard in them.
    description: what the JSON file beside them holds.
  """

  files: Mapping[str, pathlib.Path]
  description: dict[str, Any]


def decode_song(
  song: pathlib.Path,
  codec: Codec,
  out: pathlib.Path,
  *,
  level: Level,
  format: str,
) -> Written:
  """Decodes a folder or a .npy file, and writes its sound into `out`.

  Raises ValueError if there are no codes, or none of the codec.
  """
  paths = _codes_of(song)
  try:
    tracks = {
      name: codec.decode(read_track(path.name, path.parent, vocab=RELEASED))
      for name, path in paths.items()
    }
  except (SongError, ValueError) as error:
    raise ValueError(f"{song}: {error}") from error
  if len(tracks) == 1:
    ((main, _),) = tracks.items()
  else:
    main, tracks = "mix", tracks | {"mix": mix(tracks)}
  others = {name: wave for name, wave in tracks.items() if name != main}
  gain = loudness.gain_for(tracks[main], others, codec.sample_rate, level)
  tracks = {name: wave * np.float32(gain) for name, wave in tracks.items()}
  out.mkdir(parents=True, exist_ok=True)
  files = {name: out / f"{name}.{format}" for name in tracks}
  for name, path in files.items():
    _write(path, tracks[name], codec.sample_rate, format)
  description = {
    "codec": {"name": codec.name, "fingerprint": codec.fingerprint()},
    "seconds": len(tracks[main]) / codec.sample_rate,
    "gain_db": 20 * np.log10(gain).item(),
    "loudness_lufs": loudness.loudness(tracks[main], codec.sample_rate),
    "true_peak": {
      name: loudness.true_peak(wave, codec.sample_rate)
      for name, wave in tracks.items()
    },
  }
  name = "sound.json" if main == "mix" else f"{main}.json"
  (out / name).write_text(json.dumps(description, indent=2) + "\n")
  return Written(files, description)


def mix(tracks: Mapping[str, np.ndarray]) -> np.ndarray:
  """The sum of tracks (samples,); ValueError unless they are of one length."""
  lengths = {name: len(wave) for name, wave in tracks.items()}
  if len(set(lengths.values())) > 1:
    raise ValueError(f"tracks of {lengths} samples; they do not go together")
  return np.sum(list(tracks.values()), axis=0)


def _codes_of(song: pathlib.Path) -> dict[str, pathlib.Path]:
  """Files of codes by the name of their track."""
  if song.suffix == ".npy":
    return {song.stem: song}
  for folder in (song / "stage2", song):
    paths = {name: folder / file for name, file in FILES.items()}
    if all(path.is_file() for path in paths.values()):
      return paths
  unfinished = (song / "song.json.unfinished").exists()
  raise ValueError(
    f"{song} has no stage2/vtrack.npy and itrack.npy"
    + ("; tools/generate.py --resume finishes the song" if unfinished else "")
  )


def _write(
  path: pathlib.Path, wave: np.ndarray, rate: int, format: str
) -> None:
  """Writes 16 bits a sample, whole, or leaves what was there."""
  with whole_file(path) as partial:
    try:
      soundfile.write(partial, wave, rate, subtype="PCM_16", format=format)
    except soundfile.LibsndfileError as error:
      raise OSError(str(error)) from error
