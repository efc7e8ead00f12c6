"""What is sung in a rehearsal: tags and lyrics of rows of a manifest.

Of a row, `id`, `genres` and the `line_content` of its sections are read; no
codes are needed.
"""

from collections.abc import Sequence
import dataclasses

from yue_jax.errors import SongError
from yue_jax.manifest import read_manifest
from yue_jax.sampling.prompts import Prompt, encode_prompt
from yue_jax.songs import section_texts, song_id, text_field
from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import Vocab


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
  """Text of a song, and what it is sung from."""

  id: str
  tags: str
  texts: tuple[str, ...]
  prompt: Prompt


def read_given(
  path: str, count: int, *, tokenizer: Tokenizer, vocab: Vocab
) -> list[Given]:
  """The first `count` songs of a manifest.

  Raises:
    OSError: there is no such file.
    ValueError: it has fewer, one has no tags or lyrics, or an id that cannot
      be the name of a folder or is there twice.
  """
  found: list[Given] = []
  for line, row in read_manifest(path):
    if len(found) == count:
      break
    try:
      if isinstance(row, SongError):
        raise row
      found.append(_given(row, tokenizer, vocab))
    except ValueError as error:
      raise ValueError(f"{path}, line {line}: {error}") from error
  if len(found) < count:
    raise ValueError(f"{path} has {len(found)} songs, {count} are asked for")
  _check_ids(path, [song.id for song in found])
  return found


def _given(row: dict, tokenizer: Tokenizer, vocab: Vocab) -> Given:
  tags, texts = text_field(row, "genres"), section_texts(row)
  prompt = encode_prompt(tags, texts, tokenizer=tokenizer, vocab=vocab)
  return Given(song_id(row), tags, tuple(texts), prompt)


def _check_ids(path: str, ids: Sequence[str]) -> None:
  for id in ids:
    if not id or id.startswith(".") or "/" in id or ids.count(id) > 1:
      raise ValueError(
        f"{path}: song id {id!r} must be the name of one folder; give every"
        " song a name of its own, without slashes"
      )
