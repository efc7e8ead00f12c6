"""Songs of a rehearsal on disk or in a bucket.

RUN/songs/step_00000500/ID/stage1/vtrack.npy   (1, frames) of the vocal
                                  itrack.npy   and of the backing track
                           song.wav            where the run asks for sound
                           song.json           comes last: all is there
"""

import io
import json
from typing import Any

from etils import epath
import numpy as np

from yue_jax.sampling.song_folder import TRACKS


def step_folder(run_dir: epath.PathLike, step: int) -> epath.Path:
  """Where the songs of a step lie; names sort as steps do."""
  return epath.Path(run_dir) / "songs" / f"step_{step:08}"


def write_song(
  folder: epath.Path,
  description: dict[str, Any],
  tracks: list[np.ndarray],
  *,
  wav: bytes | None,
) -> None:
  """Writes a song anew, whatever was there of it.

  Args:
    folder: of the song.
    description: what song.json says.
    tracks: (frames,) codes of the vocal and of the backing track.
    wav: its sound, if it has one.
  """
  if folder.exists():
    folder.rmtree()
  (folder / "stage1").mkdir(parents=True)
  for name, codes in zip(TRACKS, tracks, strict=True):
    file = io.BytesIO()
    np.save(file, codes[None], allow_pickle=False)
    (folder / "stage1" / name).write_bytes(file.getvalue())
  if wav is not None:
    (folder / "song.wav").write_bytes(wav)
  text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
  (folder / "song.json").write_text(text)
