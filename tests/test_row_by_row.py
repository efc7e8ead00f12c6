"""The restated preprocessing gives the released documents, id for id."""

import importlib.util
import pathlib

import numpy as np

from yue_jax.tokenizer import Tokenizer
from yue_jax.vocab import RELEASED

TOOL = pathlib.Path(__file__).parent.parent / "tools" / "row_by_row.py"


def test_documents_are_those_of_the_released_code(reference):
  spec = importlib.util.spec_from_file_location("row_by_row", TOOL)
  tool = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(tool)
  songs = reference / "songs"
  tokenizer = Tokenizer(reference / "tokenizer.model")
  lines = (songs / "songs.q1.jsonl").read_text().splitlines()
  with np.load(songs / "golden" / "stage1_cot.npz") as golden:
    assert len(golden.files) == 2 * len(lines)
    for number, line in enumerate(lines):
      ids = tool.encode_row(
        line, root=songs, tokenizer=tokenizer, vocab=RELEASED
      )
      np.testing.assert_array_equal(ids, golden[f"ids_{number}"])
