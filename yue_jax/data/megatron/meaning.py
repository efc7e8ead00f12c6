"""What the ids of a Megatron data set mean: PREFIX.json, beside the two files.

Megatron's format records neither a vocabulary nor the ids of phrases. Data
sets that were exported here have a file that does; for others they are those
of the released model.
"""

import dataclasses
import json
import pathlib
from typing import Any

from yue_jax.data.dataset import Dataset
from yue_jax.encoding import RELEASED_PHRASES, Phrases
from yue_jax.vocab import RELEASED, Vocab


def description_path(prefix: str | pathlib.Path) -> pathlib.Path:
  return pathlib.Path(f"{prefix}.json")


def describe(dataset: Dataset, **how: Any) -> str:
  """Content of PREFIX.json; `how` is for people: kind, epoch, seed."""
  description = how | {
    "dataset": dataset.info["fingerprint"],
    "vocab": dataset.vocab.to_json(),
    "phrases": dataclasses.asdict(dataset.phrases),
  }
  return json.dumps(description, indent=1) + "\n"


def read_meaning(prefix: str | pathlib.Path) -> tuple[Vocab, Phrases]:
  """Vocabulary and phrases of a data set; ValueError for a damaged file."""
  path = description_path(prefix)
  if not path.exists():
    return RELEASED, RELEASED_PHRASES
  try:
    description = json.loads(path.read_bytes())
    phrases = {n: tuple(ids) for n, ids in description["phrases"].items()}
    return Vocab.from_json(description["vocab"]), Phrases(**phrases)
  except (KeyError, TypeError, AttributeError, ValueError) as error:
    raise ValueError(
      f"{path} is damaged ({error!r}); export the data set again"
    ) from error
