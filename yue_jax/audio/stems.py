"""Songs in a folder: which files belong together, by their names.

  songs/NAME/vocals.wav              or    songs/NAME.vocals.wav
             accompaniment.wav                   NAME.accompaniment.wav
             mix.wav                             NAME.wav
             lyrics.txt .lrc .json               NAME.lrc, NAME.txt
             structure.json                      NAME.json (all-in-one's)
             tags.txt .json                      NAME.tags.txt

Both may be mixed, at any depth; `NAME` with the folders above it is the song's
id. Stems may be called as separators call them, see `ROLES`.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import pathlib

from yue_jax.audio.reading import FORMATS
from yue_jax.errors import SongError
from yue_jax.sheets.read import LYRICS_SUFFIXES

TRACKS = ("vocal", "backing", "mixture")
# What a file is, by the name it has alone or after the song's, and its suffix.
ROLES = {
  **dict.fromkeys(("vocals", "vocal", "voice"), "vocal"),
  **dict.fromkeys(
    ("accompaniment", "instrumental", "no_vocals", "backing"), "backing"
  ),
  **dict.fromkeys(("mix", "mixture", "full"), "mixture"),
  "lyrics": "lyrics",
  "structure": "structure",
  "tags": "tags",
}
# Sound as well, which reading refuses by name instead of overlooking it.
_SOUND = (*FORMATS, ".aac", ".aif", ".aiff", ".m4a", ".opus", ".wma")
_SUFFIXES = {
  **dict.fromkeys(TRACKS, _SOUND),
  "lyrics": LYRICS_SUFFIXES,
  "structure": (".json",),
  "tags": (".txt", ".json"),
}
_ALONE = {  # what NAME.suffix is
  **dict.fromkeys(_SOUND, "mixture"),
  ".lrc": "lyrics",
  ".txt": "lyrics",
  ".json": "structure",
}


@dataclasses.dataclass(frozen=True)
class SongFiles:
  """The files of a song by their role: of `TRACKS`, lyrics, structure, tags."""

  id: str
  files: Mapping[str, pathlib.Path]

  @property
  def tracks(self) -> dict[str, pathlib.Path]:
    return {name: self.files[name] for name in TRACKS if name in self.files}


def find_songs(root: pathlib.Path) -> list[SongFiles | tuple[str, SongError]]:
  """Songs below a folder, sorted by id; (id, SongError) where names do not
  make a song: `ambiguous` or `no_sound`.

  Raises FileNotFoundError if there are none.
  """
  found: dict[str, dict[str, list[pathlib.Path]]] = {}
  for path in sorted(root.rglob("*")):
    if path.name.startswith(".") or not path.is_file():
      continue
    for song, role in _part_of(path):
      id = song.relative_to(root).as_posix()
      id = root.resolve().name if id == "." else id
      found.setdefault(id, {}).setdefault(role, []).append(path)
  songs = [_song(id, roles) for id, roles in sorted(found.items())]
  if not any(isinstance(song, SongFiles) for song in songs):
    raise FileNotFoundError(
      f"no song in {root}; expected NAME/vocals.wav and NAME/accompaniment.wav,"
      " or NAME.vocals.wav and NAME.accompaniment.wav"
    )
  return songs


def _part_of(path: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
  """The song, as a path without a suffix, and the role; or nothing."""
  suffix, stem = path.suffix.lower(), path.stem
  name, _, last = stem.rpartition(".")
  role = ROLES.get(last.lower())
  if role and suffix in _SUFFIXES[role]:
    yield (path.parent / name if name else path.parent), role
  elif suffix in _ALONE:
    yield path.with_suffix(""), _ALONE[suffix]


def _song(
  id: str, roles: Mapping[str, list[pathlib.Path]]
) -> SongFiles | tuple[str, SongError]:
  for role, paths in roles.items():
    if len(paths) > 1:
      names = ", ".join(path.name for path in paths)
      return id, SongError("ambiguous", f"{names} are all its {role}; keep one")
  if not roles.keys() & set(TRACKS):
    names = ", ".join(path.name for (path,) in roles.values())
    return id, SongError("no_sound", f"{names}, and no sound of that name")
  return SongFiles(id, {role: path for role, (path,) in roles.items()})
